"""`recipes/prepare.py` from the command line, on synthetic recordings and on real ones."""

import csv
import functools
import json
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hf_ser.arguments import parse
from hf_ser.corpora.synthetic import generate
from hf_ser.data import DataArguments
from hf_ser.training import ModelArguments, SerTrainingArguments

RECIPE = Path(__file__).parents[2] / "recipes" / "prepare.py"


@pytest.fixture
def run(launch):
    """Run the recipe with these words in a process of its own."""
    return functools.partial(launch, RECIPE, check=False)


def quarantined(folder: Path) -> dict[str, str]:
    """Path -> reason."""
    with open(folder / "quarantine.csv", encoding="utf-8", newline="") as file:
        return {f"{row['corpus']}/{row['path']}": row["reason"] for row in csv.DictReader(file)}


def columns(folder: Path, *names: str) -> list[dict]:
    return pq.ParquetDataset(folder / "data").read(list(names)).to_pylist()


@pytest.fixture(scope="module")
def savee(tmp_path_factory) -> Path:
    """48 synthetic clips in SAVEE's layout, and one damaged file."""
    folders = generate(
        tmp_path_factory.mktemp("savee"),
        corpora=["savee"],
        clips_per_class=2,
        speakers_per_corpus=3,
        duration_s=(0.5, 0.6),
    )
    (folders["savee"] / "AudioData/DC/a09.wav").write_bytes(b"")
    return folders["savee"]


# --- on synthetic recordings


def test_it_prints_what_it_found_and_what_to_run_next(run, savee, tmp_path):
    output = tmp_path / "emotions"
    command = [sys.executable, RECIPE, "--savee", savee, "--output_dir", output, "--num_proc", "2"]
    first = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert first.returncode == 0, first.stderr
    lines = [line.rstrip() for line in first.stdout.splitlines()]
    assert "corpus  found  kept  quarantined  reasons  missing     other files" in lines
    assert "savee   49     48    1            1 empty  431 of 480  1" in lines
    assert "savee           12/120   -     6/60   6/60  6/60   6/60     6/60     6/60" in lines
    assert "savee        empty   AudioData/DC/a09.wav  got 0 bytes; expected an audio file" in lines
    assert "Missing compared" not in first.stdout  # generated corpora are not meant to be complete
    assert any(line.startswith("speaker_disjoint  16     16          16    ") for line in lines)
    assert any(line.startswith("random            32     8           8     ") for line in lines)
    assert any(line.startswith(f"Wrote {output} in ") for line in lines)
    load, following = lines[-2:]
    assert load == f'Load it in Python: datasets.load_dataset("{output}", "all")'
    assert following.startswith("Next: python recipes/finetune.py --config recipes/configs/")
    argv = shlex.split(following)[3:]
    argv[1] = str(RECIPE.parents[1] / argv[1])
    model, data, _ = parse(ModelArguments, DataArguments, SerTrainingArguments, argv=[*argv, "--use_cpu", "true"])
    assert model.model_name_or_path and (data.dataset, data.configuration) == (str(output), "all")
    assert first.stderr.splitlines() == ["Checking clips: 49 clips", "Writing Parquet: 48 clips"]  # in a log no bars
    assert len(columns(output, "id")) == 48

    again = run("--savee", savee, "--output_dir", output)
    assert again.returncode == 0 and again.stderr == ""
    report = first.stdout.partition(f"Wrote {output}")[0]
    assert (
        again.stdout
        == f"{report}{output} is up to date: it was prepared from the same files and settings.\n{load}\n{following}\n"
    )


