"""The Hub to test against, asked by the real clients."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, HfApi, constants, get_session
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

NAME = "owner/tiny"
FILES = {
    "README.md": b"---\nlicense: apache-2.0\ntags: [speech]\n---\nText.\n",
    "config.json": b'{"hidden_size": 16}',
    "empty.txt": b"",
    "sub folder/deep/notes.txt": b"notes\n",
    "model.safetensors": bytes(range(256)) * 40,
    "large.txt": b"0123456789" * 500,
}
LARGE = {"large.txt", "model.safetensors"}


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "folder"
    for path, content in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


@pytest.fixture
def owner(hub):
    """Return the owner's HfApi, with the repository made."""
    hub.lfs_threshold = 4000
    api = hub.api("hf_owner")
    api.create_repo(NAME)
    return api


@pytest.fixture
def pushed(owner, folder):
    return owner.upload_folder(repo_id=NAME, folder_path=folder, commit_message="first")


def read(folder):
    files = [path for path in Path(folder).rglob("*") if path.is_file() and ".cache" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def contents(hub, revision="main"):
    files = hub.stored(NAME).resolve(revision).files
    return {path: blob.content for path, blob in files.items() if path != ".gitattributes"}


@pytest.mark.parametrize("kind", ["model", "dataset", "space"])
def test_a_repository_lives_from_create_to_delete(hub, kind):
    api = hub.api("hf_owner")
    sdk = {"space_sdk": "gradio"} if kind == "space" else {}
    url = api.create_repo(NAME, repo_type=kind, private=True, **sdk)
    assert (url.repo_id, url.repo_type) == (NAME, kind) and url.url.startswith(hub.endpoint)
    assert api.repo_info(NAME, repo_type=kind).private and api.repo_exists(NAME, repo_type=kind)
    assert not any(api.repo_exists(NAME, repo_type=other) for other in {"model", "dataset", "space"} - {kind})
    assert api.create_repo(NAME, repo_type=kind, exist_ok=True, **sdk) == url
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo(NAME, repo_type=kind, **sdk)
    api.update_repo_settings(NAME, repo_type=kind, private=False)
    assert hub.api().repo_exists(NAME, repo_type=kind)
    api.delete_repo(NAME, repo_type=kind)
    assert not api.repo_exists(NAME, repo_type=kind)
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo(NAME, repo_type=kind)


def test_every_revision_gives_back_what_was_uploaded_to_it(hub, owner, folder, pushed):
    owner.create_tag(NAME, tag="v1")
    assert {path for path, blob in hub.stored(NAME).head.files.items() if blob.lfs} == LARGE
    (folder / "model.safetensors").write_bytes(b"other" * 900)
    (folder / "new.json").write_text("{}")
    second = owner.upload_folder(repo_id=NAME, folder_path=folder, delete_patterns="config.json")
    owner.delete_file("large.txt", NAME)
    snapshots = {name: owner.snapshot_download(NAME, revision=name) for name in ("v1", pushed.oid, second.oid, "main")}
    expected = {**FILES, "model.safetensors": b"other" * 900, "new.json": b"{}"}
    seen = {name: {k: v for k, v in read(path).items() if k != ".gitattributes"} for name, path in snapshots.items()}
    assert seen["v1"] == seen[pushed.oid] == FILES and seen[second.oid] == expected
    assert seen["main"] == {path: content for path, content in expected.items() if path != "large.txt"}
    history = owner.list_repo_commits(NAME)
    assert [commit.title for commit in history][1:] == [
        "Upload folder using huggingface_hub",
        "first",
        "initial commit",
    ]
    assert [commit.commit_id for commit in history][1:3] == [second.oid, pushed.oid]
    assert {(tag.name, tag.target_commit) for tag in owner.list_repo_refs(NAME).tags} == {("v1", pushed.oid)}


def test_lists_and_information_agree_with_the_commit(hub, owner, pushed):
    files = {".gitattributes", *FILES}
    assert set(owner.list_repo_files(NAME)) == files
    whole = list(owner.list_repo_tree(NAME, recursive=True, expand=True))
    hub.page_size = 2
    assert list(owner.list_repo_tree(NAME, recursive=True, expand=True)) == whole and hub.seen("cursor=2")
    assert {entry.path for entry in whole} == files | {"sub folder", "sub folder/deep"}
    assert {entry.last_commit.title for entry in whole if entry.path in FILES} == {"first"}
    assert [entry.path for entry in owner.list_repo_tree(NAME, "sub folder")] == ["sub folder/deep"]
    large, absent = owner.get_paths_info(NAME, ["large.txt"]), owner.get_paths_info(NAME, ["absent"])
    assert (large[0].size, large[0].lfs.size, absent) == (5000, 5000, [])
    info = owner.model_info(NAME, files_metadata=True)
    assert info.sha == pushed.oid and info.tags == ["speech", "license:apache-2.0"]
    assert {entry.rfilename: entry.size for entry in info.siblings if entry.rfilename in FILES} == {
        path: len(content) for path, content in FILES.items()
    }
    assert owner.whoami()["name"] == "owner"


def test_what_is_absent_is_told_apart(hub, owner, pushed):
    with pytest.raises(EntryNotFoundError):
        owner.hf_hub_download(NAME, "absent.json")
    with pytest.raises(RevisionNotFoundError):
        owner.hf_hub_download(NAME, "config.json", revision="v9")
    for api in (owner, hub.api()):
        with pytest.raises(RepositoryNotFoundError):
            api.hf_hub_download("owner/absent", "config.json")
    with pytest.raises(EntryNotFoundError):
        owner.delete_file("absent.json", NAME)
    assert get_session().get(f"{hub.endpoint}/api/unknown").status_code == 404


def test_commits_are_guarded_by_their_parent(hub, owner, folder, pushed):
    before = owner.list_repo_commits(NAME)
    assert owner.upload_folder(repo_id=NAME, folder_path=folder).oid == pushed.oid  # nothing changed: no commit
    stale = before[-1].commit_id
    with pytest.raises(HfHubHTTPError, match="412"):
        owner.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=NAME, parent_commit=stale)
    assert owner.list_repo_commits(NAME) == before
    owner.create_branch(NAME, branch="side")
    owner.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=NAME, revision="side", parent_commit=pushed.oid)
    owner.upload_file(path_or_fileobj=b"y", path_in_repo="y", repo_id=NAME, revision="side")
    assert contents(hub, "side") == {**FILES, "x": b"x", "y": b"y"} and contents(hub) == FILES
    assert len(owner.list_repo_commits(NAME, revision="side")) == 4 and owner.list_repo_commits(NAME) == before
    with pytest.raises(HfHubHTTPError, match="409"):
        owner.create_branch(NAME, branch="side")
    owner.delete_branch(NAME, branch="side")
    with pytest.raises(ValueError, match="metadata"):
        owner.upload_file(path_or_fileobj=b"---\na: [\n---\n", path_in_repo="README.md", repo_id=NAME)


