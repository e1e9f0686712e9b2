"""Pushes, from the command line to the Hub and back: whole or not at all, and never with the token in sight."""

import hashlib
import json
import re
import shutil

import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfApi, constants
from model_folders import contents, make_model

NAME = "owner/tiny"


def alter_summary(folder, **fields):
    path = folder / "preparation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return folder


def expect_whole(hub, folder, out):
    """All of the folder is there in one commit, and the recipe said which."""
    repo = hub.stored(NAME)
    seen = contents(hub)
    going = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert seen.keys() == going.keys() | {"README.md", "handler.py", "requirements.txt"}
    assert all(seen[path] == file.read_bytes() for path, file in going.items() if path != "README.md")
    assert f"Pushed to {hub.endpoint}/{NAME}\nRevision {repo.head.sha}" in out
    assert repo.head.parent == repo.history("main")[-1].sha


def expect_nothing_and_then_all(call, hub, folder):
    """Nothing was committed, and once the fault is over the same command goes through."""
    assert all(set(repo.head.files) == {".gitattributes"} for repo in hub.repos.values())
    hub.faults.clear()
    code, out, _ = call(folder)
    assert code == 0
    expect_whole(hub, folder, out)


# --- what is pushed ---------------------------------------------------------------------------------------------


def test_a_dry_run_shows_everything_and_asks_nobody(call, hub, model_dir):
    code, out, errors = call(model_dir, "--dry_run", "true", token=None)
    assert (code, errors, hub.requests) == (0, [], [])
    assert f"{NAME}: model, private, " in out and "No files were sent. Add --dry_run false" in out
    size = (model_dir / "model.safetensors").stat().st_size
    assert re.search(rf"{size / 1000:.1f} kB  model.safetensors\n", out)
    assert f'pipeline("audio-classification", model="{NAME}", trust_remote_code=True)' in out
    assert "license: cc-by-nc-sa-4.0" in out and "PATH_OR_ID" not in out


def test_a_model_goes_in_one_commit_to_a_private_repository(call, hub, model_dir):
    (model_dir / "checkpoint-5").mkdir()
    (model_dir / "checkpoint-5/optimizer.pt").write_bytes(b"state")
    (model_dir / "train.log").write_text("words")
    code, out, errors = call(model_dir, "--tag", "v1", "--message", "First words")
    assert (code, errors) == (0, []) and "Not pushed: checkpoint-5/, train.log\n" in out
    repo = hub.stored(NAME)
    shutil.rmtree(model_dir / "checkpoint-5")
    (model_dir / "train.log").unlink()
    expect_whole(hub, model_dir, out)
    assert repo.private and repo.head.title == "First words" and repo.tags == {"v1": repo.head.sha}
    assert f"Revision {repo.head.sha} (tag v1)" in out
    assert f'model="{NAME}", revision="{repo.head.sha}", trust_remote_code=True)' in out
    metadata = repo.head.card()
    assert metadata["pipeline_tag"] == "audio-classification" and metadata["license"] == "cc-by-nc-sa-4.0"
    assert metadata["model-index"][0]["name"] == "tiny"
    assert not any("authorization" in request.headers for request in hub.requests if request.server == "storage")


def test_a_new_push_is_a_commit_on_top_that_holds_this_folder_and_no_older_files(call, hub, model_dir):
    (model_dir / "booster.txt").write_text("trees")
    assert call(model_dir, "--tag", "v1")[0] == 0
    repo = hub.stored(NAME)
    first = repo.head.sha
    hub.api("hf_owner").upload_file(path_or_fileobj=b"mine", path_in_repo="LICENSE", repo_id=NAME)
    (model_dir / "booster.txt").unlink()
    (model_dir / "report.md").write_text("other words")
    code, out, _ = call(model_dir, "--tag", "v2")
    assert code == 0 and set(contents(hub)) == {*(set(contents(hub, revision="v1")) - {"booster.txt"}), "LICENSE"}
    assert contents(hub)["report.md"] == b"other words" and contents(hub)["LICENSE"] == b"mine"
    assert repo.tags == {"v1": first, "v2": repo.head.sha} and len(repo.history("main")) == 4
    uploads = len(hub.seen("PUT /storage"))
    code, out, _ = call(model_dir, "--tag", "v2")  # again: nothing new, and the tag stands where it should
    assert code == 0 and f"Revision {repo.head.sha} (tag v2)" in out
    assert len(repo.history("main")) == 4 and len(hub.seen("PUT /storage")) == uploads
    (model_dir / "report.md").write_text("third words")
    code, _, errors = call(model_dir, "--tag", "v1")
    assert code == 2 and "already has a tag v1" in errors[0] and len(repo.history("main")) == 4


