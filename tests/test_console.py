"""What recipes print while they run: log levels, and bars in terminals only."""

import io
import logging
import sys
import warnings
from dataclasses import dataclass

import pytest
import transformers

from hf_ser.arguments import ConfigError, parse
from hf_ser.console import progress_bar
from hf_ser.training import SerTrainingArguments


@dataclass
class Output:
    output_dir: str = "runs"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def fresh(monkeypatch):
    """Make this a process without logging; the libraries' levels are put back at the end."""
    levels = logging.root.level, transformers.utils.logging.get_verbosity()
    yield lambda: monkeypatch.setattr(logging.root, "handlers", [])  # in the test's body: pytest adds its own before
    logging.root.setLevel(levels[0])
    transformers.utils.logging.set_verbosity(levels[1])


def _said(capsys):
    for name in ("hf_ser.anything", "transformers.anything", "urllib3"):
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            logging.getLogger(name).log(level, "%s %s", name.partition(".")[0], logging.getLevelName(level))
    return [line.removeprefix("[transformers] ") for line in capsys.readouterr().err.splitlines()]


EVERY = [
    f"{name} {level}"
    for name in ("hf_ser", "transformers", "urllib3")
    for level in ("DEBUG", "INFO", "WARNING", "ERROR")
]


def _without(*words):
    return [line for line in EVERY if not any(word in line for word in words)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], _without("DEBUG", "transformers INFO", "urllib3 INFO")),
        (["--log_level", "debug"], EVERY),
        (["--log_level", "info"], _without("DEBUG")),
        (["--log_level", "warning"], _without("DEBUG", "INFO")),
        (["--log_level", "error"], _without("DEBUG", "INFO", "WARNING")),
    ],
)
@pytest.mark.parametrize("cls", [Output, SerTrainingArguments])
def test_log_level(fresh, capsys, monkeypatch, cls, words, expected):
    handler = logging.StreamHandler(sys.stderr)  # transformers' own was made before, for another stderr
    monkeypatch.setattr(logging.getLogger("transformers"), "handlers", [handler])
    given = ["--output_dir", "x", *(["--use_cpu", "true"] if cls is SerTrainingArguments else [])]
    fresh()
    parse(cls, argv=[*given, *words])
    assert _said(capsys) == expected


def test_log_level_stands_in_a_yaml_file_too_and_is_checked(fresh, tmp_path, capsys):
    (tmp_path / "config.yaml").write_text("output_dir: there\nlog_level: error\n")
    fresh()
    assert parse(Output, argv=["--config", str(tmp_path / "config.yaml")]) == (Output("there"),)
    assert "hf_ser WARNING" not in _said(capsys)
    with pytest.raises(ConfigError, match="log_level.*'loud'.*'debug', 'info'"):
        parse(Output, argv=["--log_level", "loud"])


def test_logging_that_was_set_up_before_stays(capsys):
    before = list(logging.root.handlers), logging.root.level
    parse(Output, argv=[])
    assert (logging.root.handlers, logging.root.level) == before


def test_a_warning_is_one_line(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    parse(Output, argv=[])
    assert warnings.formatwarning("speakers leak", UserWarning, "splits.py", 3) == "warning: speakers leak\n"


def test_the_libraries_bars_are_off_except_downloads():
    import datasets
    import huggingface_hub.utils as hub

    hub.enable_progress_bars()  # which another test may have turned off
    parse(Output, argv=[])
    assert not transformers.utils.logging.is_progress_bar_enabled()
    assert datasets.are_progress_bars_disabled() and not hub.are_progress_bars_disabled()


def test_a_bar_in_a_terminal_and_one_line_in_a_log(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    for stream, logged in ((Terminal(), []), (io.StringIO(), ["Checking clips: 1,200 clips"])):
        monkeypatch.setattr(sys, "stderr", stream)
        caplog.clear()
        assert list(progress_bar(range(1200), desc="Checking clips", unit="clips")) == list(range(1200))
        assert caplog.messages == logged
        assert ("Checking clips: 100%" in stream.getvalue()) == isinstance(stream, Terminal)
    monkeypatch.setattr(sys, "stderr", Terminal())
    caplog.clear()
    progress_bar(range(3), desc="Checking clips", unit="clips", show=False)
    assert sys.stderr.getvalue() == "" and caplog.messages == []
