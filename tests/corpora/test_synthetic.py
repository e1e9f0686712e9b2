"""The synthetic corpora: names, bytes, sound, safety of folders, and that emotions can be learned from them."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from scipy.signal import stft
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hf_ser.corpora import synthetic, voice
from hf_ser.corpora.synthetic import LAYOUTS, MARKER, GenerateArguments, SyntheticError, generate, plan
from hf_ser.errors import SerError
from hf_ser.labels import EMOTIONS

SMALL = {"clips_per_class": 2, "speakers_per_corpus": 2}
# From shared/CORPORA.md, written without a look at the generator.
PATTERNS = {
    "ravdess": r"Actor_(0[1-9]|1\d|2[0-4])/03-0[12]-(01-01|0[2-8]-0[12])-0[12]-0[12]-\1\.wav",
    "crema_d": r"AudioWAV/10([0-8]\d|9[01])_("
    r"(TIE|IOM|IWW|TAI|MTI|IWL|ITH|DFA|ITS|TSI|WSI)_(ANG|DIS|FEA|HAP|NEU|SAD)_XX|"
    r"IEO_(ANG|DIS|FEA|HAP|SAD)_(LO|MD|HI)|IEO_NEU_XX)\.wav",
    "tess": r"(OAF_(angry|disgust|Fear|happy|neutral|Pleasant_surprise|Sad)/OAF|"
    r"YAF_(angry|disgust|fear|happy|neutral|pleasant_surprised|sad)/YAF)"
    r"_[a-z]+_(angry|disgust|fear|happy|neutral|ps|sad)\.wav",
    "savee": r"AudioData/(DC|JE|JK|KL)/((a|d|f|h|sa|su)(0[1-9]|1[0-5])|n(0[1-9]|[12]\d|30))\.wav",
}
SAMPLING_RATES = {"ravdess": 48_000, "crema_d": 16_000, "tess": 24_414, "savee": 44_100}
CLASSES = {
    "ravdess": set(EMOTIONS),
    "crema_d": set(EMOTIONS) - {"calm", "surprised"},
    "tess": set(EMOTIONS) - {"calm"},
    "savee": set(EMOTIONS) - {"calm"},
}
# What the originals hold; CREMA-D's 91 x 82 lacks 20 clips that were never published.
FULL = {"ravdess": 1440, "crema_d": 7442 + 20, "tess": 2800, "savee": 480}


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.wav"))


def digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names(folder)}


def arguments_of(corpus: str, **changes) -> dict:
    most = {"clips_per_class": LAYOUTS[corpus].most_clips_per_class, "speakers_per_corpus": 1000}
    return {"corpus": corpus, "include_song": False, **most, **changes}


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> dict[str, Path]:
    return generate(tmp_path_factory.mktemp("synthetic"), **SMALL)


@pytest.mark.parametrize("corpus", LAYOUTS)
def test_written_names_are_those_of_the_original(small, corpus):
    found = names(small[corpus])
    assert found and all(re.fullmatch(PATTERNS[corpus], name) for name in found)
    assert found == sorted(clip.path for clip in plan(arguments_of(corpus, **SMALL)))
    assert not list(small[corpus].parent.glob("*.incomplete"))
    others = {path.name for path in small[corpus].rglob("*") if path.is_file() and path.suffix != ".wav"}
    assert others == {MARKER}


@pytest.mark.parametrize("corpus", LAYOUTS)
def test_the_largest_plan_names_every_clip_of_the_original_once(corpus):
    paths = [clip.path for clip in plan(arguments_of(corpus))]
    assert len(set(paths)) == len(paths) == FULL[corpus]
    assert all(re.fullmatch(PATTERNS[corpus], path) for path in paths)


def test_song_follows_the_rules_of_the_original():
    song = [clip for clip in plan(arguments_of("ravdess", include_song=True)) if "/03-02-" in clip.path]
    assert len({clip.path for clip in song}) == len(song) == 1012
    assert all(clip.sung and re.fullmatch(PATTERNS["ravdess"], clip.path) for clip in song)
    assert {clip.emotion for clip in song} == {"neutral", "calm", "happy", "sad", "angry", "fearful"}
    assert "18" not in {clip.speaker for clip in song}


def test_names_carry_the_emotion_they_were_made_with():
    for clip in plan(arguments_of("ravdess")):
        assert EMOTIONS[int(Path(clip.path).stem.split("-")[2]) - 1] == clip.emotion
    for corpus, field in (("crema_d", 2), ("tess", 2)):
        for clip in plan(arguments_of(corpus)):
            code = Path(clip.path).stem.split("_")[field]
            assert {"ps": "surprised"}.get(code, clip.emotion[: len(code)]) == code.lower().replace("ps", "surprised")
    for clip in plan(arguments_of("savee")):
        assert clip.emotion.startswith(re.sub(r"\d", "", Path(clip.path).stem))
    for clip in plan(arguments_of("tess")):
        folder, stem = clip.path[4:].lower().split("/")
        assert folder.startswith(stem.split("_")[-1].removesuffix(".wav").replace("ps", "pleasant_surprise"))


@pytest.mark.parametrize("corpus", LAYOUTS)
def test_every_class_of_every_speaker_is_there_and_words_do_not_give_it_away(corpus):
    clips = plan(arguments_of(corpus, **SMALL))
    assert {(clip.speaker, clip.emotion) for clip in clips} == {
        (speaker, emotion) for speaker in LAYOUTS[corpus].speakers[:2] for emotion in CLASSES[corpus]
    }
    texts = {emotion: {clip.text for clip in clips if clip.emotion == emotion} for emotion in CLASSES[corpus]}
    assert all(spoken == texts["neutral"] and len(spoken) == 2 for spoken in texts.values())


@pytest.mark.parametrize("corpus", LAYOUTS)
def test_audio_is_sound_and_no_two_clips_are_alike(small, corpus):
    seen, lengths = set(), set()
    for name in names(small[corpus]):
        info = sf.info(small[corpus] / name)
        assert (info.samplerate, info.channels) == (SAMPLING_RATES[corpus], 1)
        assert (info.format, info.subtype) == ("WAV", "PCM_16")
        assert 0.99 <= info.duration <= 1.61
        samples, _ = sf.read(small[corpus] / name, dtype="int16")
        assert 300 < np.abs(samples.astype(int)).max() < 0.96 * 32768
        assert samples.std() > 50
        seen.add(hashlib.sha256(samples.tobytes()).digest())
        lengths.add(len(samples))
    assert len(seen) == len(names(small[corpus]))
    assert len(lengths) > 0.8 * len(seen)


def test_bytes_depend_on_seed_corpus_and_name_alone(small, tmp_path):
    wider = generate(tmp_path / "wider", corpora=["tess", "ravdess"], clips_per_class=3, speakers_per_corpus=3)
    for corpus, folder in wider.items():
        before, after = digests(small[corpus]), digests(folder)
        assert len(after) > len(before)
        assert {name: after[name] for name in before} == before
    again = generate(tmp_path / "again", **SMALL)
    assert list(again) == list(LAYOUTS)
    assert all(digests(again[corpus]) == digests(small[corpus]) for corpus in LAYOUTS)
    other = digests(generate(tmp_path / "other", corpora=["crema_d"], seed=1, **SMALL)["crema_d"])
    assert set(other) == set(digests(small["crema_d"]))
    assert not set(other.values()) & set(digests(small["crema_d"]).values())


def test_marker_says_synthetic_and_holds_the_arguments(small):
    content = json.loads((small["savee"] / MARKER).read_text())
    assert "synthetic" in content["notice"] and "no human speech" in content["notice"]
    assert content["arguments"]["clips_per_class"] == 2 and content["arguments"]["seed"] == 0
    assert sorted(content["files"]) == names(small["savee"])


def test_a_complete_corpus_is_left_alone_and_other_arguments_make_it_anew(tmp_path, monkeypatch):
    (folder,) = generate(tmp_path, corpora=["crema_d"], clips_per_class=1, speakers_per_corpus=1).values()
    times = {name: (folder / name).stat().st_mtime_ns for name in names(folder)}
    with monkeypatch.context() as patch:
        patch.setattr(voice, "synthesize", lambda *_, **__: pytest.fail("nothing was to be generated"))
        generate(tmp_path, corpora=["crema_d"], clips_per_class=1, speakers_per_corpus=1)
        # An option that does not concern this corpus does not count as a change.
        generate(tmp_path, corpora=["crema_d"], clips_per_class=1, speakers_per_corpus=1, include_song=True)
    assert {name: (folder / name).stat().st_mtime_ns for name in names(folder)} == times

    generate(tmp_path, corpora=["crema_d"], clips_per_class=2, speakers_per_corpus=1)
    assert len(names(folder)) == 12
    (folder / names(folder)[0]).unlink()
    generate(tmp_path, corpora=["crema_d"], clips_per_class=2, speakers_per_corpus=1)
    assert len(names(folder)) == 12


@pytest.mark.parametrize("name", ["savee", "savee.incomplete"])
def test_folders_of_others_are_refused_before_anything_is_written(tmp_path, name):
    real = tmp_path / name / "AudioData" / "DC" / "a01.wav"
    real.parent.mkdir(parents=True)
    real.write_bytes(b"real")
    with pytest.raises(SyntheticError, match="may contain real recordings"):
        generate(tmp_path, **SMALL)
    assert real.read_bytes() == b"real"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_real_files_among_generated_ones_are_never_removed(tmp_path):
    (folder,) = generate(tmp_path, corpora=["tess"], clips_per_class=1).values()
    real = folder / "OAF_happy" / "OAF_youth_happy.wav"
    real.write_bytes(b"real")
    generate(tmp_path, corpora=["tess"], clips_per_class=1)
    with pytest.raises(SyntheticError, match="OAF_youth_happy"):
        generate(tmp_path, corpora=["tess"], clips_per_class=2)
    assert real.read_bytes() == b"real" and len(names(folder)) == 15


def test_an_interrupted_run_leaves_no_whole_corpus_and_the_next_one_finishes(small, tmp_path, monkeypatch):
    original, calls = voice.synthesize, []

    def fails_in_the_second_corpus(*args, **kwargs):
        calls.append(args)
        if len(calls) > 40:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(synthetic.voice, "synthesize", fails_in_the_second_corpus)
        with pytest.raises(KeyboardInterrupt):
            generate(tmp_path, **SMALL)
    assert {path.name for path in tmp_path.iterdir()} == {"ravdess", "crema_d.incomplete"}
    folders = generate(tmp_path, **SMALL)
    assert {path.name for path in tmp_path.iterdir()} == set(LAYOUTS)
    assert all(digests(folders[corpus]) == digests(small[corpus]) for corpus in LAYOUTS)


def test_a_run_cut_short_while_it_wrote_the_marker_does_not_block_the_next(tmp_path):
    incomplete = tmp_path / "tess.incomplete"
    incomplete.mkdir()
    (incomplete / MARKER).write_text('{"not')
    (folder,) = generate(tmp_path, corpora=["tess"], clips_per_class=1).values()
    assert len(names(folder)) == 14 and not incomplete.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"corpora": ["ravdess", "emodb"]}, "unknown corpus 'emodb' in corpora.*ravdess, crema_d, tess, savee"),
        ({"corpora": []}, "corpora"),
        ({"corpora": "tess"}, "corpora is 'tess'.*list"),
        ({"clips_per_class": 0}, "clips_per_class is 0"),
        ({"clips_per_class": 9}, "clips_per_class is 9; expected 1 to 8.*ravdess"),
        ({"clips_per_class": 15, "corpora": ["crema_d"]}, "clips_per_class is 15; expected 1 to 14.*crema_d"),
        ({"clips_per_class": 201, "corpora": ["tess"]}, "clips_per_class is 201; expected 1 to 200"),
        ({"clips_per_class": 16, "corpora": ["savee"]}, "clips_per_class is 16; expected 1 to 15"),
        ({"speakers_per_corpus": 0}, "speakers_per_corpus is 0"),
        ({"duration_s": (1.5, 1.0)}, "duration_s"),
        ({"duration_s": (0.1, 1.0)}, "duration_s"),
        ({"duration_s": (1.0,)}, "duration_s"),
    ],
)
def test_bad_arguments_are_refused_by_name(tmp_path, arguments, message):
    with pytest.raises(SerError, match=message):
        generate(tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


def test_the_recipe_writes_and_names_the_next_command(launch, tmp_path):
    recipe = Path(__file__).parents[2] / "recipes" / "generate.py"
    options = ["--corpora", "tess", "savee", "--clips_per_class", "1", "--output_dir", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, str(recipe), *options], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "tess: 14 synthetic clips" in done.stdout and "savee: 32 synthetic clips" in done.stdout
    assert f"prepare.py --tess {tmp_path}/out/tess --savee {tmp_path}/out/savee --output_dir" in done.stdout
    refused = launch(recipe, "--clips_per_class", 0, check=False)
    assert refused.returncode == 2 and refused.stderr.startswith("error: clips_per_class is 0")


def test_recipe_fields_are_the_function_s_arguments():
    defaults = GenerateArguments()
    for name, value in (generate.__kwdefaults__ or {}).items():
        own = getattr(defaults, name)
        assert (tuple(own) if isinstance(own, list) else own) == value


# ---------------------------------------------------------------------------------------------- the voice


def test_the_voice_has_an_expression_for_every_emotion():
    assert tuple(voice.EXPRESSIONS) == EMOTIONS


@pytest.mark.parametrize("sampling_rate", [8_000, 16_000, 24_414, 44_100, 48_000])
@pytest.mark.parametrize("duration_s", [0.3, 1.234, 5.0])
@pytest.mark.parametrize("sung", [False, True])
def test_waveforms_are_sound(sampling_rate, duration_s, sung):
    speaker = voice.make_speaker(np.random.default_rng(3), male=sung)
    for emotion in ("sad", "angry"):
        waveform = voice.synthesize(
            emotion,
            speaker,
            sampling_rate=sampling_rate,
            duration_s=duration_s,
            seed=1,
            text="a",
            intensity=1.4,
            sung=sung,
        )
        assert waveform.dtype == np.float32 and waveform.shape == (round(duration_s * sampling_rate),)
        assert np.isfinite(waveform).all() and np.abs(waveform).max() < 0.95
        assert waveform.std() > 10 ** (-50 / 20)
        assert abs(waveform.mean()) < 0.1 * waveform.std()


def test_too_short_a_clip_is_refused():
    speaker = voice.make_speaker(np.random.default_rng(0), male=True)
    with pytest.raises(ValueError, match=r"0\.1 s"):
        voice.synthesize("sad", speaker, sampling_rate=16_000, duration_s=0.1, seed=0)


def many_clips(num_speakers: int, num_texts: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Return 16 kHz waveforms of every emotion, their emotions and their speakers (odd ones are women)."""
    clips, emotions, speakers = [], [], []
    for number in range(num_speakers):
        speaker = voice.make_speaker(np.random.default_rng(100 + number), male=number % 2 == 0)
        for text in range(num_texts):
            for emotion in EMOTIONS:
                seed = voice.stable_seed(number, text, emotion)
                duration_s = np.random.default_rng(seed).uniform(1.0, 1.6)
                clips.append(
                    voice.synthesize(
                        emotion, speaker, sampling_rate=16_000, duration_s=duration_s, seed=seed, text=str(text)
                    )
                )
                emotions.append(emotion)
                speakers.append(number)
    return clips, np.array(emotions), np.array(speakers)


