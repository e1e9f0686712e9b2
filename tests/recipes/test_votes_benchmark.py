"""`benchmarks/votes.py`: targets are read from runs and paired; the page has the table of the committed file."""

import json
from pathlib import Path

import numpy as np
import pytest
from example_results import make_results

from hf_ser.errors import SerError
from hf_ser.reporting import write_run
from hf_ser.scoring import Predictions, score_split

ROOT = Path(__file__).parents[2]
LABELS = ("angry", "happy", "sad")


@pytest.fixture(scope="module")
def script(load_benchmarks):
    return load_benchmarks("machine", "votes")["votes"]


@pytest.fixture
def run(tmp_path):
    """Write a run whose predictions are the votes or the labels with some share; return its folder."""

    def write(name, target, *, of_votes, seed=0, clips=48, votes=True, cross_validated=False):
        rng = np.random.default_rng(7)
        counts = rng.multinomial(8, [0.5, 0.3, 0.2], size=clips)
        labels = rng.integers(0, 3, clips)
        clips_of = {
            "id": [f"c/{n}" for n in range(clips)],
            "corpus": ["c"] * clips,
            "speaker": [f"c_{n % 6}" for n in range(clips)],
            "gender": ["female"] * clips,
            "intensity": [None] * clips,
            "label": labels.tolist(),
        }
        if votes:
            clips_of["votes"] = [dict(zip(LABELS, map(int, row), strict=True)) for row in counts]
        shares = 0.9 * (of_votes * counts / 8 + (1 - of_votes) * np.eye(3)[labels]) + 0.1 / 3
        predicted = Predictions(clips_of, shares, LABELS)
        results = make_results({"test": score_split(predicted, files=["predictions_test.parquet"])}, seeds=[seed])
        if cross_validated:
            results["training"] = {"recipe": "finetune.py", "overrides": [f"target={target}", "num_train_epochs=1"]}
        elif target != "acted":
            results["training"] |= {"target": target}
        write_run(tmp_path / name, results, {"test": [predicted]}, figures=False)
        return tmp_path / name

    return write


def test_targets_are_compared_on_the_same_clips(script, run):
    folders = [
        *(run(f"acted_{seed}", "acted", of_votes=0.0, seed=seed) for seed in (0, 1)),
        *(run(f"votes_{seed}", "votes", of_votes=1.0, seed=seed, cross_validated=seed == 1) for seed in (1, 0)),
    ]
    found = script.collect(folders)
    assert list(found["targets"]) == ["acted", "votes"]
    assert [entry["seed"] for entry in found["targets"]["votes"]["seeds"]] == [0, 1]
    difference = found["differences"]["votes"]
    assert difference["acted_uar"]["value"] < 0 < difference["majority_uar"]["value"]
    assert difference["votes_jensen_shannon"]["interval"][1] < 0
    models = [found["targets"][target]["votes"]["model"] for target in ("votes", "acted")]
    for name, (of, score) in {
        "acted_uar": ("acted", "uar"),
        "votes_jensen_shannon": ("votes", "jensen_shannon"),
    }.items():
        values = [model[of][score]["value"] for model in models]
        assert difference[name]["value"] == pytest.approx(values[0] - values[1])
    text = script.render(json.loads(json.dumps(found)))
    assert "| intended emotion " in text and "| (one rater) " in text and "48 test clips of 6 speakers" in text


def test_runs_that_cannot_be_compared_are_errors(script, run):
    acted = run("acted", "acted", of_votes=0.0)
    with pytest.raises(SerError, match="the targets differ in seeds, test clips or classes .acted: seed 0, 48 clips"):
        script.collect([acted, run("votes", "votes", of_votes=1.0, clips=40)])
    with pytest.raises(SerError, match="differ in seeds"):
        script.collect([acted, run("seed", "votes", of_votes=1.0, seed=3)])
    with pytest.raises(SerError, match="plain: its predictions have no votes"):
        script.collect([run("plain", "acted", of_votes=0.0, votes=False)])


def test_the_page_is_filled_from_the_file(script, run, tmp_path, capsys):
    page = tmp_path / "votes.md"
    page.write_text(f"before\n{script.BEGIN}\nold\n{script.END}\nafter\n", encoding="utf-8")
    folders = [str(run("acted", "acted", of_votes=0.0)), str(run("majority", "majority", of_votes=1.0))]
    script.main([*folders, "--output", str(tmp_path / "votes.json"), "--docs", str(page)])
    stored = json.loads((tmp_path / "votes.json").read_text(encoding="utf-8"))
    text = page.read_text(encoding="utf-8")
    assert script.render(stored) in text and "old" not in text and text.startswith("before") and "after" in text
    assert "acted, majority; table in" in capsys.readouterr().out


def test_the_page_has_the_table_of_the_committed_file(script):
    page = (ROOT / "docs" / "how-to" / "votes.md").read_text(encoding="utf-8")
    shown = page[page.index(script.BEGIN) + len(script.BEGIN) : page.index(script.END)].strip()
    committed = ROOT / "results" / "votes.json"
    if committed.is_file():
        assert shown == script.render(json.loads(committed.read_text(encoding="utf-8"))).strip()
    else:
        assert shown == "Not measured yet."
