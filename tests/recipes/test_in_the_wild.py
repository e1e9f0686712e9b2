"""`benchmarks/in_the_wild.py`: its sounds, what it measures, its file and its tables."""

import json
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from hf_ser.corpora import synthetic
from hf_ser.data.splits_file import SPLITS_FILE
from hf_ser.errors import SerError
from hf_ser.labels import EMOTIONS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks"
MEASURED = ROOT / "results" / "pretrained_in_the_wild.json"


@pytest.fixture(scope="module")
def scripts(load_benchmarks):
    """The script with its parts, by name."""
    return load_benchmarks("machine", "wild_sounds", "in_the_wild_tables", "in_the_wild")


@pytest.fixture(scope="module")
def sounds(scripts):
    return scripts["wild_sounds"]


# --- sounds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("colour", "slope"), [("white", 0), ("pink", -3), ("brown", -6)])
def test_noise_has_its_colour_and_its_level(sounds, colour, slope):
    made = sounds.noise(colour, -30)(np.random.default_rng(0))
    assert sounds.level_dbfs(made) == pytest.approx(-30, abs=0.01) and made.dtype == np.float32
    power = np.abs(np.fft.rfft(made)) ** 2
    frequency = np.fft.rfftfreq(len(made), 1 / sounds.RATE)
    octaves = [
        (250 * 2**k, 10 * np.log10(power[(frequency >= 250 * 2**k) & (frequency < 500 * 2**k)].mean()))
        for k in range(4)
    ]
    fitted = np.polyfit(np.log2([f for f, _ in octaves]), [p for _, p in octaves], 1)[0]
    assert fitted == pytest.approx(slope, abs=0.5)  # decibels per octave


def test_every_sound_is_a_waveform_and_depends_on_the_generator_only(sounds):
    voices = [np.sin(np.arange(8000) * step).astype(np.float32) for step in (0.1, 0.2, 0.3)]
    makers = [sounds.hum, sounds.music, sounds.clicks, lambda rng: sounds.babble(voices, rng)]
    for make in makers:
        first, again, other = (make(np.random.default_rng(seed)) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)
        assert first.shape == (48_000,) and first.dtype == np.float32 and np.abs(first).max() <= 1
    assert not sounds.silence(np.random.default_rng(0)).any()


def test_the_telephone_keeps_its_band_only(sounds):
    time = np.arange(16_000) / 16_000
    kept, low, high = (np.sin(2 * np.pi * hz * time).astype(np.float32) for hz in (1000, 100, 6000))
    for tone, lost_db in ((kept, 0), (low, 40), (high, 40)):
        lost = sounds.level_dbfs(tone) - sounds.level_dbfs(sounds.telephone(tone)[4000:])
        assert lost >= lost_db - 1 if lost_db else abs(lost) < 1


def test_noise_is_added_at_its_ratio_and_levels_are_kept(sounds):
    rng = np.random.default_rng(0)
    clip = 0.1 * np.sin(np.arange(20_000) * 0.3).astype(np.float32)
    noisy = sounds.with_noise(clip, sounds.noise("white", -20)(rng), 10)
    assert sounds.level_dbfs(clip) - sounds.level_dbfs(noisy - clip) == pytest.approx(10, abs=0.2)
    assert sounds.level_dbfs(sounds.quieter(clip, -50)) == pytest.approx(-50, abs=0.1)
    wet = sounds.room(clip, 0.5, rng)
    assert sounds.level_dbfs(wet) == pytest.approx(sounds.level_dbfs(clip), abs=0.5) and len(wet) == len(clip)
    burst = np.zeros(16_000, np.float32)
    burst[:400] = clip[:400]
    tails = [
        sounds.level_dbfs(sounds.room(burst, seconds, np.random.default_rng(0))[4000:8000]) for seconds in (0.3, 1.0)
    ]
    assert tails[0] < tails[1] - 10  # a longer reverberation falls more slowly


# --- measuring --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def measured(scripts, tmp_path_factory, save_companion):
    """A model with a threshold, trained on some of the clips, and what the script finds about it."""
    root = tmp_path_factory.mktemp("wild")
    folders = synthetic.generate(
        root / "corpora",
        corpora=("ravdess", "crema_d"),
        clips_per_class=1,
        speakers_per_corpus=3,
        duration_s=(0.5, 0.6),
    )
    labels = [label for label in EMOTIONS if label != "calm"]
    model = save_companion(root / "model", labels)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"abstention_threshold": 0.16}))
    clips = sorted(path.stem for path in folders["ravdess"].rglob("*.wav"))
    lines = [f"ravdess/{clip},{'test' if clip.endswith('03') else 'train'}," for clip in clips]
    (model / SPLITS_FILE).write_text("\n".join(["id,split,sha256", *lines]) + "\n")
    page = root / "page.md"
    tables = scripts["in_the_wild_tables"]
    page.write_text(f"before\n{tables.BEGIN}\nstale\n{tables.END}\nafter\n")
    scripts["in_the_wild"].SOUNDS_PER_CONDITION = 2  # for speed; nothing below depends on the number
    words = ["--model", model, "--recordings", folders["ravdess"], folders["crema_d"]]
    scripts["in_the_wild"].main([str(word) for word in [*words, "--output", root / "wild.json", "--docs", page]])
    return model, folders, json.loads((root / "wild.json").read_text()), page.read_text()