def test_a_dataset_goes_privately_and_comes_back(call, hub, data_dir):
    code, out, errors = call(data_dir, repository="owner/data")
    assert (code, errors) == (0, [])
    repo = hub.stored("owner/data", "datasets")
    assert repo.private and f"Pushed to {hub.endpoint}/datasets/owner/data" in out
    assert f'load_dataset("owner/data", "all", revision="{repo.head.sha}")' in out
    seen = contents(hub, "owner/data", "datasets")
    assert {path for path in seen if path.endswith(".parquet")} == {
        f"data/{path.name}" for path in (data_dir / "data").iterdir()
    }
    card = seen["README.md"].decode()
    assert 'load_dataset("owner/data", "all")' in card and "PATH_OR_ID" not in card and "synthetic" in card
    assert repo.head.card()["configs"][0]["config_name"] == "all"


def test_open_corpora_go_publicly_with_their_licences(call, hub, data_dir):
    alter_summary(data_dir, synthetic=[])
    code, out, errors = call(data_dir, "--private", "false", repository="owner/data")
    assert (code, errors) == (0, []) and "dataset, PUBLIC" in out
    repo = hub.stored("owner/data", "datasets")
    assert not repo.private and repo.head.card()["license"] == ["cc-by-nc-sa-4.0", "odbl"]
    card = repo.head.files["README.md"].content.decode()
    assert "Livingstone SR, Russo FA (2018)" in card and "Cao H, Cooper DG" in card
    assert hub.api().dataset_info("owner/data").sha == repo.head.sha  # anybody sees it


def test_metadata_go_without_audio_and_with_the_splits(call, hub, data_dir):
    from datasets import load_dataset

    alter_summary(data_dir, synthetic=[])
    code, out, errors = call(data_dir, "--metadata_only", "true", "--private", "false", repository="owner/data")
    assert (code, errors) == (0, []) and "dataset, PUBLIC" in out
    repo = hub.stored("owner/data", "datasets")
    assert not repo.private and repo.head.card()["license"] == ["cc-by-nc-sa-4.0", "odbl"]
    assert "metadata-only" in repo.head.card()["tags"]
    card = repo.head.files["README.md"].content.decode()
    assert "**Metadata only, without audio**" in card and "FLAC" not in card and "`audio`" not in card
    stored = [blob.content for path, blob in repo.head.files.items() if path.endswith(".parquet")]
    assert stored and not any(b"fLaC" in content for content in stored)
    local = data_dir.parent / "local"
    for path, blob in repo.head.files.items():
        (local / path).parent.mkdir(parents=True, exist_ok=True)
        (local / path).write_bytes(blob.content)
    for name, column in (("all", "split_speaker_disjoint"), ("all-random", "split_random")):
        whole, bare = load_dataset(str(data_dir), name), load_dataset(str(local), name)
        for split, rows in bare.items():
            assert "audio" not in rows.features and set(rows[column]) == {split}
            assert rows.features["label"] == whole[split].features["label"]
            kept = whole[split].remove_columns("audio")
            assert {row["id"]: row["sha256"] for row in kept} == {row["id"]: row["sha256"] for row in rows}
    written = json.loads((local / "preparation.json").read_text())["files"]
    assert written == {path.name: path.stat().st_size for path in (local / "data").iterdir()}


# --- what is refused before anything is sent ----------------------------------------------------------------------