@pytest.fixture(scope="module")
def spoken():
    return many_clips(num_speakers=12, num_texts=4)


def log_bands(waveform: np.ndarray) -> np.ndarray:
    """Return log energies of 32 bands, evenly spaced in mel, of a 16 kHz waveform: (32, frames)."""
    frequencies, _, spectra = stft(waveform, 16_000, nperseg=512, noverlap=352)
    edges = np.searchsorted(frequencies, 700 * (10 ** (np.linspace(0.04, 1, 33) * 2840 / 2595) - 1))
    power = np.abs(spectra) ** 2
    return np.log(np.stack([power[lo : max(hi, lo + 1)].mean(0) for lo, hi in zip(edges, edges[1:], strict=False)]))


def pitch(waveform: np.ndarray) -> np.ndarray:
    """Return f0 in semitones of the clearly periodic 50 ms frames of a 16 kHz waveform, by autocorrelation."""
    frames = np.lib.stride_tricks.sliding_window_view(waveform, 800)[::320]
    spectra = np.fft.rfft(frames[frames.std(1) >= np.median(frames.std(1))], 2048, axis=1)
    correlation = np.fft.irfft(np.abs(spectra[:, :128]) ** 2, 2048, axis=1)[:, :400]  # below 1 kHz
    correlation /= correlation[:, :1] * (1 - np.arange(400) / 800)
    shortest = 16_000 // 500
    lags = correlation[:, shortest:].argmax(1) + shortest
    return 12 * np.log2(16_000 / lags[correlation.max(1, where=np.arange(400) >= shortest, initial=0) > 0.7])


