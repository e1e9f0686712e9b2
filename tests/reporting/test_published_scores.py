import re

import pytest

from hf_ser.arguments import ConfigError
from hf_ser.reporting.comparison_tables import Table, _add_published, _protocols
from hf_ser.reporting.published_scores import Published, published_for, read_published


class Run:
    def __init__(self, name, *corpora):
        self.results = {"name": name, "protocol": {"name": "random"}}
        self.scored = {"groups": {"corpus": {"groups": dict.fromkeys(corpora)}}}


REPORTED = {
    "a": Published(0.5602, "tess", "random, test", ("a", "a_plus")),
    "b": Published(0.1, "tess", "folds", ("b_random",)),
    "c": Published(0.2, "tess", "random, test", ()),
}


def test_a_run_belongs_to_the_system_that_lists_it():
    assert published_for({"a_plus", "a_plus_random"}, ["tess"], REPORTED) == "a"
    assert published_for({"b", "b_random"}, ["tess"], REPORTED) == "b"
    for names in ({"a_plus_pool"}, {"b", "b_emobox"}, {"c"}):  # a common prefix is not enough
        assert published_for(names, ["tess"], REPORTED) is None


@pytest.mark.parametrize("corpora", [[], ["ravdess"], ["ravdess", "tess"]])
def test_a_figure_is_shown_for_runs_on_its_corpus_only(corpora):
    assert published_for({"a"}, corpora, REPORTED) is None


def test_the_column_is_next_to_accuracy_and_the_protocols_are_named():
    table = Table("Scores", "", ["model", "accuracy", "UAR"], [["a", "0.6", "0.5"], ["x", "0.4", "0.3"]])
    assert _add_published(table, [Run("a_random", "tess"), Run("x", "tess")], REPORTED) == {"a"}
    assert table.header == ["model", "accuracy", "published accuracy", "UAR"]
    assert table.rows == [["a", "0.6", "0.560", "0.5"], ["x", "0.4", "-", "0.3"]]
    assert _protocols(REPORTED) == "random, test (a, c); folds (b)"


def test_there_is_no_empty_column():
    table = Table("Scores", "", ["model", "accuracy"], [["x", "0.4"]])
    assert _add_published(table, [Run("x", "tess")], REPORTED) == set()
    assert table.header == ["model", "accuracy"] and table.rows == [["x", "0.4"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "got list"),
        ("a: 0.5", "a is 0.5"),
        ("a: {accuracy: 0.5, protocol: x}", "a is {"),
        ("a: {accuracy: 0.5, corpus: tess, protocol: x, runs: a}", "a is {"),
        ("a: {accuracy: 56.02, corpus: tess, protocol: x, runs: [a]}", "accuracy of a is 56.02"),
        ("a: {accuracy: high, corpus: tess, protocol: x, runs: [a]}", "accuracy of a is 'high'"),
        (
            "a: &a {accuracy: 0.5, corpus: tess, protocol: x, runs: [y, x]}\nb: *a",
            "x is in the runs of a and b",
        ),
        ("a: {accuracy: [", "is not valid YAML"),
    ],
)
def test_invalid_files_are_rejected(tmp_path, text, message):
    path = tmp_path / "published.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_published(path)


def test_a_file_is_read(tmp_path):
    path = tmp_path / "published.yaml"
    path.write_text("a: {accuracy: 0.56, corpus: tess, protocol: their test clips, runs: [a, a_plus]}\n")
    assert read_published(path) == {"a": Published(0.56, "tess", "their test clips", ("a", "a_plus"))}