def test_only_test_clips_of_the_training_corpora_are_scored(measured):
    _, folders, results, _ = measured
    own, other = results["conditions"][:2]
    clips = [path.stem for path in folders["ravdess"].rglob("*.wav") if path.stem.endswith("03")]
    calm = [clip for clip in clips if clip.split("-")[2] == "02"]
    assert own["name"] == "ravdess: test clips" and own["clips"] == len(clips) - len(calm) > 0
    assert own["left_out"] == {"calm": len(calm)} and own["scores"]["speakers"] == 1
    assert other["name"] == "crema_d: all clips" and other["scores"]["speakers"] == 3
    assert other["clips"] == len(list(folders["crema_d"].rglob("*.wav")))
    altered = [one for one in results["conditions"] if one["kind"] == "altered speech"]
    assert len(altered) == 9 and {one["clips"] for one in altered} == {own["clips"]}
    unchanged = altered[0]
    for key in ("predicted", "mean_top_probability", "answered"):
        assert unchanged[key] == pytest.approx(own[key])


def test_sounds_without_speech_have_no_scores_and_silence_is_an_error(measured):
    _, _, results, _ = measured
    sounds = {one["name"]: one for one in results["conditions"] if one["kind"] == "no speech"}
    assert all(one["scores"] is None and one["clips"] == 2 for one in sounds.values())
    assert sounds["digital silence"]["errors"] == {"silent": 2}
    assert sounds["digital silence"]["mean_top_probability"] is None
    rest = [one for name, one in sounds.items() if name != "digital silence"]
    assert all(not one["errors"] and sum(one["predicted"].values()) == pytest.approx(1) for one in rest)
    assert "babble of 8 voices" in sounds and 0 <= sounds["clicks"]["answered"] <= 1


def test_the_file_follows_its_schema_and_every_field_is_described(measured):
    _, _, results, _ = measured
    schema = json.loads((FOLDER / "in_the_wild.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(results, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(results | {"threshold": 2}, schema)
    parts = [schema, schema["$defs"]["condition"], schema["$defs"]["scores"]]
    assert all("description" in field for part in parts for field in part["properties"].values())


def test_the_tables_hold_the_numbers_of_the_file(measured, scripts):
    _, _, results, page = measured
    assert page.startswith("before\n") and page.endswith("\nafter\n") and "stale" not in page
    for one in results["conditions"]:
        (line,) = (line for line in page.splitlines() if line.startswith(f"| {one['name']} "))
        if one["scores"]:
            assert f"{one['scores']['accuracy']:.3f}" in line and f"{one['scores']['ece']:.3f}" in line
        elif one["mean_top_probability"] is not None:
            assert f"{one['mean_top_probability']:.3f}" in line
    assert "has an abstention threshold of 0.160." in page


def test_clips_with_the_samples_of_training_clips_stop_it(measured, scripts, tmp_path):
    model, folders, _, _ = measured
    copied = shutil.copytree(model, tmp_path / "model")
    lines = (copied / SPLITS_FILE).read_text().replace("ravdess/", "renamed/").splitlines()
    wild = scripts["in_the_wild"]
    from hf_ser.data import DataArguments
    from hf_ser.evaluation.clip_sources import clips_of_folder

    clips = clips_of_folder(folders["ravdess"], DataArguments(), tmp_path)
    hashes = dict(zip(clips.columns["id"], clips.marks.hashes(), strict=True))
    lines = [lines[0]] + [
        f"{line.split(',')[0]},train,{hashes[line.split(',')[0].replace('renamed', 'ravdess')]}" for line in lines[1:]
    ]
    (copied / SPLITS_FILE).write_text("\n".join(lines) + "\n")
    with pytest.raises(SerError, match="ravdess: the model was trained on .* of the clips to score"):
        wild.measure(copied, [folders["ravdess"]], None)


def test_a_page_without_markers_is_not_written(scripts, tmp_path):
    (tmp_path / "page.md").write_text("nothing")
    with pytest.raises(SerError, match="once each"):
        scripts["in_the_wild_tables"].fill(tmp_path / "page.md", {})


# --- what is committed ------------------------------------------------------------------------------------------


def test_the_page_has_the_tables_of_the_committed_file(scripts):
    tables = scripts["in_the_wild_tables"]
    page = (ROOT / "docs" / "in_the_wild.md").read_text(encoding="utf-8")
    results = json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.is_file() else None
    if results is not None:
        jsonschema.validate(results, json.loads((FOLDER / "in_the_wild.schema.json").read_text(encoding="utf-8")))
        assert results["model"] == "pretrained"
    shown = page[page.index(tables.BEGIN) + len(tables.BEGIN) : page.index(tables.END)]
    assert shown.strip() == tables.render(results).strip()
