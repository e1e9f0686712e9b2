"""A demo as a Space: planned without a network, pushed in one commit, fetched into a clean folder, started, asked."""

import importlib.metadata
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests
import yaml
from gradio_client import Client, handle_file
from huggingface_hub import SpaceCard
from huggingface_hub.errors import HfHubHTTPError
from packaging.requirements import Requirement

SPACE, MODEL = "owner/demo", "owner/tiny"
TOKEN = "hf_owner"


@pytest.fixture
def call(push):
    """Plan or push a Space."""

    def run_it(*words, models=(MODEL,), token=TOKEN):
        return push("--models", *models, "--repository", SPACE, *words, token=token)

    return run_it


@pytest.fixture
def model(hub, made):
    """The commit of a model that is on the Hub, for everybody."""
    api = hub.api(TOKEN)
    api.create_repo(MODEL)
    return api.upload_folder(repo_id=MODEL, folder_path=made).oid


def files(hub):
    repo = hub.stored(SPACE, "spaces")
    return {path: blob.content for path, blob in repo.head.files.items() if path != ".gitattributes"}


def test_a_dry_run_shows_everything_and_asks_nobody(call, hub):
    code, out, errors = call(models=(MODEL, "owner/other@v1"))
    assert (code, errors, hub.requests) == (0, [], [])
    assert f"{SPACE}: space, private, " in out and "No files were sent." in out
    for place in ("app.py", "requirements.txt", "hf_ser/demo/app.py", "hf_ser/remote_code/hybrid.py"):
        assert re.search(rf" k?B  {place}\n", out), place
    for name in ("angry_woman.flac", "LICENSE", "README.md"):
        assert re.search(rf" k?B  examples/{name}\n", out), name
    assert re.search(r"\| `owner/tiny` +\| `main` +\|", out) and re.search(r"\| `owner/other` +\| `v1` +\|", out)
    assert "revisions are replaced by commits when the Space is pushed" in out
    assert f"sdk_version: {importlib.metadata.version('gradio')}" in out and "AI Act" in out


def test_without_models_the_space_has_the_one_of_the_package(push, hub):
    code, out, errors = push("--kind", "space", "--repository", SPACE)
    assert (code, errors, hub.requests) == (0, [], [])
    for name in ("config.json", "model.safetensors", "LICENSE", "SHA256SUMS"):
        assert re.search(rf" [kM]?B  hf_ser/pretrained/{name}\n", out), name
    assert "the Space contains hf_ser/pretrained, whose licence is CC BY-NC-SA 4.0" in out
    assert "\nlicense: cc-by-nc-sa-4.0\n" in out and "acted English speech, 8 emotions, UAR 0." in out
    assert "\nmodels:" not in out
    assert push("--kind", "space", "--repository", SPACE, "--dry_run", "false", token=TOKEN)[0] == 0
    assert "MODELS = {}" in files(hub)["app.py"].decode() and "hf_ser/pretrained/model.safetensors" in files(hub)


def test_a_space_of_other_models_leaves_the_one_of_the_package_out(call):
    assert "hf_ser/pretrained" not in call()[1]


def test_a_space_goes_in_one_commit_with_its_models_pinned(call, hub, model):
    hub.api(TOKEN).create_tag(MODEL, tag="v1")
    hub.api(TOKEN).upload_file(path_or_fileobj=b"later", path_in_repo="later.txt", repo_id=MODEL)
    code, out, errors = call("--dry_run", "false", models=(f"{MODEL}@v1",))
    assert (code, errors) == (0, [])
    repo, seen = hub.stored(SPACE, "spaces"), files(hub)
    assert repo.private and repo.head.parent == repo.history("main")[-1].sha
    assert f"Pushed to {hub.endpoint}/spaces/{SPACE}\nRevision {repo.head.sha}" in out
    assert "is private" not in out and hub.api(TOKEN).space_info(SPACE).sdk == "gradio"
    assert f'"{MODEL}": "{model}"' in seen["app.py"].decode() and model in seen["README.md"].decode()
    card = SpaceCard(seen["README.md"].decode()).data.to_dict()
    expected = {"sdk": "gradio", "app_file": "app.py", "models": [MODEL], "license": "apache-2.0", "pinned": False}
    assert expected.items() <= card.items() and card["sdk_version"] == importlib.metadata.version("gradio")
    assert not any("download" in path or "__pycache__" in path for path in seen)
    requirements = [Requirement(line) for line in seen["requirements.txt"].decode().splitlines()]
    names = {requirement.name for requirement in requirements}
    assert {"gradio", "torch", "transformers", "soundfile"} <= names and not names & {"ruff", "pytest", "hf-ser"}
    assert not any(requirement.url or requirement.marker or requirement.extras for requirement in requirements)
    assert call("--dry_run", "false", models=(f"{MODEL}@v1",))[0] == 0
    assert repo.head.parent == repo.history("main")[-1].sha, "the same again is no new commit"
    assert call("--dry_run", "false")[0] == 0 and len(repo.history("main")) == 3
    assert f'"{MODEL}": "{hub.stored(MODEL).head.sha}"' in files(hub)["app.py"].decode()