@pytest.mark.parametrize("keeps_level", [True, False], ids=["with loudness", "loudness removed"])
def test_emotions_are_learned_across_speakers(spoken, keeps_level):
    clips, emotions, speakers = spoken
    scaled = [clip if keeps_level else clip / clip.std() for clip in clips]
    bands = [log_bands(clip) for clip in scaled]
    features = np.array([np.concatenate([b.mean(1), b.std(1), np.abs(np.diff(b)).mean(1)]) for b in bands])
    is_train = speakers < 8
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    model.fit(features[is_train], emotions[is_train])
    accuracy = model.score(features[~is_train], emotions[~is_train])
    assert 0.5 < accuracy < 0.99  # chance 0.125; were it perfect, no comparison of models would show a difference


def test_emotions_move_the_voice_the_way_the_literature_says(spoken):
    clips, emotions, _ = spoken
    level_db = [20 * np.log10(clip.std()) for clip in clips]
    power = [np.abs(np.fft.rfft(clip)) ** 2 for clip in clips]
    bright_db = [10 * np.log10(p[len(p) // 8 :].sum() / p.sum()) for p in power]  # the share above 1 kHz
    pitches = [pitch(clip) for clip in clips]
    high_st = [np.median(p) for p in pitches]
    rise_st = [np.median(p[-len(p) // 3 :]) - np.median(p[: len(p) // 3 + 1]) for p in pitches]

    def by_emotion(values):
        return {emotion: np.array(values)[emotions == emotion].mean() for emotion in EMOTIONS}

    level, bright, high, rise = map(by_emotion, (level_db, bright_db, high_st, rise_st))
    assert level["angry"] > level["happy"] > level["neutral"] > level["calm"] > level["sad"]
    assert bright["angry"] > bright["happy"] > bright["neutral"] > bright["calm"] > bright["sad"]
    assert high["fearful"] > high["happy"] > high["angry"] > high["neutral"] > high["calm"]
    assert max(rise, key=rise.__getitem__) == "surprised" and rise["surprised"] > 2 > 0 > rise["neutral"]


def test_the_same_text_has_the_same_syllables_and_speakers_differ():
    def phones(text, seed):
        rng = np.random.default_rng(seed)
        return voice._phones(text, 4.0, 0.1, 2.0, rng)[0][:5]

    assert np.array_equal(phones("back", 0), phones("back", 1))
    assert not np.array_equal(phones("back", 0), phones("bar", 0))
    women = [voice.make_speaker(np.random.default_rng(seed), male=False) for seed in range(50)]
    men = [voice.make_speaker(np.random.default_rng(seed), male=True) for seed in range(50)]
    assert len({speaker.f0_hz for speaker in women + men}) > 90
    assert np.mean([s.f0_hz for s in women]) > 1.5 * np.mean([s.f0_hz for s in men])
    assert min(s.tract for s in women) > max(s.tract for s in men)
    old = voice.make_speaker(np.random.default_rng(0), male=False, age=64)
    assert old.f0_hz < women[0].f0_hz and old.jitter > women[0].jitter and old.tempo < women[0].tempo
