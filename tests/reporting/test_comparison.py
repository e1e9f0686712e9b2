"""Comparing runs: which runs share a ranking, and that every table shows the numbers of results.json."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_results import make_results
from matplotlib import image

from hf_ser.arguments import ConfigError
from hf_ser.data.protocols import LEAK
from hf_ser.reporting import comparison_report as report_module
from hf_ser.reporting import write_run
from hf_ser.reporting.comparison import (
    BEGIN,
    END,
    CompareArguments,
    ComparisonError,
    find_runs,
    group,
    load_runs,
    rank,
)
from hf_ser.reporting.comparison_latex import render_latex
from hf_ser.reporting.comparison_rendering import render_csv, render_markdown
from hf_ser.reporting.comparison_report import compare_runs, with_results
from hf_ser.reporting.comparison_tables import Score, Table, make_tables
from hf_ser.reporting.paired_tests import paired
from hf_ser.scoring import Predictions, ResultsError, score_split
from hf_ser.scoring.predictions import write_predictions
from hf_ser.scoring.results import write_results

LABELS = ("neutral", "happy", "sad")
PREPROCESSING = {"duration_s": None, "trim_db": None, "normalize": False, "merge_calm": False, "channel": None}


def predict(skill, seed=0, *, clips=120, first=0, labels=LABELS):
    """Predictions for clips of ten speakers; `skill` is the share of correct ones, `seed` selects them."""
    rng = np.random.default_rng(seed)
    label_ids = (np.arange(first, first + clips) % len(labels)).tolist()
    probabilities = rng.dirichlet(np.ones(len(labels)), clips)
    for row in np.flatnonzero(rng.random(clips) < skill):
        best = probabilities[row].argmax()
        probabilities[row, [best, label_ids[row]]] = probabilities[row, [label_ids[row], best]]
    numbers = range(first, first + clips)
    columns = {
        "id": [f"ravdess/{number:04}" for number in numbers],
        "corpus": ["ravdess"] * clips,
        "speaker": [f"ravdess_{number // 3 % 10}" for number in numbers],
        "gender": ["female"] * clips,
        "intensity": [None] * clips,
        "label": label_ids,
    }
    return Predictions(columns, probabilities, tuple(labels))


@pytest.fixture
def make(tmp_path):
    """Write the folder of a run as the recipes do, without figures, which are slow."""

    def write(name, tables, *, protocol="emobox", split="test", folder=None, history=None, left_out=None, **changes):
        tables = [tables] if isinstance(tables, Predictions) else tables
        seeds = list(range(len(tables)))
        files = ["predictions.parquet"] if len(tables) == 1 else [f"predictions_seed_{seed}.parquet" for seed in seeds]
        leak = [LEAK] if protocol == "random" else []
        results = make_results(
            {split: score_split(tables, files=files, left_out=left_out)},
            kind="training" if len(tables) == 1 else "cross_validation",
            name=name,
            parameters=429640,
            dataset={"name": "ravdess", "train_clips": None, "train_speakers": None, "train_classes": None},
            protocol={"name": protocol, "hash": None, "notes": leak},
            preprocessing={"trim_db": None},
            training=None,
            seeds=seeds,
        )
        for key, value in changes.items():
            results[key] = results[key] | value if isinstance(value, dict) and key in results else value
        if len(tables) > 1:
            scores = results["splits"][split]["scores"]
            results["runs"] = [part(seed, scores) for seed in seeds]
        path = tmp_path / (folder or name)
        write_run(path, results, {split: tables}, figures=False)
        if history is not None:
            (path / "training_history.json").write_text(json.dumps(history))
        return path

    return write


def part(seed, scores, fold=None, **changes):
    """One training of a cross-validation."""
    described = {"folder": f"seed_{seed}", "fold": fold, "fold_name": fold and f"corpus {fold}", "seed": seed}
    described |= {"protocol_hash": "a" * 64, "clips": 120, "temperature": None, "left_out": {}}
    return described | {"validation": None, "test": scores} | changes


def results_of(folder):
    return json.loads((folder / "results.json").read_text())


def tables_of(*folders, **options):
    return make_tables(group(load_runs(folders, **options)))


def cells_of(table):
    return [[table.name(index), *map(str, row[1:])] for index, row in enumerate(table.rows)]


def sentences_of(table):
    return [table.caption, *(f"({mark}) {note}" if mark else note for mark, note in table.notes), *table.explanations]


# --- loading ------------------------------------------------------------------------------------------------------


def test_folders_that_are_not_comparable_are_rejected(make, tmp_path):
    good = make("good", predict(0.5))
    with pytest.raises(ResultsError, match="missing .*no results.json"):
        load_runs([good, tmp_path / "missing"])
    with pytest.raises(ComparisonError, match="good twice"):
        load_runs([good, tmp_path / "other" / ".." / "good"])
    validated = make("validated", predict(0.5), split="validation")
    with pytest.raises(ComparisonError, match="validated: no test scores"):
        load_runs([good, validated])
    with pytest.raises(ComparisonError, match=r"good \(emobox\); expected runs under random only"):
        load_runs([good], protocol="random")
    assert [run.name for run in load_runs([good], protocol="emobox")] == ["good"]


def test_patterns_find_the_folders_of_runs(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b_emobox", "a_emobox", "c_random", "odd[1]"):
        make(name, predict(0.5), protocol="random" if name == "c_random" else "emobox")
    Path("d_emobox").mkdir()  # not a run
    Path("e_emobox").write_text("a file")
    emobox = [Path("a_emobox"), Path("b_emobox")]
    assert find_runs(["*_emobox"]) == emobox
    assert find_runs(["b_emobox", "*_emobox", "*_*"]) == [*emobox[::-1], Path("c_random")]
    assert find_runs(["odd[1]"]) == [Path("odd[1]")]  # an existing folder is not a pattern
    assert find_runs(["d_emobox", "missing"]) == [Path("d_emobox"), Path("missing")]  # errors in load_runs
    for pattern in ("x*", "d_*"):
        with pytest.raises(
            ComparisonError, match=re.escape(f"runs: '{pattern}' matches no folder with a results.json")
        ):
            find_runs(["*_emobox", pattern])
    text, _ = compare_runs(CompareArguments(["*_emobox", "c*"]))
    assert "| a " in text and "| c " in text


def test_names_are_chosen_for_runs_with_or_without_their_protocol(make):
    folders = [make("small_emobox", predict(0.5)), make("small_random", predict(0.7), protocol="random")]
    shown = [run.shown for runs in group(load_runs(folders, {"small": "Ours"})).values() for run in runs]
    assert shown == ["Ours", "Ours"]
    for key in ("small_emobox", folders[0].as_posix()):
        assert [run.name for run in load_runs(folders, {key: "Ours"})] == ["Ours", "small_random"]
    assert tables_of(*folders, names={"small": "Ours"})[-1].rows[0][0] == "Ours"
    with pytest.raises(ComparisonError, match="--names: no run is called tiny; got small_emobox, small_random"):
        load_runs(folders, {"tiny": "Ours"})


def test_names_omit_the_protocol_where_they_stay_unique(make):
    folders = [make(name, predict(0.5, seed)) for seed, name in enumerate(("a_emobox", "b (emobox)", "c_random"))]
    (runs,) = group(load_runs(folders)).values()
    assert {run.shown for run in runs} == {"a", "b", "c_random"}
    (runs,) = group(load_runs([*folders, make("a", predict(0.4))])).values()
    assert {run.shown for run in runs} == {"a_emobox", "a", "b", "c_random"}


def test_all_clips_count_where_there_is_no_test_split(make):
    (run,) = load_runs([make("a", predict(0.5), split="all", protocol="all_clips")])
    assert run.scored["clips"] == 120


# --- groups -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tables", "changes", "says"),
    [
        (predict(0.5), {"protocol": "random"}, "got runs under emobox and random; expected one protocol"),
        (predict(0.5, clips=60), {}, "different test clips"),
        (predict(0.5, labels=("neutral", "happy", "sad", "angry")), {}, "different classes"),
        (predict(0.5), {"dataset": {"name": "tess"}}, "different dataset"),
        (predict(0.5), {"dataset": {"configuration": "speech"}}, "different configuration"),
        (predict(0.5), {"dataset": {"synthetic": ["ravdess"]}}, "different synthetic corpora"),
    ],
)
def test_runs_that_are_not_comparable_never_share_a_ranking(make, tables, changes, says):
    runs = load_runs([make("a", predict(0.5)), make("b", tables, **changes)])
    with pytest.raises(ComparisonError, match=says):
        rank(runs)
    groups = group(runs)
    assert [len(runs) for runs in groups.values()] == [1, 1]
    text = render_markdown(make_tables(groups))
    assert text.count("### Scores:") == 2 and "Differences" not in text
    same_protocol = changes.get("protocol") is None
    assert text.count("Tables under emobox are not comparable with each other: different") == (
        1 if same_protocol else 0
    )
    assert not same_protocol or says in text


def test_one_fold_is_a_separate_group(make):
    folder = make("one", predict(0.5, clips=60))
    write_results(folder, results_of(folder) | {"protocol": results_of(folder)["protocol"] | {"fold": 1}})
    runs = load_runs([folder, make("all", predict(0.5))])
    with pytest.raises(ComparisonError, match="different fold, test clips"):
        rank(runs)
    assert {key.fold for key in group(runs)} == {1, None}


def test_seeds_matter_only_if_the_test_clips_depend_on_them(make):
    two, one = [predict(0.5), predict(0.5, 1)], predict(0.5)
    folded = load_runs([make("a", two), make("b", one)])
    assert len(group(folded)) == 1
    drawn = load_runs([make("c", two, protocol="random"), make("d", one, protocol="random")])
    with pytest.raises(ComparisonError, match="different seeds of the splits"):
        rank(drawn)
    texts = [table.caption for table in make_tables(group(drawn))]
    assert sum("over the splits of all seeds" in text for text in texts) == 1


def test_a_group_is_ranked_by_uar_in_any_order_of_folders(make):
    folders = [make("poor", predict(0.1)), make("good", predict(0.9)), make("fair", predict(0.5))]
    for order in (folders, folders[::-1]):
        (runs,) = group(load_runs(order)).values()
        assert [run.shown for run in runs] == ["good", "fair", "poor"]


def test_equal_names_get_their_folders(make):
    folders = [make("a", predict(0.5, 0), folder=folder) for folder in ("a", "b", "x/c", "y/c")]
    (runs,) = group(load_runs(folders)).values()
    assert {run.shown for run in runs} == {"a", "a (b)", f"a ({folders[2]})", f"a ({folders[3]})"}


def test_classes_in_another_order_are_the_same_classes(make):
    predictions = predict(0.6)
    order = [2, 0, 1]
    turned = {**predictions.clips, "label": [order.index(label) for label in predictions.clips["label"]]}
    other = Predictions(turned, predictions.probabilities[:, order], tuple(LABELS[index] for index in order))
    runs = load_runs([make("a", predictions), make("b", other)])
    a, b = rank(runs)
    assert paired(a, b)["uar"]["difference"] == 0.0
    assert report_module._confusion(a) == report_module._confusion(b) == confusion_of(predictions)


def confusion_of(predictions):
    table = np.zeros((3, 3), dtype=int)
    np.add.at(table, (predictions.label_ids, predictions.predicted), 1)
    return table.tolist()


# --- tables -------------------------------------------------------------------------------------------------------


def test_the_numbers_are_those_of_results_json(make):
    folder = make("model_a", predict(0.6), protocol="emobox")
    results = results_of(folder)
    scored = results["splits"]["test"]
    (table,) = tables_of(folder)
    (row,) = cells_of(table)
    expected = []
    for score in ("accuracy", "f1_weighted", "f1_macro", "uar"):
        low, high = scored["intervals"][0][score]
        expected.append(f"{scored['scores'][score]:.3f} [{low:.3f}, {high:.3f}]")
    assert row == ["model_a", *expected, f"{scored['scores']['ece']:.3f}", "429,640"]
    assert table.title == "Scores: emobox on ravdess (all)"
    assert table.caption.startswith("120 clips of 10 speakers, 3 classes, seed 0. ")
    assert table.caption.endswith("the largest class gives 0.333 accuracy.")
    assert "clustered on speakers (2000 replicates)" in table.explanations[0]


def test_unknown_speakers_are_compared_over_clips(make):
    def unknown(skill, seed=0):
        predictions = predict(skill, seed)
        return replace(predictions, clips=predictions.clips | {"speaker": [""] * 120})

    folders = [make("model_a", unknown(0.9)), make("model_b", unknown(0.1, 1))]
    scores, tests = tables_of(*folders)
    assert scores.caption.startswith("120 clips, speakers unknown, 3 classes")
    assert "from a bootstrap over clips (speakers unknown) (2000 replicates)" in scores.explanations[0]
    assert "a paired bootstrap over clips (speakers unknown). p is" in tests.explanations[0]
    low, high = results_of(folders[0])["splits"]["test"]["intervals"][0]["uar"]
    assert f"[{low:.3f}, {high:.3f}]" in cells_of(scores)[0][4]


def test_several_seeds_show_mean_and_standard_deviation(make):
    folder = make("several", [predict(0.5, seed) for seed in range(3)])
    scored = results_of(folder)["splits"]["test"]
    (table,) = tables_of(folder)
    low, high = scored["intervals"][0]["uar"]
    value, spread = scored["scores"]["uar"], scored["std"]["uar"]
    assert str(table.rows[0][4]) == f"{value:.3f} ± {spread:.3f} [{low:.3f}, {high:.3f}]"
    assert "seeds 0, 1, 2." in table.caption and "mean over seeds" in " ".join(table.explanations)
    both, _ = tables_of(folder, make("one", predict(0.5)))
    assert both.header[-1] == "seeds" and {row[-1] for row in both.rows} == {"0, 1, 2", "0"}


def test_scores_of_every_corpus_are_in_a_separate_table(make):
    def merged(seed):
        predictions = predict(0.6, seed)
        corpora = ["crema_d" if row < 50 else "tess" for row in range(120)]
        names = predictions.clips["speaker"]
        speakers = [f"tess_{row // 3 % 2}" if row >= 50 else name for row, name in enumerate(names)]
        clips = {**predictions.clips, "corpus": corpora, "speaker": speakers}
        return Predictions(clips, predictions.probabilities, predictions.labels)

    folders = [make(name, merged(seed)) for seed, name in enumerate(["a", "b"])]
    (table,) = (table for table in tables_of(*folders) if table.title.startswith("Scores per corpus"))
    assert table.header == ["model", "crema_d: accuracy", "crema_d: UAR", "tess: accuracy", "tess: UAR"]
    assert "crema_d 50 clips of 10 speakers, tess 70 clips of 2 speakers" in table.caption
    for row in cells_of(table):
        groups = results_of(folders["ab".index(row[0])])["splits"]["test"]["groups"]["corpus"]["groups"]
        for corpus, accuracy, uar in (("crema_d", *row[1:3]), ("tess", *row[3:5])):
            low, high = groups[corpus]["interval"]
            assert accuracy == f"{groups[corpus]['scores']['accuracy']:.3f}"
            assert uar == f"{groups[corpus]['scores']['uar']:.3f} [{low:.3f}, {high:.3f}]"
    assert not any("per corpus" in table.title for table in tables_of(make("one", predict(0.5))))


def test_notes_left_out_clips_preprocessing_and_synthetic_recordings_are_named(make):
    folders = [
        make("a", predict(0.5), protocol="random", left_out={"calm": 7}, dataset={"synthetic": ["ravdess"]}),
        make("b", predict(0.5), protocol="random", dataset={"synthetic": ["ravdess"]}, preprocessing={"trim_db": 30}),
    ]
    folders.append(make("c", predict(0.4, 1), protocol="random", dataset={"synthetic": ["ravdess"]}))
    scores, differences = tables_of(*folders)
    text = "\n".join(sentences_of(scores))
    assert f"Protocol random: {LEAK}." in text and text.count(LEAK) == 1
    mark = {row[0][0]: row[0][1:] for row in cells_of(scores)}
    left_out, trimmed = (mark[name].removeprefix(" (synthetic, ").removesuffix(")") for name in "ab")
    assert {left_out, trimmed} == {"a", "b"} and mark["c"] == " (synthetic)"
    assert f"({left_out}) Clips of classes that the model does not have are left out: 7 calm." in text
    assert f"({trimmed}) Preprocessing: trim_db 30 (unmarked runs: none)." in text
    assert "say nothing about real speech" in text
    assert all(row[0].endswith("(synthetic)") for row in cells_of(differences))


def test_markdown_says_everything_once(make):
    noted = {"protocol": "random", "left_out": {"calm": 7}}
    folders = [make(f"a{seed}", predict(0.5, seed), **(noted if seed else {"protocol": "random"})) for seed in (0, 1)]
    folders += [
        make(f"b{seed}", predict(0.5, seed), dataset={"name": "tess"}, **(noted if seed else {"protocol": "random"}))
        for seed in (0, 1)
    ]
    tables = tables_of(*folders)
    text = render_markdown(tables)
    assert [text.count(says) for says in ("7 calm", LEAK, "paired bootstrap", "(a): see the notes above")] == [1] * 4
    assert "| a1 (a) " in text and "| b1 (a) " in text
    assert text.index("7 calm") < text.index("Differences:") < text.index("How to read the tables")
    assert all(len(re.findall(r"\.(?: |$)", table.caption)) <= 2 for table in tables)
    assert render_latex(tables).count("7 calm") == 2  # each float is read alone


def test_folds_that_are_not_pooled_are_compared_by_their_mean(make):
    scores = [results_of(make(f"fold {fold}", predict(0.3 * fold)))["splits"]["test"]["scores"] for fold in (1, 2)]
    over = {
        name: {
            key: None if scores[0][key] is None else float(function([row[key] for row in scores])) for key in scores[0]
        }
        for name, function in (("mean", np.mean), ("std", np.std))
    }
    runs = [part(0, row, fold, left_out={"calm": 2}) for fold, row in enumerate(scores, 1)]
    folders = [
        make(name, predict(0.5), protocol="leave_one_corpus_out", runs=runs, over_folds=over, kind="cross_validation")
        for name in ("a", "b")
    ]
    for folder in folders:
        results = results_of(folder) | {"splits": {}}
        write_results(folder, results)
    groups = group(load_runs(folders))
    assert len(groups) == 1
    (table,) = make_tables(groups)  # nothing to test against each other
    assert str(table.rows[0][4]) == f"{over['mean']['uar']:.3f} ± {over['std']['uar']:.3f}"
    assert "240 test clips over all folds" in table.caption and "4 calm" in " ".join(sentences_of(table))
    (line, _) = csv.DictReader(io.StringIO(render_csv(groups)))
    assert line["clips"] == "" and float(line["uar"]) == over["mean"]["uar"]


# --- paired tests -------------------------------------------------------------------------------------------------


def test_a_better_model_is_significantly_better_and_an_equal_one_is_not(make):
    table = tables_of(make("best", predict(0.9)), make("same", predict(0.9)), make("poor", predict(0.1, 1)))[1]
    assert table.title.startswith("Differences") and "that of best, the best run. * marks" in table.caption
    same, poor = table.rows
    assert (same[0], same[1], same[3]) == ("same", "0.000", "1.000")
    assert (poor[0], poor[3], poor[4]) == ("poor", "0.002", "0.004*") and poor[1].startswith("−0.")
    assert all(row[4].rstrip("*") >= row[3] for row in table.rows)


def test_equivalence_is_tested_on_demand(make, tmp_path):
    folders = make("best", predict(0.9)), make("same", predict(0.9)), make("poor", predict(0.1, 1))
    table = make_tables(group(load_runs(folders)), margin=0.02)[1]
    assert table.header[-1] == "within 0.02" and [row[-1] for row in table.rows] == ["yes", "no"]
    assert "two one-sided tests" in " ".join(table.explanations)
    with pytest.raises(ConfigError, match="--equivalence is 2"):
        CompareArguments([str(tmp_path)], equivalence=2)


def test_seeds_are_compared_seed_by_seed(make):
    good, poor = ([predict(skill, seed) for seed in range(2)] for skill in (0.9, 0.2))
    a, b, c = load_runs([make("good", good), make("poor", poor[::-1], folder="poor"), make("one", good[0])])
    difference = paired(a, b)["uar"]
    assert difference["significant"] and difference["interval"][0] > 0.2
    expected = results_of(a.folder)["splits"]["test"]["scores"]["uar"]
    expected -= results_of(b.folder)["splits"]["test"]["scores"]["uar"]
    assert difference["difference"] == pytest.approx(expected)
    assert paired(a, c)["uar"]["difference"] == 0.0  # seed 0 of both
    c.results["seeds"] = [7]
    with pytest.raises(ComparisonError, match=r"seeds are \[0, 1\], those of one are \[7\]"):
        paired(a, c)
    b.results["seeds"] = [1, 0]  # files follow the seeds
    assert paired(a, b)["uar"]["difference"] == pytest.approx(expected)


def test_clips_are_joined_on_their_ids(make):
    predictions = predict(0.5)
    turned = predictions.select(np.random.default_rng(0).permutation(len(predictions.label_ids)))
    a, b = load_runs([make("a", predictions), make("b", turned)])
    assert a.key == b.key
    found = paired(a, b)["uar"]
    assert not found["significant"] and found["p_value"] == found["permutation_p"] == 1.0
    assert found["difference"] == found["standard_error"] == 0.0 and found["interval"] == [0.0, 0.0]


def test_missing_or_mismatched_predictions_are_named_and_skipped(make):
    folders = [make(name, predict(skill)) for name, skill in (("a", 0.9), ("b", 0.6), ("c", 0.5), ("d", 0.3))]
    (folders[1] / "predictions.parquet").unlink()
    write_predictions(folders[2] / "predictions.parquet", predict(0.5, 9))
    write_predictions(folders[3] / "predictions.parquet", predict(0.3, labels=("neutral", "happy", "angry")))
    scores, differences = tables_of(*folders)
    assert len(scores.rows) == 4 and differences.rows == []
    text = " ".join(sentences_of(differences))
    for says in (
        "b is not tested: its predictions.parquet is missing.",
        "c is not tested: its predictions do not match its results.json.",
        "d is not tested: the classes in its predictions.parquet differ from those in its results.json.",
    ):
        assert says in text
    assert "| model" not in render_markdown([differences]) and "% Differences" in render_latex([differences])


# --- gaps between protocols ---------------------------------------------------------------------------------------


def test_one_model_under_two_protocols(make):
    random_, emobox = (
        make("small_random", predict(0.8, clips=90), protocol="random"),
        make("small_emobox", predict(0.4)),
    )
    other = make("other_emobox", predict(0.5), parameters=7)
    *_, table = tables_of(random_, emobox, other)
    assert table.title == "Gaps between protocols: ravdess (all)" and "not a ranking" in table.explanations[0]
    assert table.header == ["model", "UAR, emobox", "UAR, random", "random − emobox"]
    high, low = (results_of(folder)["splits"]["test"]["scores"]["uar"] for folder in (random_, emobox))
    assert cells_of(table) == [["small", f"{low:.3f}", f"{high:.3f}", f"+{high - low:.3f}"]]


def test_two_runs_of_a_model_in_one_group_have_no_single_gap(make):
    folders = [make(f"small{number}", predict(0.5), protocol="emobox") for number in (1, 2)]
    names = {f"small{number}": "small" for number in (1, 2)}
    runs = load_runs([*folders, make("small", predict(0.8), protocol="random")], names)
    *_, table = make_tables(group(runs))
    assert " / " in table.rows[0][1] and table.rows[0][3] == "-"


def test_other_models_or_classes_have_no_gap(make):
    folders = [
        make("a_random", predict(0.5), protocol="random"),
        make("a_emobox", predict(0.5), parameters=1),
        make("b_emobox", predict(0.5)),
        make("a_all", predict(0.5, labels=("neutral", "happy", "sad", "angry")), protocol="all"),
    ]
    assert not any("Gaps" in table.title for table in tables_of(*folders))


# --- formats ------------------------------------------------------------------------------------------------------

AWKWARD = r"[50] % of A&B_c #1 {x} ~ \y $z^2 | *bold* <b>"


def test_latex_is_escaped(make):
    folders = [make("a", [predict(0.8), predict(0.9, 1)]), make("b", [predict(0.1), predict(0.2, 1)])]
    text = render_latex(tables_of(*folders, names={"a": AWKWARD}))
    escaped = r"50] \% of A\&B\_c \#1 \{x\} \textasciitilde{} \textbackslash{}y \$z\^{}2 | *bold* \ensuremath{<}b"
    assert text.count(escaped) >= 2  # in a row and in a caption
    assert f"\n{{[}}{escaped}" in text  # a bracket there would be an argument of \midrule
    assert r"$\pm$" in text and not re.search("[±−≤]", text)
    for name in ("table", "tabular", "adjustbox", "minipage"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") == 2
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_latex_aligns_decimals_and_prints_the_best_scores_in_bold(make):
    folders = [make(name, [predict(skill), predict(skill, 1)]) for name, skill in (("a", 0.8), ("b", 0.8), ("c", 0.1))]
    text = render_latex(tables_of(*folders, names={"a": "AudioCNN (ours)"}))
    scores, differences = text.split("\\begin{table}")[1:]
    assert r"\caption[{Scores: emobox on ravdess (all)}]{Scores: emobox on ravdess (all). 120 clips of" in scores
    assert r"\label{tab:scores-emobox-on-ravdess-all}" in scores
    score = "S[table-format=1.3(3), separate-uncertainty]"
    with_interval = score + r"@{\ }l"
    assert rf"\begin{{tabular}}{{l{with_interval * 4}{score}r}}" in scores
    rows = dict(line.removesuffix(r" \\").split(" & ", 1) for line in scores.splitlines() if " & " in line)
    found, worst = (results_of(folder)["splits"]["test"] for folder in (folders[0], folders[2]))
    value, std, (low, high) = found["scores"]["uar"], found["std"]["uar"], found["intervals"][0]["uar"]
    cell = f"{value:.3f}({round(std * 1000)}) & {{\\footnotesize [{low:.3f}, {high:.3f}]}}"
    assert rf"\bfseries {cell}" in rows["AudioCNN (ours)"] and rf"\bfseries {cell}" in rows["b"]  # a tie
    assert rows["c"].count(r"\bfseries") == (found["scores"]["ece"] > worst["scores"]["ece"])
    assert {line.count("&") + line.count(r"\multicolumn{2}") for line in rows.values()} == {9}
    assert r"\bfseries" not in differences and r"0.004\rlap{*}" in differences
    assert r"\begin{tabular}{lrlrrr}" in differences


def test_latex_compares_within_a_column_and_numbers_equal_labels():
    table = Table(
        "Gaps",
        "One.",
        ["model", "UAR, a", "UAR, b", "ECE"],
        [
            ["x", Score(0.5), Score(0.9), Score(0.2)],
            ["y", Score(0.6), "-", Score(0.1)],
            ["z", Score(None), "0.1 / 0.2", "-"],
        ],
    )
    text = render_latex([table, table])
    assert r"x & 0.500 & 0.900 & 0.200 \\" in text  # one score is not the best of several
    assert r"y & \bfseries 0.600 & {-} & \bfseries 0.100 \\" in text and r"z & {-} & {0.1 / 0.2} & {-} \\" in text
    assert re.findall(r"\\label\{(.+?)\}", text) == ["tab:gaps", "tab:gaps-2"]


def test_markdown_is_escaped(make):
    text = render_markdown(tables_of(make("a", predict(0.5)), names={"a": AWKWARD}))
    *_, row = (line for line in text.splitlines() if line.startswith("|"))
    assert r"\| \*bold\* \<b>" in row and len(re.findall(r"(?<!\\)\|", row)) == 8


def test_csv_holds_plain_numbers(make):
    folders = [make("a, b", [predict(0.5), predict(0.6, 1)]), make("c", predict(0.1), left_out={"calm": 3})]
    lines = list(csv.DictReader(io.StringIO(render_csv(group(load_runs(folders))))))
    assert [(line["model"], line["group"], line["rank"]) for line in lines] == [("a, b", "1", "1"), ("c", "1", "2")]
    for line, folder in zip(lines, folders, strict=True):
        scored = results_of(folder)["splits"]["test"]
        for score in ("accuracy", "f1_weighted", "f1_macro", "uar"):
            assert float(line[score]) == scored["scores"][score]
            assert [float(line[f"{score}_{end}"]) for end in ("low", "high")] == scored["intervals"][0][score]
        assert line["hash"] == scored["clips_hash"] and line["protocol"] == "emobox" and line["clips"] == "120"
    assert float(lines[0]["uar_std"]) == results_of(folders[0])["splits"]["test"]["std"]["uar"]
    assert (lines[1]["uar_std"], lines[0]["seeds"], lines[1]["left_out"]) == ("", "0 1", "3")


# --- files --------------------------------------------------------------------------------------------------------

HISTORY = [
    {"epoch": 1.0, "loss": 1.0},
    {"epoch": 1.0, "eval_loss": 0.9, "eval_accuracy": 0.5, "eval_f1_weighted": 0.5, "eval_uar": 0.5},
]


def test_tables_and_figures_are_written_and_replaced_on_demand(make, tmp_path, monkeypatch):
    monkeypatch.setattr(report_module, "_SIDE_BY_SIDE", 2)
    folders = [
        make(f"a{number}", predict(0.2 * number), history=HISTORY if number == 1 else None) for number in range(3)
    ]
    folders.append(make("a2_random", predict(0.5), protocol="random"))
    output = tmp_path / "comparison"
    arguments = {"runs": [str(folder) for folder in folders], "output_dir": str(output)}
    text, written = compare_runs(CompareArguments(**arguments))
    names = ["scores_emobox", "macro_roc_emobox", "confusions_emobox_part_1", "confusions_emobox_part_2"]
    names += ["scores_random", "macro_roc_random", "confusions_random", "protocols", "curves"]
    assert {path.stem for path in (output / "figures").iterdir()} == set(names)
    assert all(image.imread(output / "figures" / f"{name}.png").std() > 0 for name in names)
    report = (output / "comparison.md").read_text()
    assert text in report and re.findall(r"\]\(figures/(.+?)\.png\)", report) == names
    assert written == [output / name for name in ("comparison.csv", "comparison.tex", "comparison.md", "figures")]
    with pytest.raises(ConfigError, match="contains a comparison; pass --overwrite"):
        CompareArguments(**arguments)
    (output / "figures" / "mine.png").write_bytes(b"")
    compare_runs(CompareArguments(arguments["runs"][-1:], str(output), overwrite=True))
    left = {path.stem for path in (output / "figures").iterdir()}
    assert left == {"scores_random", "macro_roc_random", "confusions_random", "mine"}


def test_invalid_arguments_are_rejected(make, tmp_path):
    folder = str(make("a", predict(0.5)))
    for words, says in (
        ({"runs": []}, "runs is empty"),
        ({"names": ["b"]}, "--names: got 'b'; expected RUN=NAME"),
        ({"names": ["a="]}, "--names: got 'a='; expected RUN=NAME"),
        ({"names": ["a=x", "a=y"]}, "--names: a has two names"),
        ({"readme": str(tmp_path / "none.md")}, "--readme .*none.md: no such file"),
        ({"output_dir": folder}, "--output_dir .* contains a run"),
    ):
        with pytest.raises(ConfigError, match=says):
            CompareArguments(**{"runs": [folder]} | words)


def test_the_readme_takes_the_tables_between_its_markers(make, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_bytes(f"# Title\r\nuses `{BEGIN}`\n{BEGIN}\nold\n{END}\n\nrest ü\n".encode())
    args = CompareArguments([str(make("a", predict(0.5)))], readme=str(readme))
    text, written = compare_runs(args)
    assert written == [readme]
    once = readme.read_bytes()
    assert once.decode() == f"# Title\r\nuses `{BEGIN}`\n{BEGIN}\n\n{text}\n{END}\n\nrest ü\n"
    compare_runs(args)
    assert readme.read_bytes() == once
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md", "a"]


@pytest.mark.parametrize(
    "text", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{BEGIN}\n{END}\n", f"{BEGIN} {END}"]
)
def test_a_readme_without_its_markers_is_left_alone(make, tmp_path, text):
    readme, output = tmp_path / "README.md", tmp_path / "output"
    readme.write_text(text)
    args = CompareArguments([str(make("a", predict(0.5)))], readme=str(readme), output_dir=str(output))
    with pytest.raises(ComparisonError, match="expected each once, on a separate line"):
        compare_runs(args)
    assert readme.read_text() == text and not output.exists()
    with pytest.raises(ComparisonError):
        with_results(readme, "tables")
