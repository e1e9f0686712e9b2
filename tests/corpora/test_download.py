"""Downloads against a server on the loopback address that can misbehave in every way we have a remedy for."""

import hashlib
import importlib.util
import io
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from hf_ser.arguments import ConfigError
from hf_ser.corpora.download import archives, http, sources
from hf_ser.corpora.download.archives import ArchiveError
from hf_ser.corpora.download.http import DownloadError, fetch, scrub
from hf_ser.corpora.download.sources import DownloadArguments, completed_parts, download_corpus

RECIPE = Path(__file__).parents[2] / "recipes" / "download.py"
BODY = bytes(range(256)) * 2048  # 512 KiB
MD5, SHA256 = hashlib.md5(BODY).hexdigest(), hashlib.sha256(BODY).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files` (path -> bytes); each entry of `server.faults` spoils one request, in order."""

    def log_message(self, *args):
        pass

    def do_GET(self):  # noqa: N802 - the name http.server calls
        server = self.server
        server.requests.append((self.path, self.headers.get("Range")))
        fault = server.faults.pop(0) if server.faults else {}
        body = server.files.get(self.path.partition("?")[0])
        status = fault.get("status", 200 if body is not None else 404)
        if status not in (200, 206):
            return self.answer(status, b"no", fault.get("headers", {}))
        if fault.get("hang"):
            server.released.wait(5)
            return None
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if match and server.ranges:
            start = int(match[1])
            content_range = fault.get("content_range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            return self.answer(206, body[start:], {"Content-Range": content_range}, fault)
        return self.answer(200, body, {}, fault)

    def answer(self, status, body, headers, fault=None):
        fault = fault or {}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if not fault.get("no_length"):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: fault.get("cut", len(body))])


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.files, server.faults, server.requests = {"/file.bin": BODY}, [], []
    server.ranges, server.released = True, threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that would have been made, in seconds."""
    made = []
    monkeypatch.setattr(http.time, "sleep", made.append)
    return made


@pytest.fixture
def get(server, tmp_path, pauses):
    """Fetch the server's file into tmp_path/file.bin with checks that keywords override."""

    def get(name="file.bin", **options):
        options = {"size": len(BODY), "md5": MD5, "sha256": SHA256, "progress": False} | options
        return fetch(f"{server.url}/{name}?download=1", tmp_path / "file.bin", **options)

    get.path, get.part = tmp_path / "file.bin", tmp_path / "file.bin.part"
    return get


def refuse(get, pattern, **options):
    with pytest.raises(DownloadError, match=pattern) as caught:
        get(**options)
    assert not get.path.exists()
    return str(caught.value)


# fetch


def test_fetches_verifies_and_does_not_fetch_again(get, server):
    assert get() == get.path and get.path.read_bytes() == BODY and not get.part.exists()
    assert server.requests == [("/file.bin?download=1", None)]
    get()
    assert len(server.requests) == 1


def test_a_final_file_with_a_wrong_checksum_is_replaced(get):
    get.path.write_bytes(BODY[:-1] + b"x")
    assert get().read_bytes() == BODY


def test_a_cut_connection_is_resumed_from_what_was_kept(get, server, pauses):
    server.faults = [{"cut": 300_000}]
    assert get().read_bytes() == BODY
    (_, first), (_, second) = server.requests
    start = int(re.fullmatch(r"bytes=(\d+)-", second)[1])
    assert first is None and 300_000 - http.CHUNK_BYTES <= start <= 300_000
    assert pauses == [1.0]


def test_a_part_of_an_earlier_run_is_continued_at_its_exact_end(get, server):
    get.part.write_bytes(BODY[:123_457])
    assert get().read_bytes() == BODY
    assert server.requests == [("/file.bin?download=1", "bytes=123457-")]


def test_a_whole_part_is_verified_without_a_request(get, server):
    get.part.write_bytes(BODY)
    assert get().read_bytes() == BODY and server.requests == []


def test_a_part_that_is_too_long_is_dropped(get, server):
    get.part.write_bytes(BODY + b"more")
    assert get().read_bytes() == BODY
    assert server.requests == [("/file.bin?download=1", None)]


@pytest.mark.parametrize("kept", [1000, len(BODY)])
def test_a_wrong_part_is_found_by_its_checksum_and_fetched_once_from_zero(get, server, kept):
    get.part.write_bytes(b"x" * kept)
    assert get().read_bytes() == BODY
    assert [wanted for _, wanted in server.requests][-1] is None
    assert len(server.requests) == (2 if kept == 1000 else 1)


def test_a_server_without_ranges_sends_it_all_again(get, server):
    server.ranges, server.faults = False, [{"cut": 300_000}]
    assert get().read_bytes() == BODY
    assert server.requests[1][1].startswith("bytes=")


def test_a_server_that_answers_with_another_range_is_not_believed(get, server):
    get.part.write_bytes(BODY[:1000])
    server.faults = [{"content_range": f"bytes 500-{len(BODY) - 1}/{len(BODY)}"}]
    assert get().read_bytes() == BODY
    assert [wanted for _, wanted in server.requests] == ["bytes=1000-", None]


def test_a_file_that_changes_between_two_pieces_is_not_mixed(get, server, monkeypatch):
    server.files["/file.bin"], server.faults = BODY[::-1], [{"cut": 300_000}]
    monkeypatch.setattr(http.time, "sleep", lambda seconds: server.files.update({"/file.bin": BODY}))
    assert get().read_bytes() == BODY
    assert [wanted is None for _, wanted in server.requests] == [True, False, True]  # cut, resumed, fetched whole


@pytest.mark.parametrize("wrong", [{"md5": "0" * 32}, {"sha256": "0" * 64}])
def test_a_wrong_checksum_removes_the_part_and_says_what_was_got(get, server, wrong):
    message = refuse(get, "expected 0+", **wrong)
    (name,) = wrong
    assert {"md5": MD5, "sha256": SHA256}[name] in message and "download=1" not in message
    assert not get.part.exists() and len(server.requests) == 1


def test_a_wrong_checksum_of_a_resumed_file_is_fetched_whole_only_once(get, server):
    get.part.write_bytes(b"x" * 1000)
    refuse(get, "expected 0+", md5="0" * 32)
    assert not get.part.exists() and len(server.requests) == 2


def test_a_wrong_size_is_refused_before_the_body_and_keeps_the_part(get, server):
    get.part.write_bytes(BODY[:1000])
    server.files["/file.bin"] = b"<html>log in</html>"
    server.ranges = False
    refuse(get, f"has 19 bytes .*expected {len(BODY):,}")
    assert get.part.read_bytes() == BODY[:1000]


def test_more_bytes_than_expected_are_refused_without_a_length(get, server):
    server.faults = [{"no_length": True}]
    refuse(get, "sent more than the expected 1,000 bytes", size=1000)


def test_fewer_bytes_than_expected_without_a_length_count_as_cut(get, server):
    server.faults = [{"no_length": True, "cut": 5000}]
    assert get().read_bytes() == BODY
    assert [wanted for _, wanted in server.requests] == [None, "bytes=5000-"]


def test_retries_are_bounded_and_the_part_is_kept(get, server, pauses):
    server.faults = [{"cut": 100_000}] * 4
    message = refuse(get, "in 3 attempts", retries=2, backoff_s=0.5)
    assert pauses == [0.5, 1.0] and len(server.requests) == 3
    kept = get.part.read_bytes()
    assert kept and kept == BODY[: len(kept)] and f"{len(kept):,} of {len(BODY):,}" in message
    server.faults = []
    assert get().read_bytes() == BODY and server.requests[-1][1] == f"bytes={len(kept)}-"


def test_a_busy_server_is_asked_again_after_the_time_it_names(get, server, pauses):
    server.faults = [{"status": 500}, {"status": 429, "headers": {"Retry-After": "7"}}]
    assert get().read_bytes() == BODY and pauses == [1.0, 7.0]


@pytest.mark.parametrize(
    ("status", "remedy"), [(404, "does not exist"), (403, "denied access"), (401, "login"), (400, "later")]
)
def test_final_refusals_are_not_retried(get, server, status, remedy):
    server.faults = [{"status": status}]
    message = refuse(get, f"returned {status}.*{remedy}")
    assert len(server.requests) == 1 and str(get.path) in message


def test_a_hanging_server_times_out(get, server):
    server.faults = [{"hang": True}] * 2
    refuse(get, r"in 2 attempts.*timed out.*timeout=0\.1\b", retries=1, timeout_s=(1.0, 0.1))


def test_a_refused_connection_names_the_host_and_the_proxy(tmp_path, pauses):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://user:secret@127.0.0.1:{unused.getsockname()[1]}/f?token=secret"
        with pytest.raises(DownloadError, match="no data received from 127.0.0.1.*refused.*HTTPS_PROXY") as caught:
            fetch(url, tmp_path / "f", size=1, sha256=SHA256, retries=1, progress=False)
    assert "secret" not in str(caught.value)


def test_nonsense_addresses_are_refused(tmp_path):
    with pytest.raises(DownloadError, match="cannot be downloaded"):
        fetch("file:///etc/hostname", tmp_path / "f", size=1, sha256=SHA256)


def test_a_full_disk_is_said_and_the_part_is_kept(get, monkeypatch):
    usage = http.shutil.disk_usage(get.path.parent)
    monkeypatch.setattr(http.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    refuse(get, f"has 1,000 bytes free; .*needs {len(BODY):,} more")
    monkeypatch.undo()
    monkeypatch.setattr(http, "tqdm", lambda **kwargs: FullDisk())
    refuse(get, "disk is full")


class FullDisk:
    """Stands where the progress bar stands: raises what a write to a full disk raises."""

    def __enter__(self):
        return self

    def __exit__(self, *args):
        pass

    def update(self, count):
        raise OSError(28, os.strerror(28))


def test_a_folder_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DownloadError, match="cannot be written"):
        fetch("http://127.0.0.1:9/f", tmp_path / "file" / "f", size=1, sha256=SHA256)


def test_scrub():
    text = "GET https://me:pw@host/a?X-Sig=1&b=2 (url: /p?token) failed? yes"
    assert scrub(text) == "GET https://host/a (url: /p) failed? yes"


# download_corpus


def zip_bytes(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return buffer.getvalue()


SPEECH = {f"Actor_{actor:02}/03-01-01-01-01-01-{actor:02}.wav": b"RIFF" + bytes([actor]) * 999 for actor in (1, 2)}
SONG = {"Actor_01/03-02-01-01-01-01-01.wav": b"RIFFsong"}


@pytest.fixture
def zenodo(server, monkeypatch, pauses):
    """RAVDESS, small, on the loopback server, with matching checksums."""
    for part, content in (("speech", SPEECH), ("song", SONG)):
        data, name = zip_bytes(content), f"{part}.zip"
        server.files[f"/{name}"] = data
        checks = {"md5": hashlib.md5(data).hexdigest(), "sha256": hashlib.sha256(data).hexdigest()}
        monkeypatch.setitem(sources.SOURCES["ravdess"]["zenodo"], part, {"name": name, "size": len(data), **checks})
    return server


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def clips(folder):
    return {name: data for name, data in tree(folder).items() if name != sources.MARKER}


def below(part, content):
    return {f"{part}/{name}": data for name, data in content.items()}


def test_ravdess_from_zenodo_once(zenodo, tmp_path):
    folder = download_corpus("ravdess", tmp_path, zenodo_url=zenodo.url + "/", progress=False)
    assert folder == tmp_path / "ravdess" and clips(folder) == below("speech", SPEECH)
    assert zenodo.requests == [("/speech.zip?download=1", None)]
    assert [path.name for path in tmp_path.iterdir()] == ["ravdess"]  # archives are removed
    marker = json.loads((folder / ".complete.json").read_text())
    speech = marker["parts"]["speech"]
    assert marker["corpus"] == "ravdess" and speech["source"] == "zenodo" and speech["num_clips"] == 2
    assert speech["files"] == [sources.SOURCES["ravdess"]["zenodo"]["speech"]] and speech["date"].startswith("20")
    before = (folder / ".complete.json").read_bytes()
    assert download_corpus("ravdess", tmp_path, zenodo_url=zenodo.url) == folder
    assert len(zenodo.requests) == 1 and (folder / ".complete.json").read_bytes() == before


def test_song_added_later_keeps_the_speech(zenodo, tmp_path):
    download_corpus("ravdess", tmp_path, zenodo_url=zenodo.url, progress=False, keep_archives=True)
    folder = download_corpus("ravdess", tmp_path, zenodo_url=zenodo.url, progress=False, include_song=True)
    assert clips(folder) == below("speech", SPEECH) | below("song", SONG)
    assert [path for path, _ in zenodo.requests] == ["/speech.zip?download=1", "/song.zip?download=1"]
    assert set(completed_parts(folder)) == {"speech", "song"}
    assert tree(tmp_path / ".archives") == {"speech.zip": zenodo.files["/speech.zip"]}  # kept as asked, the song's not


def test_a_failed_song_leaves_the_speech_complete_and_is_taken_up_again(zenodo, tmp_path):
    zenodo.faults = [{}, {"status": 404}]
    with pytest.raises(DownloadError, match="404"):
        download_corpus("ravdess", tmp_path, zenodo_url=zenodo.url, progress=False, include_song=True)
    assert set(completed_parts(tmp_path / "ravdess")) == {"speech"}
    folder = download_corpus("ravdess", tmp_path, zenodo_url=zenodo.url, progress=False, include_song=True)
    assert clips(folder) == below("speech", SPEECH) | below("song", SONG)
    assert [path for path, _ in zenodo.requests].count("/speech.zip?download=1") == 1


def test_an_interrupted_unpack_leaves_no_folder_and_needs_no_second_download(zenodo, tmp_path, monkeypatch):
    def interrupted(archive, members, folder):
        (folder / "half.wav").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(archives, "_write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            download_corpus("ravdess", tmp_path, zenodo_url=zenodo.url, progress=False)
    assert not (tmp_path / "ravdess").exists() and not list(tmp_path.rglob("*.wav"))
    folder = download_corpus("ravdess", tmp_path, zenodo_url=zenodo.url, progress=False)
    assert clips(folder) == below("speech", SPEECH) and len(zenodo.requests) == 1


def test_a_killed_run_is_redone(zenodo, tmp_path):
    half = tmp_path / "ravdess" / "speech" / "Actor_01" / "03-01-01-01-01-01-01.wav"
    half.parent.mkdir(parents=True)
    half.write_bytes(b"RI")
    (tmp_path / ".archives" / "ravdess-speech.incomplete").mkdir(parents=True)
    (tmp_path / ".archives" / "ravdess-speech" / "old").mkdir(parents=True)
    folder = download_corpus("ravdess", tmp_path, zenodo_url=zenodo.url, progress=False)
    assert clips(folder) == below("speech", SPEECH) and not (tmp_path / ".archives").exists()


def test_a_persons_own_files_are_never_replaced(zenodo, tmp_path):
    (tmp_path / "ravdess" / "speech").mkdir(parents=True)
    (tmp_path / "ravdess" / "speech" / "mine.wav").write_bytes(b"mine")
    with pytest.raises(DownloadError, match="not part of this download, such as mine.wav"):
        download_corpus("ravdess", tmp_path, zenodo_url=zenodo.url, progress=False)
    assert tree(tmp_path / "ravdess") == {"speech/mine.wav": b"mine"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"parts": ["speech"]}', '{"parts": {"speech": {}}}'])
def test_a_marker_without_its_folder_or_sense_is_no_completion(tmp_path, text):
    (tmp_path / sources.MARKER).write_text(text)
    assert completed_parts(tmp_path) == {}


def test_an_archive_without_recordings_is_refused(zenodo, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.writestr("readme.html", "log in first")
    with pytest.raises(DownloadError, match="1 files but no .wav"):
        download_corpus("savee", tmp_path / "out", archive=tmp_path / "s.zip")
    assert tree(tmp_path / "out") == {}


def test_savee_is_explained(tmp_path):
    for source in ("auto", "zenodo"):
        with pytest.raises(DownloadError, match="kahlan.eps.surrey.ac.uk.*--savee_archive FILE.*--source kaggle"):
            download_corpus("savee", tmp_path, source=source)
    with pytest.raises(DownloadError, match="--savee_archive .*no such file"):
        download_corpus("savee", tmp_path, archive=tmp_path / "none.zip")
    assert not any(tmp_path.iterdir())


def test_savee_from_a_local_archive_which_stays(tmp_path):
    content = {"AudioData/DC/a01.wav": b"RIFF1", "AudioData/KL/su15.wav": b"RIFF2"}
    local = tmp_path / "my savee.zip"
    local.write_bytes(zip_bytes(content | {"__MACOSX/AudioData/DC/._a01.wav": b"x"}))
    data = local.read_bytes()
    folder = download_corpus("savee", tmp_path / "raw", archive=local)
    assert clips(folder) == below("audio", content) and local.read_bytes() == data
    (file,) = completed_parts(folder)["audio"]["files"]
    assert file["name"] == "my savee.zip" and file["sha256"] == hashlib.sha256(data).hexdigest()
    local.unlink()
    assert download_corpus("savee", tmp_path / "raw") == folder  # complete: the archive is not needed again


def test_a_hostile_local_archive_is_refused(tmp_path):
    local = tmp_path / "savee.zip"
    local.write_bytes(zip_bytes({"AudioData/DC/a01.wav": b"RIFF", "../../../evil.wav": b"evil"}))
    with pytest.raises(ArchiveError, match="evil.wav"):
        download_corpus("savee", tmp_path / "a" / "b", archive=local)
    assert list(tree(tmp_path)) == ["savee.zip"]


def test_wishes_that_no_source_meets(tmp_path):
    with pytest.raises(ConfigError, match="'ravdes'.*ravdess, crema_d, tess, savee"):
        download_corpus("ravdes", tmp_path)
    with pytest.raises(ConfigError, match="--source zenodo is not available for tess; expected auto or kaggle"):
        download_corpus("tess", tmp_path, source="zenodo")
    with pytest.raises(ConfigError, match="no song. Use --source zenodo"):
        download_corpus("ravdess", tmp_path, source="kaggle", include_song=True)
    with pytest.raises(ConfigError, match="only RAVDESS has song"):
        download_corpus("tess", tmp_path, include_song=True)
    with pytest.raises(ConfigError, match="archive is set for tess, which does not support it"):
        download_corpus("tess", tmp_path, archive=tmp_path / "x.zip")


# Kaggle


@pytest.fixture
def kaggle(monkeypatch):
    """What `kagglehub.dataset_download` is made to do: `kaggle.does(output_dir) -> path`."""
    kagglehub = pytest.importorskip("kagglehub")

    def download(handle, *, output_dir):
        download.calls.append(handle)
        folder = Path(output_dir)
        assert folder.is_dir() and not any(folder.iterdir())  # what kagglehub demands
        return str(download.does(folder))

    def works(folder):
        for name in ("AudioWAV/1001_DFA_ANG_XX.wav", ".complete/datasets/ejlok1/cremad/1/bundle.complete"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"RIFF")
        return folder

    download.calls, download.does, download.works = [], works, works
    monkeypatch.setattr(kagglehub, "dataset_download", download)
    return download


def test_kaggle_once(kaggle, tmp_path):
    folder = download_corpus("crema_d", tmp_path)
    assert clips(folder) == {"audio/AudioWAV/1001_DFA_ANG_XX.wav": b"RIFF"} and kaggle.calls == ["ejlok1/cremad"]
    assert completed_parts(folder)["audio"]["handle"] == "ejlok1/cremad"
    assert download_corpus("crema_d", tmp_path) == folder and len(kaggle.calls) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["crema_d"]


@pytest.mark.parametrize("corpus", ["ravdess", "crema_d", "tess", "savee"])
def test_every_corpus_has_a_kaggle_handle(kaggle, tmp_path, corpus):
    download_corpus(corpus, tmp_path, source="kaggle")
    assert kaggle.calls == [sources.SOURCES[corpus]["kaggle"]] and completed_parts(tmp_path / corpus)


def test_kaggle_notebooks_ignore_output_dir_and_are_copied_from(kaggle, tmp_path):
    mounted = tmp_path / "kaggle" / "input"
    mounted.mkdir(parents=True)
    (mounted / "a.wav").write_bytes(b"RIFF")
    kaggle.does = lambda folder: mounted
    assert clips(download_corpus("tess", tmp_path / "raw")) == {"audio/a.wav": b"RIFF"}
    assert tree(mounted) == {"a.wav": b"RIFF"}


def http_error(status):
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"{status} Client Error", response=response)


KAGGLE_FAILURES = [
    (http_error(403), "403.*Log in at https://www.kaggle.com/datasets/ejlok1/cremad"),
    (http_error(404), "404.*still exists"),
    (requests.ConnectionError("no route to https://x/y?X-Goog-Signature=s3cret"), "no route.*HTTPS_PROXY"),
    (ValueError("Kaggle credentials file at k.json is missing 'key' key"), "missing 'key'.*KAGGLE_API_TOKEN"),
    (RuntimeError("the token s3cret is odd"), r"the token \*\*\* is odd"),
    (OSError(28, "No space left on device"), "No space left.*disk space"),
]


@pytest.mark.parametrize(("error", "pattern"), KAGGLE_FAILURES)
def test_kaggle_failures_name_the_way_out_and_leave_nothing(kaggle, tmp_path, monkeypatch, error, pattern):
    def fails(folder):
        (folder / "1.archive").write_bytes(b"half")
        raise error

    monkeypatch.setenv("KAGGLE_KEY", "s3cret")
    kaggle.does = fails
    with pytest.raises(DownloadError, match=pattern) as caught:
        download_corpus("crema_d", tmp_path)
    assert "recipes/prepare.py --crema_d FOLDER" in str(caught.value) and "s3cret" not in str(caught.value)
    assert tree(tmp_path) == {} and not completed_parts(tmp_path / "crema_d")
    kaggle.does = kaggle.works
    assert clips(download_corpus("crema_d", tmp_path))


def test_importing_the_package_does_not_import_kagglehub():
    code = "import sys, hf_ser.corpora.download; sys.exit('kagglehub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# recipe


def recipe(monkeypatch, *argv):
    """Run recipes/download.py with a command line, as the main program does; return its exit code."""
    spec = importlib.util.spec_from_file_location("download_recipe", RECIPE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [str(RECIPE), *map(str, argv)])
    with pytest.raises(SystemExit) as caught:
        module.run(module.main)
    return caught.value.code


def test_recipe_names_the_corpora_when_it_knows_none_of_that_name():
    command = [sys.executable, str(RECIPE), "--corpora", "ravdes"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.splitlines()[-1] == (
        "error: unknown corpus 'ravdes'; expected one of ravdess, crema_d, tess, savee."
    )


def test_recipe_prints_licence_place_and_next_step(zenodo, tmp_path, monkeypatch, capsys):
    out = tmp_path / "my data"
    assert recipe(monkeypatch, "--corpora", "ravdess", "--output_dir", out, "--zenodo_url", zenodo.url) == 0
    printed = capsys.readouterr().out
    licence, place = printed.index("CC BY-NC-SA 4.0"), printed.index(f"ravdess is in {out / 'ravdess'}")
    assert licence < place < printed.index(f"python recipes/prepare.py --ravdess '{out / 'ravdess'}' --output_dir")
    assert clips(out / "ravdess") == below("speech", SPEECH)


def test_recipe_goes_on_after_a_failure_and_ends_in_2(zenodo, tmp_path, monkeypatch, capsys):
    argv = ["--corpora", "savee", "ravdess", "--output_dir", tmp_path, "--zenodo_url", zenodo.url]
    assert recipe(monkeypatch, *argv) == 2
    printed = capsys.readouterr()
    assert clips(tmp_path / "ravdess") == below("speech", SPEECH)
    assert f"--ravdess {tmp_path / 'ravdess'} " in printed.out and "--savee " not in printed.out
    assert "savee failed: SAVEE has no public download" in printed.err
    assert printed.err.splitlines()[-1] == "error: 1 of 2 corpora failed (see above): savee"


def test_recipe_with_one_failing_corpus_prints_one_error_line(tmp_path, monkeypatch, capsys):
    assert recipe(monkeypatch, "--corpora", "savee", "--output_dir", tmp_path) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: SAVEE has no public") and printed.err.count("\n") == 1
    assert "do not redistribute the audio" in printed.out  # the licence comes first, even so


def test_arguments_check_each_other():
    assert DownloadArguments(corpora=["tess", "tess"]).corpora == ["tess"]
    with pytest.raises(ConfigError, match="--include_song"):
        DownloadArguments(corpora=["tess"], include_song=True)
    with pytest.raises(ConfigError, match="--savee_archive"):
        DownloadArguments(corpora=["tess"], savee_archive="x.zip")


def test_published_checksums_are_well_formed():
    for file in sources.SOURCES["ravdess"]["zenodo"].values():
        assert re.fullmatch("[0-9a-f]{32}", file["md5"]) and re.fullmatch("[0-9a-f]{64}", file["sha256"])


def test_retries_are_logged(get, server, caplog):
    server.faults = [{"status": 503}]
    with caplog.at_level(logging.WARNING):
        get()
    assert "returned 503" in caplog.text and "retry 1 of 5" in caplog.text and "download=1" not in caplog.text