@pytest.mark.parametrize("corpus", ["tess", "savee"])
def test_closed_audio_never_becomes_public(call, hub, data_dir, corpus):
    path = sorted((data_dir / "data").glob("*.parquet"))[0]
    table = pq.read_table(path)
    place = table.schema.get_field_index("corpus")
    # One clip of it among all, and not a word of it in what preparation wrote.
    changed = table.set_column(place, "corpus", [[corpus, *table["corpus"].to_pylist()[1:]]])
    pq.write_table(changed, path)
    sizes = {path.name: path.stat().st_size for path in (data_dir / "data").iterdir()}
    alter_summary(data_dir, synthetic=[], files=sizes)
    code, _, errors = call(data_dir, "--private", "false", repository="owner/data")
    assert code == 2 and f"would publish audio of {corpus.upper()}" in errors[0] and hub.requests == []
    code, out, _ = call(data_dir, "--dry_run", "true", repository="owner/data")
    assert code == 0 and ("SAVEE's agreement" in out) == (corpus == "savee")
    code, out, _ = call(data_dir, "--private", "false", "--metadata_only", "true", repository="owner/data")
    assert code == 0 and ("license: other" in out) == (corpus == "savee")
    assert not any(b"fLaC" in blob.content for blob in hub.stored("owner/data", "datasets").head.files.values())
    # To the public repository that is there now, audio does not go under the word private.
    code, _, errors = call(data_dir, repository="owner/data")
    assert code == 2 and "is public on the Hub, but the push was planned for the opposite" in errors[0]


def test_synthetic_recordings_stay_private(call, hub, data_dir, tmp_path):
    model = make_model(tmp_path / "generated", synthetic=["ravdess"])
    for folder, name in ((data_dir, "owner/data"), (model, NAME)):
        code, _, errors = call(folder, "--private", "false", repository=name)
        assert code == 2 and "synthetic recordings (ravdess" in errors[0] and "Push privately" in errors[0]
        assert hub.requests == []
    code, out, _ = call(model)
    assert code == 0 and "trained-on-synthetic-recordings" in out and "**Trained and tested on synthetic" in out


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "results.json").unlink(), "has no results.json"),
        (lambda folder: (folder / "training_args.bin").write_bytes(b"x"), "is a pickle"),
        (
            lambda folder: (folder / "report.md").write_text("hf_" + "a" * 34),
            "report.md contains a Hugging Face token",
        ),
        (lambda folder: (folder / "report.md").write_text("my hf_owner"), "report.md contains your Hub token"),
        (lambda folder: (folder / "report.md").write_text("/home/ann/x"), "contains the local path /home/ann/x"),
    ],
)
def test_folders_that_must_not_leave_do_not(call, hub, model_dir, damage, message):
    damage(model_dir)
    code, out, errors = call(model_dir)
    assert code == 2 and message in errors[0] and hub.requests == []


def test_a_token_in_the_message_is_found(call, hub, model_dir):
    (code, out, errors) = call(model_dir, "--message", "by hf_" + "b" * 34)
    assert code == 2 and "--message contains a Hugging Face token" in errors[0] and hub.requests == []


def test_a_card_that_the_hub_does_not_take_makes_nothing(call, hub, data_dir, monkeypatch):
    from hf_ser.hub import push_plan

    monkeypatch.setattr(push_plan, "dataset_card", lambda *_, **__: "---\nlicense: mit\ntags: [\n---\nWords\n")
    code, _, errors = call(data_dir, repository="owner/data")
    assert code == 2 and "README.md" in errors[0] and hub.requests == []
    monkeypatch.setattr(push_plan, "check_card", lambda *_: None)
    hub.fail("validate-yaml", status=400)
    monkeypatch.setattr(push_plan, "dataset_card", lambda *_, **__: "---\nlicense: mit\n---\nWords\n")
    code, _, errors = call(data_dir, repository="owner/data")
    assert code == 2 and "rejects the card's metadata" in errors[0] and hub.repos == {}


# --- what the Hub refuses -----------------------------------------------------------------------------------------


