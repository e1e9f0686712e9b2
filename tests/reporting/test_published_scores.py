import re

import pytest

from hf_ser.arguments import ConfigError
from hf_ser.reporting.comparison_tables import Table, _add_published
from hf_ser.reporting.published_scores import Published, published_for, read_published


class Run:
    def __init__(self, name, *corpora):
        self.name = name
        self.scored = {"groups": {"corpus": {"groups": dict.fromkeys(corpora)}}}


def test_a_run_belongs_to_the_longest_model_that_its_name_begins_with():
    reported = {name: Published(0.5, "tess", "x") for name in ("cnn", "cnn_lstm", "mel_cnn")}
    found = {name: published_for(name, ["tess"], reported) for name in ("cnn_lstm_plus_random", "cnn_random", "cnn")}
    assert found == {"cnn_lstm_plus_random": "cnn_lstm", "cnn_random": "cnn", "cnn": "cnn"}
    assert published_for("cnnx_random", ["tess"], reported) is published_for("audio_cnn", ["tess"], reported) is None


@pytest.mark.parametrize("corpora", [[], ["ravdess"], ["ravdess", "tess"]])
def test_a_figure_stands_beside_runs_on_its_corpus_only(corpora):
    assert published_for("cnn", corpora, {"cnn": Published(0.5, "tess", "x")}) is None


def test_the_column_stands_beside_accuracy_and_the_protocols_are_named():
    table = Table(
        "Scores", ["First."], ["model", "accuracy", "UAR"], [["a_random", "0.6", "0.5"], ["b", "0.4", "0.3"]]
    )
    runs = [Run("a_random", "tess"), Run("b", "tess")]
    _add_published(table, runs, {"a": Published(0.5602, "tess", "its own test"), "c": Published(0.1, "tess", "x")})
    assert table.header == ["model", "accuracy", "published accuracy", "UAR"]
    assert table.rows == [["a_random", "0.6", "0.560", "0.5"], ["b", "0.4", "-", "0.3"]]
    assert "(a: its own test)" in table.sentences[-1]


def test_there_is_no_empty_column():
    table = Table("Scores", [], ["model", "accuracy"], [["b", "0.4"]])
    _add_published(table, [Run("b", "tess")], {"a": Published(0.5, "tess", "x")})
    assert table.header == ["model", "accuracy"] and table.rows == [["b", "0.4"]] and table.sentences == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "got list"),
        ("a: 0.5", "a is 0.5"),
        ("a: {accuracy: 0.5, protocol: x}", "a is {"),
        ("a: {accuracy: 56.02, corpus: tess, protocol: x}", "accuracy of a is 56.02"),
        ("a: {accuracy: high, corpus: tess, protocol: x}", "accuracy of a is 'high'"),
        ("a: {accuracy: [", "expected models with"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    path = tmp_path / "published.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_published(path)


def test_a_file_is_read(tmp_path):
    path = tmp_path / "published.yaml"
    path.write_text("a: {accuracy: 0.56, corpus: tess, protocol: their test clips}\n")
    assert read_published(path) == {"a": Published(0.56, "tess", "their test clips")}
