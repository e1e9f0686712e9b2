import re

import pytest

from hf_ser.arguments import ConfigError
from hf_ser.evaluation.comparison_tables import Table, _add_published
from hf_ser.evaluation.published import Published, published_for, read_published


class Run:
    def __init__(self, name):
        self.name = name


def test_a_run_belongs_to_the_longest_model_that_its_name_begins_with():
    reported = dict.fromkeys(("cnn", "cnn_lstm", "mel_cnn"))
    assert published_for("cnn_lstm_plus_random", reported) == "cnn_lstm"
    assert published_for("cnn_random", reported) == published_for("cnn", reported) == "cnn"
    assert published_for("cnnx_random", reported) is None and published_for("audio_cnn", reported) is None


def test_the_column_stands_beside_accuracy_and_the_protocols_are_named():
    table = Table(
        "Scores", ["First."], ["model", "accuracy", "UAR"], [["a_random", "0.6", "0.5"], ["b", "0.4", "0.3"]]
    )
    _add_published(table, [Run("a_random"), Run("b")], {"a": Published(0.5602, "its own test"), "c": None})
    assert table.header == ["model", "accuracy", "published accuracy", "UAR"]
    assert table.rows == [["a_random", "0.6", "0.560", "0.5"], ["b", "0.4", "-", "0.3"]]
    assert "(a: its own test)" in table.sentences[-1]


def test_there_is_no_empty_column():
    table = Table("Scores", [], ["model", "accuracy"], [["b", "0.4"]])
    _add_published(table, [Run("b")], {"a": Published(0.5, "x")})
    assert table.header == ["model", "accuracy"] and table.rows == [["b", "0.4"]] and table.sentences == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "got list"),
        ("a: 0.5", "a is 0.5"),
        ("a: {accuracy: 0.5}", "a is {"),
        ("a: {accuracy: 56.02, protocol: x}", "accuracy of a is 56.02"),
        ("a: {accuracy: high, protocol: x}", "accuracy of a is 'high'"),
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
    path.write_text("a: {accuracy: 0.56, protocol: their test clips}\n")
    assert read_published(path) == {"a": Published(0.56, "their test clips")}