def test_no_token_and_no_network_are_told_at_once(call, hub, model_dir, monkeypatch):
    code, out, errors = call(model_dir, token=None)
    assert (
        code == 2 and "no Hub token" in errors[0] and "hf auth login" in errors[0] and out == "" and not hub.requests
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    code, out, errors = call(model_dir)
    assert code == 2 and "HF_HUB_OFFLINE is set" in errors[0] and not hub.requests


@pytest.mark.parametrize(
    ("token", "repository", "message"),
    [
        ("hf_wrong", NAME, "rejects the token (HTTP 401)"),
        ("hf_reader", NAME, "has no write access to owner/tiny (HTTP 403)"),
        ("hf_stranger", NAME, "has no write access to owner/tiny (HTTP 403)"),
        ("hf_owner", "elsewhere/tiny", "has no write access to elsewhere/tiny (HTTP 403)"),
    ],
)
@pytest.mark.parametrize("there", [None, "private", "public"])
def test_tokens_that_may_not_write_make_nothing(call, hub, model_dir, token, repository, message, there):
    if there and repository == NAME:
        hub.api("hf_owner").create_repo(NAME, private=there == "private")
    words = ["--private", "false"] if there == "public" else []
    code, _, errors = call(model_dir, *words, repository=repository, token=token)
    assert code == 2 and message in errors[0] and "Traceback" not in errors[0]
    assert re.search("No (files were sent|commit was made)", errors[0])
    assert all(len(repo.history("main")) == 1 and not repo.objects for repo in hub.repos.values())


def test_a_name_that_is_something_else_is_refused(call, hub, model_dir, data_dir):
    api = hub.api("hf_owner")
    api.create_repo(NAME, repo_type="dataset")
    code, _, errors = call(model_dir)
    assert code == 2 and f"{NAME} is a dataset on the Hub, and this is a model" in errors[0]
    assert ("models", NAME) not in hub.repos
    api.create_repo("owner/mine", private=True)
    api.upload_file(path_or_fileobj=b"{}", path_in_repo="config.json", repo_id="owner/mine")
    code, _, errors = call(model_dir, repository="owner/mine")
    assert code == 2 and "was not pushed by a recipe" in errors[0]
    assert contents(hub, "owner/mine") == {"config.json": b"{}"}
    api.create_repo("owner/public")
    code, _, errors = call(model_dir, repository="owner/public")
    assert code == 2 and "is public on the Hub" in errors[0] and "--private false" in errors[0]
    code, _, errors = call(model_dir, "--private", "false", repository="owner/mine")
    assert code == 2 and "is private on the Hub" in errors[0] and "--private true" in errors[0]


def test_a_repository_made_by_hand_is_pushed_to(call, hub, model_dir):
    api = hub.api("hf_owner")
    api.create_repo(NAME, private=True)
    api.upload_file(path_or_fileobj=b"# mine\n", path_in_repo="README.md", repo_id=NAME)
    assert call(model_dir)[0] == 0 and b"## Results" in contents(hub)["README.md"]


@pytest.mark.parametrize(
    "place", ["/api/validate-yaml", "/api/repos/create", "/preupload/", "objects/batch", "/commit/"]
)
@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "rejects the token"),
        (403, "has no write access"),
        (409, "another push has just created"),
        (412, "was changed during the push"),
        (429, "too many requests"),
        (500, "has an internal error (HTTP 500)"),
        (418, "the Hub rejects the request (HTTP 418)"),
    ],
)
def test_every_refusal_is_told_and_the_same_command_goes_on(call, hub, model_dir, place, status, message):
    hub.fail(place, times=None, status=status)
    code, _, errors = call(model_dir)
    assert code == 2 and message in errors[0] and re.search("No (files were sent|commit was made)", errors[0])
    expect_nothing_and_then_all(call, hub, model_dir)


