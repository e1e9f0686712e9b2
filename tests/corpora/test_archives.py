"""Archives made elsewhere: what is unpacked, what is refused, and that a refusal leaves nothing behind."""

import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile

import pytest

from hf_ser.corpora.download import archives
from hf_ser.corpora.download.archives import ArchiveError, unpack

CONTENT = {"Actor_01/a.wav": b"RIFF" + bytes(range(256)) * 40, "Actor_02/b.wav": b"other", "README.txt": b""}


def make_zip(path, content, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name if isinstance(name, zipfile.ZipInfo) else raw_info(name, compression), data)
    return path


def raw_info(name, compression=zipfile.ZIP_DEFLATED, kind=stat.S_IFREG | 0o644):
    info = zipfile.ZipInfo("placeholder")
    info.filename = name  # past the constructor, which would tidy a hostile name up
    info.compress_type = compression
    info.external_attr = kind << 16
    return info


def make_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def tar_info(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def everything(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def refuse(tmp_path, archive, pattern, **bounds):
    """Unpacking raises, names the archive, and changes nothing anywhere below tmp_path."""
    before = everything(tmp_path)
    with pytest.raises(ArchiveError, match=pattern) as caught:
        unpack(archive, tmp_path / "out", **bounds)
    assert archive.name in str(caught.value)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("kind", ["zip", "stored.zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_unpacks_exact_contents_whatever_the_name(tmp_path, kind):
    archive = tmp_path / "download"  # no suffix: the content tells
    if kind.endswith("zip"):
        make_zip(archive, CONTENT, zipfile.ZIP_STORED if kind == "stored.zip" else zipfile.ZIP_DEFLATED)
    else:
        make_tar(archive, CONTENT, f"w:{kind[4:]}")
    assert unpack(archive, tmp_path / "out") == tmp_path / "out"
    assert tree(tmp_path / "out") == CONTENT
    assert everything(tmp_path)[0] == "download" and not (tmp_path / "out.incomplete").exists()


def test_leaves_out_what_macos_adds(tmp_path):
    extra = {
        "__MACOSX/Actor_01/._a.wav": b"x",
        "Actor_01/.DS_Store": b"x",
        ".DS_Store": b"x",
        "Actor_01/._a.wav": b"x",
    }
    assert tree(unpack(make_zip(tmp_path / "z.zip", {**extra, **CONTENT}), tmp_path / "out")) == CONTENT


def test_explicit_folders_dot_names_and_leftovers(tmp_path):
    members = {tar_info("./", tarfile.DIRTYPE): b"", tar_info("./empty", tarfile.DIRTYPE): b"", "./a/b.wav": b"1"}
    (tmp_path / "out.incomplete").mkdir()
    (tmp_path / "out.incomplete" / "old.wav").write_bytes(b"from an interrupted run")
    (tmp_path / "out").mkdir()  # empty: may be filled
    unpack(make_tar(tmp_path / "t.tar", members), tmp_path / "out")
    assert everything(tmp_path / "out") == ["a", "a/b.wav", "empty"]


def test_an_existing_folder_is_not_touched(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.wav").write_bytes(b"mine")
    with pytest.raises(ArchiveError, match="already exists"):
        unpack(make_zip(tmp_path / "z.zip", CONTENT), tmp_path / "out")
    assert tree(tmp_path / "out") == {"mine.wav": b"mine"}


HOSTILE_NAMES = {
    "../evil.wav": r"'\.\.'",
    "a/../../evil.wav": r"'\.\.'",
    "/tmp/evil.wav": "absolute",
    "C:/evil.wav": "drive letter",
    "a/c:evil.wav": "drive letter",
    "..\\evil.wav": "backslash",
    "a\\b.wav": "backslash",
}


@pytest.mark.parametrize(("name", "pattern"), HOSTILE_NAMES.items())
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_names_that_lead_outside_are_refused_before_anything_is_written(tmp_path, monkeypatch, make, name, pattern):
    archive = make(tmp_path / "bad", {**CONTENT, name: b"evil"})
    monkeypatch.setattr(archives, "_write", lambda *args: pytest.fail("something was written"))
    refuse(tmp_path, archive, pattern)


def test_a_nul_in_a_zip_name_is_refused(tmp_path):
    archive = make_zip(tmp_path / "nul.zip", {"a_wav_X.txt": b"1"})
    archive.write_bytes(archive.read_bytes().replace(b"a_wav_X.txt", b"a.wav\0X.txt"))
    refuse(tmp_path, archive, "NUL")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_zip_links_and_devices_are_refused(tmp_path, kind):
    refuse(tmp_path, make_zip(tmp_path / "z.zip", {raw_info("odd", kind=kind | 0o777): b"/etc"}), "'odd' is a link or")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE], ids=str
)
def test_tar_links_and_devices_are_refused(tmp_path, kind):
    members = {"a.wav": b"1", tar_info("odd", kind, "a.wav"): b""}
    refuse(tmp_path, make_tar(tmp_path / "t.tar", members), "'odd' is a link")


def test_a_link_followed_by_a_file_through_it_writes_nothing(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    members = {tar_info("way", tarfile.SYMTYPE, str(outside)): b"", "way/evil.wav": b"evil"}
    refuse(tmp_path, make_tar(tmp_path / "t.tar", members), "link")
    assert not any(outside.iterdir())


def test_a_name_that_occurs_twice_is_refused(tmp_path):
    refuse(tmp_path, make_tar(tmp_path / "t.tar", {"a.wav": b"1", "./a.wav": b"2"}), "twice")


def test_a_file_inside_a_file_leaves_nothing(tmp_path):
    refuse(tmp_path, make_tar(tmp_path / "t.tar", {"a": b"1", "a/b.wav": b"2"}), "cannot be unpacked")


@pytest.mark.parametrize("make", [make_zip, lambda path, content: make_tar(path, content, "w:gz")])
def test_bombs_are_refused_by_declared_size_and_by_count(tmp_path, monkeypatch, make):
    bomb = make(tmp_path / "bomb", {f"{number}.wav": bytes(1_000_000) for number in range(5)})
    assert bomb.stat().st_size < 60_000
    with monkeypatch.context() as patch:
        patch.setattr(archives, "_write", lambda *args: pytest.fail("something was written"))
        refuse(tmp_path, bomb, "more than 4,999,999 bytes", max_bytes=4_999_999)
        refuse(tmp_path, bomb, "more than 4 members", max_members=4)
    assert len(tree(unpack(bomb, tmp_path / "out", max_bytes=5_000_000, max_members=5))) == 5


@pytest.mark.parametrize("declared", [10, 2_000_000])
def test_a_zip_whose_header_lies_about_the_size_is_refused(tmp_path, declared):
    archive = make_zip(tmp_path / "liar.zip", {"a.wav": bytes(1_000_000)})
    data = archive.read_bytes()
    true_size = struct.pack("<L", 1_000_000)
    assert data.count(true_size) == 2  # in the local header and in the central directory
    archive.write_bytes(data.replace(true_size, struct.pack("<L", declared)))
    refuse(tmp_path, archive, "its header declares|CRC", max_bytes=3_000_000)


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_no_more_is_written_than_a_zip_header_declares(tmp_path, monkeypatch, compression):
    archive = make_zip(tmp_path / "liar.zip", {"a.wav": bytes(5_000_000)}, compression)
    archive.write_bytes(archive.read_bytes().replace(struct.pack("<L", 5_000_000), struct.pack("<L", 10)))
    written = []
    copy = archives.shutil.copyfileobj

    def counting(source, target, length):
        try:
            copy(source, target, length)
        finally:
            written.append(target.tell())

    monkeypatch.setattr(archives.shutil, "copyfileobj", counting)
    refuse(tmp_path, archive, "its header declares|CRC", max_bytes=100)
    assert written[0] <= 10


def test_a_tar_header_that_asks_for_gigabytes_of_memory_is_refused(tmp_path):
    header = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT)[:512])
    header[124:136] = b"77777777777\0"  # 8 GiB of "extended header", which tarfile would read in one piece
    header[156:157] = tarfile.XHDTYPE
    header[148:156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:]))
    path = tmp_path / "t.tar"
    path.write_bytes(bytes(header) + bytes(4096))
    refuse(tmp_path, path, "bytes, which is too many|empty header")  # Python 3.14 reads what there is


