"""Errors of the operating system as one line, and output paths checked before any work."""

import errno
import os

import pytest

from hf_ser.system_errors import SystemTroubleError, check_output, system_trouble


@pytest.mark.parametrize("code", sorted(errno.errorcode))
def test_every_error_number_is_one_line_with_the_path(code):
    line = str(system_trouble(OSError(code, os.strerror(code), "runs/model.safetensors")))
    assert line.startswith("runs/model.safetensors: ") and os.strerror(code) in line and "\n" not in line


def test_names_that_are_not_utf8_can_be_printed():
    error = OSError(errno.EACCES, "denied", os.fsdecode(b"\xff.wav"), None, "target")
    assert str(system_trouble(error)).encode("utf-8").startswith(rb"\xff.wav -> target: ")


def test_errors_of_libraries_that_print_the_number():
    assert "No space left" in str(system_trouble(Exception("I/O error: No space left on device (os error 28)")))
    assert "No space left" in str(system_trouble(RuntimeError("PytorchStreamWriter failed writing file data/0")))


@pytest.mark.parametrize("error", [ValueError("x"), RuntimeError("x"), OSError("no number"), OSError()])
def test_other_errors_are_left_alone(error):
    assert system_trouble(error) is None


def test_a_path_that_can_be_written(tmp_path):
    check_output(tmp_path / "a" / "b")
    check_output(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["file", "file/run", "file/a/b"])
def test_at_and_below_a_file(tmp_path, below):
    (tmp_path / "file").write_text("x")
    with pytest.raises(SystemTroubleError, match="file is a file; expected a folder"):
        check_output(tmp_path / below)


@pytest.mark.parametrize("name", ["x" * 240, "ü" * 120, "a/" + "x" * 300])
def test_names_that_are_too_long(tmp_path, name):
    with pytest.raises(SystemTroubleError, match=r"--output_dir: the name .* bytes; expected at most 231"):
        check_output(tmp_path / name)


def test_a_path_that_is_too_long_as_a_whole(tmp_path):
    with pytest.raises((SystemTroubleError, OSError), match="name too long"):
        check_output(tmp_path.joinpath(*["x" * 200] * 30))


def test_a_read_only_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(SystemTroubleError, match="cannot be written to"):
        check_output(tmp_path / "run")