def test_large_files_go_up_in_parts_where_the_hub_asks_for_it(hub, owner, folder):
    hub.part_size = 3000
    owner.upload_folder(repo_id=NAME, folder_path=folder)
    assert len(hub.seen("PUT /storage/.*part=")) == 4 + 2 and contents(hub) == FILES


def test_tokens_go_to_the_hub_only(hub, owner, pushed):
    owner.snapshot_download(NAME)
    hub.part_size = 3000
    owner.upload_file(path_or_fileobj=b"z" * 7000, path_in_repo="z.bin", repo_id=NAME)
    storage = [request for request in hub.requests if request.server == "storage"]
    assert len(storage) == 2 + 2 + 3 and not any("authorization" in request.headers for request in storage)
    asked = [r for r in hub.requests if r.server == "hub" and "complete-multipart" not in r.path]
    assert {request.headers.get("authorization") for request in asked} == {"Bearer hf_owner"}
    location = f"{hub.storage}{storage[0].path}"
    assert get_session().get(location, headers={"Authorization": "Bearer hf_owner"}).status_code == 400
    assert get_session().get(location.split("?")[0]).status_code == 403


def test_a_read_token_reads_and_no_more(hub, owner, folder, pushed):
    reader = hub.api("hf_reader")
    assert Path(reader.hf_hub_download(NAME, "config.json")).read_bytes() == FILES["config.json"]
    changes = [
        lambda api: api.create_repo("owner/other"),
        lambda api: api.delete_repo(NAME),
        lambda api: api.upload_folder(repo_id=NAME, folder_path=folder),
        lambda api: api.create_tag(NAME, tag="v2"),
        lambda api: api.update_repo_settings(NAME, private=True),
    ]
    for token, status in (("hf_reader", 403), ("hf_stranger", 403), (False, 401), ("hf_wrong", 401)):
        for change in changes:
            with pytest.raises(HfHubHTTPError) as caught:
                change(hub.api(token))
            assert caught.value.response.status_code == status
    with pytest.raises(HfHubHTTPError, match="401"):  # though nobody in particular may
        hub.api("hf_wrong").list_repo_files(NAME)
    assert list(hub.repos) == [("models", NAME)] and len(owner.list_repo_commits(NAME)) == 2
    assert not hub.stored(NAME).tags and not hub.stored(NAME).private