def test_somebody_elses_commit_meanwhile_is_not_overwritten(call, hub, model_dir, monkeypatch):
    from hf_ser.hub import push

    assert call(model_dir)[0] == 0
    (model_dir / "report.md").write_text("other")
    opened = push._open_repository

    def racing(api, plan, args):
        seen = opened(api, plan, args)
        api.upload_file(path_or_fileobj=b"theirs", path_in_repo="report.md", repo_id=NAME)
        return seen

    monkeypatch.setattr(push, "_open_repository", racing)
    code, _, errors = call(model_dir)
    assert code == 2 and "was changed during the push" in errors[0]
    assert contents(hub)["report.md"] == b"theirs"


# --- what breaks on the way ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["/api/validate-yaml", "/api/models/owner/tiny", "/preupload/", "/commit/"])
def test_a_broken_connection_commits_nothing(call, hub, model_dir, place):
    hub.fail(place, times=None, cut_after=10)
    code, _, errors = call(model_dir)
    assert code == 2 and "cannot be reached, or the connection broke" in errors[0]
    assert re.search("No (files were sent|commit was made)", errors[0]) and "signature" not in errors[0]
    expect_nothing_and_then_all(call, hub, model_dir)


def test_no_hub_at_all(call, hub, model_dir, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    code, _, errors = call(model_dir)
    assert code == 2 and "http://127.0.0.1:9 cannot be reached" in errors[0] and "No files were sent" in errors[0]


def test_an_upload_that_breaks_off_goes_on_with_what_is_left(call, hub, model_dir):
    weights = (model_dir / "model.safetensors").read_bytes()
    hub.fail(f"PUT /storage/{hashlib.sha256(weights).hexdigest()}", times=None, cut_after=1000)
    code, _, errors = call(model_dir)
    assert code == 2 and "No commit was made: run the same command again" in errors[0]
    assert "signature" not in errors[0] and "/storage/" not in errors[0]
    repo = hub.stored(NAME)
    arrived = set(repo.objects)
    assert set(repo.head.files) == {".gitattributes"} and arrived
    hub.faults.clear()
    hub.requests.clear()
    code, out, _ = call(model_dir)
    assert code == 0
    expect_whole(hub, model_dir, out)
    sent = {re.search("[0-9a-f]{64}", request.path)[0] for request in hub.seen("PUT /storage")}
    assert hashlib.sha256(weights).hexdigest() in sent and not sent & arrived


def test_what_xet_raises_is_told_without_its_addresses(call, hub, model_dir, monkeypatch):
    def failing(*_, **__):
        raise RuntimeError("Data processing error: https://storage/x?signature=secret")

    monkeypatch.setattr(HfApi, "create_commit", failing)
    code, _, errors = call(model_dir)
    assert code == 2 and "the connection broke (RuntimeError)" in errors[0] and "secret" not in errors[0]


def test_a_storage_that_fails_once_is_no_failure(call, hub, model_dir):
    hub.fail("PUT /storage/", times=2, status=500)
    code, out, _ = call(model_dir)
    assert code == 0
    expect_whole(hub, model_dir, out)


def test_a_commit_whose_answer_was_lost_is_found(call, hub, model_dir):
    fault = hub.fail("/commit/", lose_answer=True)
    code, out, _ = call(model_dir, "--tag", "v1")
    assert code == 0 and fault.hits == 1
    expect_whole(hub, model_dir, out)
    assert hub.stored(NAME).tags == {"v1": hub.stored(NAME).head.sha}


def test_what_was_created_before_the_answer_was_lost_is_taken_up(call, hub, model_dir):
    hub.fail("/api/repos/create", lose_answer=True)
    assert call(model_dir)[0] == 2
    code, out, _ = call(model_dir)
    assert code == 0
    expect_whole(hub, model_dir, out)


def test_a_tag_that_fails_is_told_and_added_by_the_same_command(call, hub, model_dir):
    hub.fail("POST .*/tag/", times=None, status=500)
    code, _, errors = call(model_dir, "--tag", "v1")
    repo = hub.stored(NAME)
    assert code == 2 and f"are on the Hub as {repo.head.sha}, without the tag" in errors[0]
    hub.faults.clear()
    code, out, _ = call(model_dir, "--tag", "v1")
    assert code == 0 and repo.tags == {"v1": repo.head.sha} and len(repo.history("main")) == 2