def test_a_config_file_and_flags_that_override_it(run, savee, tmp_path):
    config = tmp_path / "prepare.yaml"
    config.write_text(f"savee: {savee}\noutput_dir: out\nseed: 1\nratios: [0.6, 0.2, 0.2]\nmin_duration_s: 2e-1\n")
    done = run("--config", config, "--seed", 7, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out/preparation.json").read_text())
    assert summary["protocols"]["random"]["seed"] == 7
    assert summary["protocols"]["random"]["ratios"] == [0.6, 0.2, 0.2]
    assert summary["limits"] == {"min_duration_s": 0.2, "silence_dbfs": -60.0}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("", "error: the following arguments are required: --output_dir"),
        (
            "--output_dir out",
            "no recordings given; expected at least one of --ravdess, --crema_d, --tess, --savee, --emodb, --iemocap "
            "DIR, --csv FILE, --audio_folder DIR, --hub_dataset ID, --audformat DIR.",
        ),
        ("--output_dir out --savee none", "none: no such folder; expected a folder of SAVEE recordings."),
        (
            "--output_dir out --savee empty",
            "found no recordings among 0 files; expected SAVEE files with the suffix .wav or .flac.",
        ),
        ("--output_dir out --savee IN --sede 3", "error: command line: unknown field sede (did you mean seed"),
        ("--list list.csv", "error: command line: unknown field list (no field has a similar name)"),
        ("--savees IN", "error: command line: unknown field savees (did you mean savee"),
        ("--output_dir out --savee IN --seed x", "error: argument --seed: invalid int value: 'x'"),
        ("--output_dir out --savee IN --num_proc 0", "error: --num_proc is 0; expected at least 1."),
        ("--output_dir full --savee IN", "full exists and is not a prepared dataset. Choose another folder."),
        ("--config none.yaml", "error: --config none.yaml: no such file"),
    ],
)
def test_bad_flags_end_in_one_line_and_exit_code_2(run, savee, tmp_path, flags, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("my own")
    done = run(*flags.replace("IN", str(savee)).split(), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and message in line
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "full"}


def test_ratios_that_do_not_sum_to_one_are_refused(run, savee, tmp_path):
    done = run("--savee", savee, "--output_dir", tmp_path / "out", "--ratios", 0.5, 0.2, 0.1)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(
        "error: ratios are [0.5, 0.2, 0.1]; expected three positive fractions"
    )
    assert not (tmp_path / "out").exists()


def test_a_shard_size_that_is_none_is_refused(run, savee, tmp_path):
    done = run("--savee", savee, "--output_dir", tmp_path / "out", "--max_shard_size", "banana")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_other_settings_want_overwrite(run, savee, tmp_path):
    assert run("--savee", savee, "--output_dir", tmp_path / "out").returncode == 0
    done = run("--savee", savee, "--output_dir", tmp_path / "out", "--seed", 1)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"error: --output_dir {tmp_path / 'out'} contains a dataset prepared from other files or settings. Choose "
        "another folder, or pass --overwrite true to replace the dataset."
    ]
    done = run("--savee", savee, "--output_dir", tmp_path / "out", "--seed", 1, "--overwrite", "true")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out/preparation.json").read_text())["protocols"]["random"]["seed"] == 1