def test_a_private_repository_is_there_for_its_owner_only(hub, owner, pushed):
    owner.update_repo_settings(NAME, private=True)
    for api in (owner, hub.api("hf_reader")):
        assert api.repo_exists(NAME) and api.list_repo_files(NAME)
    for token, status in ((False, 401), ("hf_stranger", 404)):
        api = hub.api(token)
        assert not api.repo_exists(NAME)
        for look in (api.list_repo_files, api.snapshot_download, api.list_repo_refs):
            with pytest.raises(RepositoryNotFoundError) as caught:
                look(NAME)
            assert caught.value.response.status_code == status


@pytest.mark.parametrize(("chunk_size", "resumed"), [(5, "bytes=5-"), (10 * 2**20, None)])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_download_goes_on_where_it_was_cut(hub, owner, pushed, monkeypatch, name, chunk_size, resumed):
    # What came after the last whole chunk is lost: with 10 MiB, the default, small files start anew.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", chunk_size)
    pattern = f"GET /({NAME}/resolve/main/{name}|storage/)"
    hub.fail(pattern, cut_after=7)
    path = owner.hf_hub_download(NAME, name)
    assert Path(path).read_bytes() == FILES[name] and hub.naps == [1]
    assert [request.headers.get("range") for request in hub.seen(pattern)] == [None, resumed]


def test_half_a_download_is_never_taken_for_the_whole(hub, owner, pushed, tmp_path):
    fault = hub.fail("GET /storage/", times=None, cut_after=0)
    with pytest.raises(Exception, match="peer closed"):
        owner.hf_hub_download(NAME, "model.safetensors")
    assert fault.hits == 6
    assert not [path for path in (tmp_path / "hub_cache").rglob("blobs/*") if path.stat().st_size]
    hub.faults.clear()
    assert Path(owner.hf_hub_download(NAME, "model.safetensors")).read_bytes() == FILES["model.safetensors"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_changed_bytes_pass_the_download_and_fail_the_check(hub, owner, pushed, name):
    # huggingface_hub compares sizes of what HTTP brings, not hashes: who cares must ask for the check.
    sha256 = hub.stored(NAME).head.files[name].sha256
    hub.fail(f"GET /({NAME}/resolve/{pushed.oid}/{name}|storage/{sha256})", corrupt=True)
    folder = owner.snapshot_download(NAME)
    received = (Path(folder) / name).read_bytes()
    assert received != FILES[name] and len(received) == len(FILES[name])
    assert [wrong["path"] for wrong in owner.verify_repo_checksums(NAME).mismatches] == [name]


@pytest.mark.parametrize("pattern", ["PUT /storage/", "POST /api/models/owner/tiny/commit/", "POST .*/objects/batch"])
def test_a_cut_upload_is_whole_or_not_there(hub, owner, folder, pattern):
    before = owner.list_repo_commits(NAME)
    hub.fail(pattern, times=None, cut_after=100)
    with pytest.raises(Exception, match="Error while uploading|disconnected|reset|Broken pipe"):
        owner.upload_folder(repo_id=NAME, folder_path=folder)
    assert owner.list_repo_commits(NAME) == before and contents(hub) == {}
    hub.faults.clear()
    owner.upload_folder(repo_id=NAME, folder_path=folder)
    assert contents(hub) == FILES and len(owner.list_repo_commits(NAME)) == len(before) + 1


def test_a_cut_part_of_an_upload_is_sent_again(hub, owner, folder):
    fault = hub.fail("PUT /storage/", cut_after=100)
    owner.upload_folder(repo_id=NAME, folder_path=folder)
    assert fault.hits == 1 and hub.naps == [1] and contents(hub) == FILES
    assert len(hub.seen("PUT /storage/")) == 3


def test_a_commit_may_be_done_though_its_answer_was_lost(hub, owner):
    hub.fail("/commit/main", lose_answer=True)
    with pytest.raises(Exception, match="disconnected"):
        owner.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=NAME)
    assert contents(hub) == {"x": b"x"}
    owner.upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id=NAME)
    assert len(owner.list_repo_commits(NAME)) == 2


