"""What a folder, a list and standard input hold, and what is skipped."""

import io
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_ser.batch import BatchError
from hf_ser.batch.escaped_names import escaped_name, one_line
from hf_ser.batch.recordings_listing import MEDIA_SUFFIXES, is_stream, list_folder, list_recordings, read_list

AS_NAMED = (
    ".m4a .webm .mp4 .aac .wma .amr .wave .aifc .mkv .mka .3gp .rf64 .snd .sph .nist .voc .8svx .iff .m4b .opus .oga "
    ".ac3 .weba .mov .avi .aif .aiff .au .caf .flac .mp3 .ogg .w64 .wav"
).split()


def make(folder, *names):
    for name in names:
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass


def test_every_media_suffix_is_picked_up_in_any_case(tmp_path):
    names = [f"a{suffix}" for suffix in AS_NAMED] + ["B.WAV", "c.Mp3"]
    make(tmp_path, *names)
    listing = list_folder(str(tmp_path))
    assert set(AS_NAMED) <= MEDIA_SUFFIXES
    assert listing.recordings == sorted(str(tmp_path / name) for name in names)
    assert listing.lines() == [f"{tmp_path}: {len(names)} recordings"]


def test_what_is_passed_over_is_counted(tmp_path):
    make(tmp_path, "a.wav", "deep/er/b.flac", "._a.wav", "deep/._b.flac", "__MACOSX/deep/._a.wav")
    make(
        tmp_path, *(f"{number}.txt" for number in range(10)), "a.csv", "b.CSV", "README", ".git/c.wav", ".cache/d.wav"
    )
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    with socket.socket(socket.AF_UNIX) as opened:
        here = os.getcwd()
        os.chdir(tmp_path)  # a socket's path may be short only
        try:
            opened.bind("socket.wav")
        finally:
            os.chdir(here)
        listing = list_folder(str(tmp_path))
    assert listing.lines() == [
        f"{tmp_path}: 2 recordings; skipped 3 macOS resource forks, 13 other files (.txt 10, .csv 2, without "
        "suffix 1), 2 hidden folders, 1 broken link, 2 special files"
    ]


def test_rare_suffixes_are_counted_together(tmp_path):
    make(tmp_path, "a.wav", *(f"x.{letter}" for letter in "abcdefgh"))
    assert "8 other files (.a 1, .b 1, .c 1, .d 1, .e 1, others 3)" in list_folder(str(tmp_path)).passed_over()


def test_circles_of_links_end_and_linked_folders_are_listed_once(tmp_path):
    make(tmp_path, "z/a.wav", "z/deep/b.wav")
    make(tmp_path / "outside", "c.wav")
    folder = tmp_path / "listed"
    folder.mkdir()
    os.rename(tmp_path / "z", folder / "z")
    for name, target in [("up", folder), ("a", folder / "z"), ("z/deep/back", folder / "z"), ("new", "../outside")]:
        (folder / name).symlink_to(target)
    (folder / "self.wav").symlink_to("self.wav")
    (folder / "linked.wav").symlink_to(folder / "z/a.wav")
    listing = list_folder(str(folder))
    names = [os.path.relpath(path, folder) for path in listing.recordings]
    assert names == ["linked.wav", "new/c.wav", "z/a.wav", "z/deep/b.wav"]
    assert listing.passed_over() == "3 links to listed folders, 1 broken link"


def test_folders_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    make(tmp_path, "a.wav", "secret/b.wav")
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may read everything
    assert list_folder(str(tmp_path)).lines() == [
        f"{tmp_path}: 1 recording; skipped 1 unreadable folder",
        f"  cannot read {tmp_path}/secret: Permission denied",
    ]
    with pytest.raises(BatchError, match="without recordings \\(1 unreadable folder; .*secret: Permission denied\\)"):
        list_recordings([str(tmp_path / "secret")])


def test_a_hidden_folder_that_is_named_is_listed(tmp_path):
    make(tmp_path, ".hidden/a.wav")
    assert list_recordings([str(tmp_path / ".hidden")])[0] == [str(tmp_path / ".hidden/a.wav")]


def test_names_of_any_bytes_are_listed(tmp_path):
    name = os.path.join(os.fsencode(tmp_path), b"caf\xe9.wav")
    make(os.fsencode(tmp_path).decode(), os.fsdecode(name))
    (found,) = list_folder(str(tmp_path)).recordings
    assert os.fsencode(found) == name and escaped_name(found) == f"{tmp_path}/caf\\xe9.wav"


def test_addresses_pipes_and_missing_files_stay_as_they_are(tmp_path):
    places = ["-", "/dev/stdin", "/dev/fd/63", "file:///a.wav", "HTTP://host/a.wav", "missing.wav", "a\0b.wav"]
    assert list_recordings(places) == (places, [])
    os.mkfifo(tmp_path / "pipe")
    assert [place for place in [*places, str(tmp_path / "pipe")] if is_stream(place)] == [
        *places[:3],
        str(tmp_path / "pipe"),
    ]
    with pytest.raises(BatchError, match="- is named twice"):
        list_recordings(["-", "-"])


@pytest.mark.parametrize(
    "content",
    [
        b"a.wav\nb c.wav\n\n",
        b"a.wav\r\nb c.wav\r\n",
        b"a.wav\0b c.wav\0",
        b"\xef\xbb\xbfa.wav\nb c.wav",
        "a.wav\nb c.wav\n".encode("utf-16"),
    ],
)
def test_lists_of_every_kind_are_read(tmp_path, content):
    (tmp_path / "list.txt").write_bytes(content)
    assert read_list(str(tmp_path / "list.txt"), None) == ["a.wav", "b c.wav"]
    assert read_list("-", io.BytesIO(content)) == ["a.wav", "b c.wav"]


def test_lists_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(BatchError, match="--recordings_from -: got an empty list"):
        read_list("-", io.BytesIO(b"\n \n"))
    with pytest.raises(BatchError, match="No such file"):
        read_list(str(tmp_path / "none.txt"), None)
    assert os.fsencode(read_list("-", io.BytesIO(b"caf\xe9.wav"))[0]) == b"caf\xe9.wav"


NAMES = st.lists(
    st.sampled_from(["\\", "x", "u", "e", "9", "00", "é", "\udce9", "\n", "\x85", "\ud800", "喂"]), max_size=9
)


@given(NAMES, NAMES)
def test_different_names_stay_different_and_fit_one_line(ours, theirs):
    ours, theirs = "".join(ours), "".join(theirs)
    assert (escaped_name(ours) == escaped_name(theirs)) == (ours == theirs)
    assert len(f"{escaped_name(ours)}.".splitlines()) == 1
    escaped_name(ours).encode()
    assert one_line(escaped_name(ours)) == escaped_name(ours)


def test_ordinary_names_stay_as_they_are():
    for name in ("C:\\users\\Ünal\\a b.wav", "录音/1.wav", "caf\\é.wav"):
        assert escaped_name(name) == name