def test_an_encrypted_zip_is_refused(tmp_path):
    archive = make_zip(tmp_path / "secret.zip", {"a.wav": b"1"}, zipfile.ZIP_STORED)
    data = bytearray(archive.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(bytes(data))
    refuse(tmp_path, archive, "'a.wav' is encrypted.*its password.*recipes/prepare.py")


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
@pytest.mark.parametrize("keep", [0.02, 0.5, 0.9])
def test_truncated_archives_are_refused(tmp_path, kind, keep):
    content = {f"{number}.wav": os.urandom(3000) for number in range(4)}
    path = tmp_path / f"cut.{kind}"
    if kind == "zip":
        make_zip(path, content)
    else:
        make_tar(path, content, f"w:{kind[4:]}")
    data = path.read_bytes()
    if kind == "tar":
        data = data[: 4 * (512 + 3072)]  # without the padding, so that every cut is a real one
    path.write_bytes(data[: int(len(data) * keep)])
    refuse(tmp_path, path, "cannot be unpacked|not a readable zip or tar|damaged or truncated")


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_compressed_tar_that_lacks_only_its_last_bytes_is_refused(tmp_path, kind):
    path = make_tar(tmp_path / "t.tar", {"a.wav": os.urandom(5000)}, f"w:{kind}")
    path.write_bytes(path.read_bytes()[:-4])
    refuse(tmp_path, path, "cannot be unpacked")


def test_endless_padding_after_a_tar_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_READ_BYTES", 3 * 1024 * 1024)
    path = make_tar(tmp_path / "t.tar", {"a.wav": b"1"})
    path.write_bytes(gzip.compress(path.read_bytes() + bytes(5 * 1024 * 1024)))
    refuse(tmp_path, path, "after its end")


def test_a_tar_cut_between_two_members_or_with_a_damaged_header_is_refused(tmp_path):
    path = make_tar(tmp_path / "t.tar", {f"{number}.wav": bytes(512) for number in range(4)})
    data = path.read_bytes()
    path.write_bytes(data[:2048])  # two whole members: tarfile alone would see nothing wrong
    refuse(tmp_path, path, "damaged or truncated")
    path.write_bytes(data[:2048] + b"garbage!" + data[2056:])
    refuse(tmp_path, path, "damaged or truncated")


def test_damaged_bytes_are_found(tmp_path):
    path = make_zip(tmp_path / "z.zip", {"a.wav": b"A" * 100}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"A" * 100, b"A" * 99 + b"B"))
    refuse(tmp_path, path, "CRC")
    path = make_tar(tmp_path / "t.tar.gz", {"a.wav": os.urandom(5000)}, "w:gz")
    data = bytearray(path.read_bytes())
    data[-6] ^= 1  # in gzip's own checksum
    path.write_bytes(bytes(data))
    refuse(tmp_path, path, "cannot be unpacked")


@pytest.mark.parametrize(
    "data",
    [b"", b"<html>log in first</html>" * 100, gzip.compress(b"not a tar" * 200)],
    ids=["nothing", "web page", "gzip"],  # gzip's bytes hold the time, and test names must not
)
def test_something_else_is_refused(tmp_path, data):
    path = tmp_path / "page.zip"
    path.write_bytes(data)
    refuse(tmp_path, path, "not a readable zip or tar")


def test_an_archive_without_files_is_refused(tmp_path):
    refuse(tmp_path, make_tar(tmp_path / "t.tar", {tar_info("a", tarfile.DIRTYPE): b""}), "no files")


def test_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(archive, members, folder):
        (folder / "half.wav").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(archives, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        unpack(make_zip(tmp_path / "z.zip", CONTENT), tmp_path / "out")
    assert everything(tmp_path) == ["z.zip"]