def test_an_upload_that_arrives_changed_is_refused(hub, owner):
    hub.fail("PUT /storage/", times=None, corrupt=True)
    operation = CommitOperationAdd("model.safetensors", FILES["model.safetensors"])
    with pytest.raises(RuntimeError, match="Error while uploading") as caught:
        owner.create_commit(NAME, [operation], commit_message="changed")
    assert caught.value.__cause__.response.status_code == 422
    assert contents(hub) == {} and not hub.stored(NAME).objects


def test_a_commit_names_no_object_that_never_arrived(hub, owner):
    pointer = {"path": "model.bin", "algo": "sha256", "oid": "0" * 64, "size": 1}
    lines = [{"key": "header", "value": {"summary": "without it"}}, {"key": "lfsFile", "value": pointer}]
    url, headers = f"{hub.endpoint}/api/models/{NAME}/commit/main", {"Authorization": "Bearer hf_owner"}
    answer = get_session().post(url, content="\n".join(map(json.dumps, lines)), headers=headers)
    assert answer.status_code == 400 and "does not exist" in answer.json()["error"] and contents(hub) == {}


@pytest.mark.parametrize(("status", "hits"), [(401, 1), (403, 1), (429, 6), (500, 6), (503, 6)])
def test_statuses_come_up_as_the_clients_own_errors(hub, owner, folder, status, hits):
    fault = hub.fail("/preupload/", times=None, status=status)
    with pytest.raises(HfHubHTTPError) as caught:
        owner.upload_folder(repo_id=NAME, folder_path=folder)
    assert caught.value.response.status_code == status and fault.hits == hits
    assert hub.naps == [1, 2, 4, 8, 8][: hits - 1] and contents(hub) == {}
    hub.faults.clear()
    once = hub.fail("/commit/", status=status)
    with pytest.raises(HfHubHTTPError):  # never tried again, unlike all before it
        owner.upload_folder(repo_id=NAME, folder_path=folder)
    assert once.hits == 1 and contents(hub) == {}


def test_a_client_waits_as_long_as_it_is_told(hub, owner, folder):
    hub.fail("/preupload/", status=429, headers={"Retry-After": "3"})
    owner.upload_folder(repo_id=NAME, folder_path=folder)
    assert hub.naps == [4] and contents(hub) == FILES


def test_a_download_from_a_broken_hub_fails_unless_cached(hub, owner, pushed):
    cached = owner.hf_hub_download(NAME, "config.json")
    hub.fail("HEAD ", times=None, status=500)
    assert owner.hf_hub_download(NAME, "config.json") == cached
    with pytest.raises(LocalEntryNotFoundError):
        owner.hf_hub_download(NAME, "model.safetensors")


def test_a_slow_link_takes_its_time(hub, owner):
    content = b"slow" * 1000
    hub.fail("(PUT|GET) /storage/", times=2, bytes_per_s=20_000)
    for work in (
        lambda: owner.upload_file(path_or_fileobj=content, path_in_repo="slow.bin", repo_id=NAME),
        lambda: owner.hf_hub_download(NAME, "slow.bin"),
    ):
        started = time.monotonic()
        work()
        assert time.monotonic() - started >= 0.2
    assert contents(hub) == {"slow.bin": content}


def test_nothing_of_this_process_reaches_a_fresh_one(hub, monkeypatch):
    for name in ("HF_TOKEN", "HF_HUB_CACHE", "HF_DATASETS_OFFLINE", "https_proxy"):
        monkeypatch.setenv(name, "leak")
    first, second = hub.environment(), hub.environment(token="hf_reader")
    assert "leak" not in first.values() and "HF_TOKEN" not in first and second["HF_TOKEN"] == "hf_reader"
    assert first["HF_HOME"] != second["HF_HOME"] and not list(Path(first["HF_HOME"]).iterdir())
    assert HfApi().endpoint == first["HF_ENDPOINT"] == hub.endpoint