def test_what_an_older_push_left_goes_and_what_a_person_added_stays(call, hub, model):
    assert call("--dry_run", "false")[0] == 0
    api = hub.api(TOKEN)
    for path in ("hf_ser/demo/old.py", "LICENSE"):
        api.upload_file(path_or_fileobj=b"x", path_in_repo=path, repo_id=SPACE, repo_type="space")
    assert call("--dry_run", "false")[0] == 0
    assert "hf_ser/demo/old.py" not in files(hub) and "LICENSE" in files(hub)


def test_a_private_model_asks_for_a_secret(call, hub, model):
    hub.stored(MODEL).private = True
    code, out, _ = call("--dry_run", "false")
    assert code == 0 and f"{MODEL} is private: give the Space a secret HF_TOKEN" in out


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (["owner/absent"], "--models owner/absent: the Hub has no such model"),
        ([f"{MODEL}@v9"], f"--models {MODEL}@v9: the model has no such revision"),
        ([MODEL, f"{MODEL}@main"], f"--models names {MODEL} twice"),
        (["owner/empty"], "--models owner/empty@main has no config.json, preprocessor_config.json"),
        (["tiny"], "--models tiny has no owner; expected OWNER/tiny."),
        ([MODEL, "../x"], "--models ../x: Repo id must use"),
    ],
)
def test_models_that_cannot_be_are_refused_before_anything_is_made(call, hub, model, models, message):
    hub.api(TOKEN).create_repo("owner/empty")
    code, out, errors = call("--dry_run", "false", models=models)
    assert code == 2 and len(errors) == 1 and message in errors[0] and ("spaces", SPACE) not in hub.repos


def test_a_hub_that_cannot_be_asked_is_one_line(call, hub, model):
    hub.fail("GET /api/models/", status=500)
    code, _, errors = call("--dry_run", "false")
    assert code == 2 and f"--models {MODEL}: the Hub cannot be reached (HfHubHTTPError)" in errors[0]


def test_cards_of_spaces_are_checked_by_the_hub(hub):
    api = hub.api(TOKEN)
    api.create_repo(SPACE, repo_type="space", space_sdk="gradio")
    assert api.space_info(SPACE).sdk == "gradio"
    for wrong in ({"sdk": "abacus"}, {"sdk": "gradio", "colorFrom": "mauve"}, {"sdk": "gradio", "sdk_version": 6.1}):
        card = SpaceCard(f"---\n{yaml.safe_dump(wrong)}---\n", ignore_metadata_errors=True)
        with pytest.raises(ValueError, match="must be"):
            card.validate(repo_type="space")
        with pytest.raises((HfHubHTTPError, ValueError)):
            api.upload_file(
                path_or_fileobj=str(card).encode(), path_in_repo="README.md", repo_id=SPACE, repo_type="space"
            )


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(url, process, log):
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.2)
    raise AssertionError(f"nothing answers at {url}: {log.read_text()}")


def _hear_ctrl_c():
    """Shells start background jobs, and so what these start, with Ctrl-C ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
def test_a_fetched_space_starts_and_answers(call, hub, model, tmp_path):
    """The page of a fresh process, in a folder that holds nothing but the Space, with an empty cache."""
    assert call("--dry_run", "false", "--private", "false")[0] == 0
    folder, log = tmp_path / "space", tmp_path / "log.txt"
    hub.api().snapshot_download(SPACE, repo_type="space", local_dir=folder)
    port = str(_free_port())
    environment = hub.environment() | {"GRADIO_SERVER_PORT": port, "GRADIO_TEMP_DIR": str(tmp_path / "uploads")}
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=folder,
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            preexec_fn=_hear_ctrl_c,
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}", process, log)
            client = Client(f"http://127.0.0.1:{port}", verbose=False, download_files=tmp_path / "downloads")
            example = folder / "examples" / "angry_woman.flac"
            answer = client.predict(handle_file(example), MODEL, api_name="/recognise")
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)
    assert "Sounds most like: " in answer and answer.partition("</table>")[0].count('<th scope="row" title=') == 3
    assert f"Model: {MODEL}. Trained on 70 recordings" in answer
    # Ctrl-C ends app.py, and where it was then tells whose source ran: the Space's own, not this checkout's.
    said = log.read_text()
    assert f'File "{folder}/hf_ser/demo/app.py"' in said and said.rstrip().endswith("KeyboardInterrupt")
    asked = [request for request in hub.requests if f"{MODEL}/resolve/" in request.path and request.status == 200]
    assert [request.path for request in asked if f"/resolve/{model}/" not in request.path] == []
