"""`hf-ser predict` with a model that abstains: table, JSON, CSV, Parquet, and resumed files."""

import json
import shutil

import pytest
from batch_tools import LABELS, read

from hf_ser import cli

FILES = ("csv", "jsonl", "parquet")


@pytest.fixture(scope="module")
def unsure_model(tmp_path_factory, save_companion):
    """A model whose threshold no clip reaches: four classes with random weights."""
    folder = save_companion(tmp_path_factory.mktemp("abstaining") / "model", LABELS)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"abstention_threshold": 0.97}))
    return folder


def flags(path):
    """Name of a recording -> whether the model abstained, as JSON writes it."""
    return {str(row["file"]): json.dumps(row["abstained"]).strip('"') for row in read(path) if not row.get("error")}


def test_the_table_says_not_sure_and_keeps_the_scores(predict, few_recordings, unsure_model, tiny_model):
    recording = few_recordings / "0.wav"
    _, out, _ = predict(recording, model=unsure_model)
    plain = predict(recording, "--abstain", "off", model=unsure_model)[1]
    first, second, *bars = out.splitlines()
    label, score = bars[0].split()[:2]
    assert second == f"  not sure: the best class is {label} {score}, below the threshold 0.970"
    assert plain.splitlines() == [first, *bars] == predict(recording, model=tiny_model)[1].splitlines()


@pytest.mark.parametrize("kind", FILES)
def test_files_have_a_column_only_if_the_model_abstains(predict, few_recordings, unsure_model, tmp_path, kind):
    with_it, without = tmp_path / f"with.{kind}", tmp_path / f"without.{kind}"
    assert predict(few_recordings, "--output", with_it, model=unsure_model)[0] == 0
    assert set(flags(with_it).values()) == {"true"} and len(flags(with_it)) == 3
    assert predict(few_recordings, "--output", without)[0] == 0
    assert all("abstained" not in row for row in read(without))
    high = tmp_path / f"high.{kind}"
    assert predict(few_recordings, "--output", high, "--abstain", "0.01")[0] == 0
    assert set(flags(high).values()) == {"false"}


@pytest.mark.parametrize("kind", FILES)
def test_failed_recordings_and_windows_have_no_flag(predict, few_recordings, unsure_model, tmp_path, kind):
    (few_recordings / "bad.wav").write_bytes(b"")
    output = tmp_path / f"a.{kind}"
    code, _, _ = predict(few_recordings, "--timeline", "--output", output, model=unsure_model)
    assert code == cli.SOME_FAILED
    rows = read(output)
    flagged = [row for row in rows if row.get("abstained") not in (None, "")]
    assert len(flagged) == 3 and not any(row.get("error") for row in flagged)


@pytest.mark.parametrize("kind", FILES)
def test_files_are_completed_with_the_same_threshold_and_not_with_another(
    predict, few_recordings, unsure_model, tmp_path, kind
):
    output = tmp_path / f"a.{kind}"
    predict(few_recordings / "0.wav", "--output", output, model=unsure_model)
    assert predict(few_recordings, "--output", output, model=unsure_model)[0] == 0
    assert len(flags(output)) == 3
    before = output.read_bytes()
    code, _, err = predict(few_recordings, "--output", output, "--abstain", "0.5", model=unsure_model)
    assert code == cli.WRONG_USE and "got answers with default options; expected --abstain 0.5" in err
    assert output.read_bytes() == before


@pytest.mark.parametrize("kind", FILES)
def test_a_file_from_before_the_model_had_a_threshold_is_kept(
    predict, few_recordings, tiny_model, unsure_model, tmp_path, kind
):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    output = tmp_path / f"a.{kind}"
    predict(few_recordings, "--output", output, model=model)
    before = output.read_bytes()
    shutil.copy(unsure_model / "config.json", model)
    code, _, err = predict(few_recordings, "--output", output, model=model)
    assert code == cli.WRONG_USE and "expected answers of" in err and output.read_bytes() == before


@pytest.mark.parametrize("value", ["on", "1.5", "-1", "nan"])
def test_other_values_are_rejected(predict, few_recordings, value):
    code, _, err = predict(few_recordings, f"--abstain={value}")
    assert code == cli.WRONG_USE and err.startswith(
        f"error: --abstain {value}; expected a number from 0 to 1, or off."
    )


def test_info_names_the_threshold(unsure_model, capsys):
    assert cli.main(["info", str(unsure_model)]) == 0
    assert "abstains        below a top probability of 0.970" in capsys.readouterr().out