@pytest.mark.parametrize("effect", [{}, {"status": 500, "corrupt": True}, {"corrupt": True, "headers": {"a": "b"}}])
def test_a_fault_is_one_thing(hub, effect):
    with pytest.raises(ValueError, match="exactly one|headers"):
        hub.fail("GET", **effect)


_CHILD = """
import json, sys
import numpy as np
from datasets import load_dataset
from transformers import AutoModelForAudioClassification, pipeline

revision, sound = sys.argv[1], {"raw": np.load(sys.argv[2]), "sampling_rate": 16_000}
model = AutoModelForAudioClassification.from_pretrained("owner/wav2vec2", revision=revision)
classify = pipeline("audio-classification", model="owner/companion", trust_remote_code=True)
rows = {name: load_dataset("owner/data", name, split="train")["number"] for name in ("all", "few")}
stream = load_dataset("owner/data", "all", split="train", streaming=True)
assert "hf_ser" not in sys.modules
print(json.dumps({
    "weights": sum(weight.detach().double().abs().sum().item() for weight in model.parameters()),
    "scores": {row["label"]: row["score"] for row in classify(sound, top_k=None)},
    "rows": {name: list(numbers) for name, numbers in rows.items()},
    "stream": [row["number"] for row in stream],
}))
"""
CARD = """---
configs:
- config_name: all
  default: true
  data_files: data/*.parquet
- config_name: few
  data_files: data/train-00000-of-00002.parquet
---
"""


@pytest.mark.slow
def test_models_and_data_load_in_a_fresh_process(hub, tmp_path, tiny_config):
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

    from hf_ser.models import MelCNNConfig, MelCNNForAudioClassification, make_feature_extractor

    torch.manual_seed(0)
    fields = {name: value for name, value in tiny_config.items() if name != "model_type"}
    wav2vec2 = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**fields))
    signal = {"duration_s": 0.5, "n_mels": 24, "n_mfcc": 12, "channels": (8, 8), "kernel_sizes": (5, 3)}
    companion = MelCNNForAudioClassification(MelCNNConfig(**signal, hidden_size=8, num_labels=3)).eval()
    waveform = np.random.default_rng(0).normal(size=8000).astype(np.float32)
    np.save(tmp_path / "waveform.npy", waveform)
    api, shas = hub.api("hf_owner"), {}
    for name, model in {"wav2vec2": wav2vec2, "companion": companion}.items():
        for part in (model, make_feature_extractor()):
            part.save_pretrained(tmp_path / name)
        api.create_repo(f"owner/{name}", private=True)
        shas[name] = api.upload_folder(repo_id=f"owner/{name}", folder_path=tmp_path / name).oid
    api.delete_file("model.safetensors", "owner/wav2vec2")  # so that only the revision's own files will do
    (tmp_path / "data/data").mkdir(parents=True)
    for shard in range(2):
        table = pa.table({"number": list(range(10 * shard, 10 * shard + 10))})
        pq.write_table(table, tmp_path / f"data/data/train-{shard:05}-of-00002.parquet")
    (tmp_path / "data/README.md").write_text(CARD)
    api.create_repo("owner/data", repo_type="dataset", private=True)
    api.upload_folder(repo_id="owner/data", repo_type="dataset", folder_path=tmp_path / "data")

    hub.requests.clear()
    command = [sys.executable, "-I", "-c", _CHILD, shas["wav2vec2"], str(tmp_path / "waveform.npy")]
    environment = hub.environment(token="hf_reader")
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    weights = sum(weight.detach().double().abs().sum().item() for weight in wav2vec2.parameters())
    assert seen["weights"] == pytest.approx(weights)
    with torch.inference_mode():
        scores = companion(torch.from_numpy(waveform)[None]).logits[0].softmax(0).tolist()
    assert seen["scores"] == {f"LABEL_{number}": pytest.approx(score, abs=1e-3) for number, score in enumerate(scores)}
    assert seen["rows"] == {"all": list(range(20)), "few": list(range(10))} and seen["stream"] == list(range(20))
    assert not any("authorization" in request.headers for request in hub.requests if request.server == "storage")