def test_nothing_that_can_be_kept_is_an_error(run, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/DC_a01.wav").write_bytes(b"")
    done = run("--savee", tmp_path / "in", "--output_dir", tmp_path / "out")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "error: none of the 1 recordings can be used. The first is DC_a01.wav (empty): got 0 bytes" in done.stderr
    assert not (tmp_path / "out").exists()


# --- on real recordings

# What each file in odd_originals/ comes to, after shared/CORPORA.md.
CONFLICTING = (
    *("1006_TIE_HAP_XX", "1006_TIE_NEU_XX", "1013_WSI_DIS_XX", "1013_WSI_SAD_XX"),
    *("1017_IWW_ANG_XX", "1017_IWW_FEA_XX"),
)
ODD_KEPT = {
    "crema_d/1022_IEO_ANG_HI",
    "crema_d/1040_ITH_SAD_XX",  # from its old name, 1040_ITH_SAD_X.wav
    "ravdess/03-01-02-01-01-02-01",  # stereo
    "ravdess/03-01-03-01-02-01-07",  # the first of an identical pair
    "ravdess/03-01-05-02-01-01-03",
    "ravdess/03-01-06-01-01-02-20",  # stereo
    "tess/OAF_bite_neutral",  # named OA_bite_neutral.wav
    "tess/OAF_food_fear",  # 96 kHz
    "tess/YAF_dog_ps",
    "tess/YAF_germ_angry",  # AIFF data named .wav
    "tess/YAF_neat_fear",  # AIFF data named .wav
}
ODD_QUARANTINED = {f"crema_d/AudioWAV/{stem}.wav": "conflicting_labels" for stem in CONFLICTING} | {
    "crema_d/AudioWAV/1076_MTI_SAD_XX.wav": "silent",
    "ravdess/Actor_07/03-01-03-01-02-02-07.wav": "duplicate_audio",
}


@pytest.mark.corpora
def test_every_odd_original_meets_its_fate(run, corpora_dir, tmp_path):
    odd = corpora_dir / "odd_originals"
    output = tmp_path / "out"
    flags = [word for name in ("ravdess", "crema_d", "tess") for word in (f"--{name}", odd / name)]
    done = run(*flags, "--output_dir", output)
    assert done.returncode == 0, done.stderr
    rows = {row["id"]: row for row in columns(output, "id", "label", "speaker", "duration", "audio")}
    assert rows.keys() == ODD_KEPT
    assert quarantined(output) == ODD_QUARANTINED
    assert len(rows) + len(ODD_QUARANTINED) == sum(1 for path in odd.rglob("*.wav"))
    assert rows["tess/OAF_bite_neutral"]["speaker"] == "tess_OAF"
    assert (rows["tess/YAF_dog_ps"]["label"], rows["tess/YAF_germ_angry"]["label"]) == (7, 4)
    assert (rows["crema_d/1040_ITH_SAD_XX"]["label"], rows["crema_d/1022_IEO_ANG_HI"]["label"]) == (3, 4)
    assert 1.25 <= rows["tess/OAF_food_fear"]["duration"] <= 2.99  # 96 kHz is read from the file, not assumed
    summary = json.loads((output / "preparation.json").read_text())
    assert summary["synthetic"] == [] and "synthetic" not in (output / "README.md").read_text()


@pytest.mark.corpora
@pytest.mark.slow
def test_the_whole_of_the_real_recordings(run, corpora_dir, tmp_path):
    output = tmp_path / "out"
    flags = [word for name in ("ravdess", "crema_d", "tess") for word in (f"--{name}", corpora_dir / name)]
    done = run(*flags, "--output_dir", output, timeout_s=600)
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    assert lines["all"][:4] == ["all", "3619", "3612", "7"]
    rows = columns(output, "id", "corpus", "speaker", "duration")
    assert len({row["id"] for row in rows}) == len(rows) == 3612
    assert Counter(row["corpus"] for row in rows) == {"ravdess": 1439, "crema_d": 1615, "tess": 558}
    assert {
        corpus: len({row["speaker"] for row in rows if row["corpus"] == corpus}) for corpus in SPEAKERS
    } == SPEAKERS
    assert quarantined(output) == {f"crema_d/AudioWAV/{stem}.flac": "conflicting_labels" for stem in CONFLICTING} | {
        "ravdess/Actor_07/03-01-03-01-02-02-07.flac": "duplicate_audio"
    }
    for corpus, shortest, longest in (("ravdess", 2.9, 5.3), ("crema_d", 1.2, 5.1), ("tess", 1.2, 3.0)):
        durations = [row["duration"] for row in rows if row["corpus"] == corpus]
        assert shortest < min(durations) and max(durations) < longest
    with open(output / "counts.csv", encoding="utf-8", newline="") as file:
        counts = [row for row in csv.DictReader(file) if row["corpus"] == "ravdess"]
    assert len(counts) == 192 and all(row["missing"] == "0" for row in counts)  # the duplicate was found, not missing
    again = run(*flags, "--output_dir", output)
    assert "is up to date: it was prepared from the same files and settings." in again.stdout


@pytest.mark.corpora
def test_emo_db_with_six_and_with_seven_classes(run, corpora_dir, tmp_path):
    seven = ["neutral", "happy", "sad", "angry", "fearful", "disgust", "boredom"]
    counts = dict(zip(seven, (79, 71, 62, 127, 69, 46, 81), strict=True))  # CORPORA.md
    for flags in ([], ["--labels", *seven]):
        output = tmp_path / f"out_{len(flags)}"
        done = run("--emodb", corpora_dir / "emodb", "--output_dir", output, *flags)
        assert done.returncode == 0, done.stderr
        summary = json.loads((output / "preparation.json").read_text(encoding="utf-8"))
        found = Counter(summary["labels"][row["label"]] for row in columns(output, "label"))
        assert found == {label: number for label, number in counts.items() if flags or label != "boredom"}
        assert summary["quarantined"] == {"emodb": {} if flags else {"label": 81}}
        assert summary["languages"] == ["de"] and summary["default_protocol"] == "speaker_disjoint"


SPEAKERS = {"ravdess": 24, "crema_d": 20, "tess": 2}
