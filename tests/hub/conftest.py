"""The Hub to test against, running and empty, and the recipe that pushes to it."""

import logging
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from model_folders import make_model


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def model_dir(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "tiny"))


@pytest.fixture
def data_dir(dataset_dir, tmp_path):
    return Path(shutil.copytree(dataset_dir, tmp_path / "dataset"))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A running `HubServer` that huggingface_hub in this process may talk to, with an empty cache.

    Clients wait before they try again; here they do not, and `hub.naps` has the seconds that they would have waited.
    """
    import huggingface_hub
    from hub_server import HubServer
    from huggingface_hub import constants

    server = HubServer(tmp_path)
    server.naps = []
    clock = SimpleNamespace(sleep=server.naps.append)
    for module in (huggingface_hub.utils._http, huggingface_hub.file_download):
        monkeypatch.setattr(module, "time", clock)
    template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    changes = {"HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True, "HF_HUB_CACHE": str(tmp_path / "hub_cache")}
    changes |= {"ENDPOINT": server.endpoint, "HUGGINGFACE_CO_URL_TEMPLATE": template}
    for name, value in changes.items():
        monkeypatch.setattr(constants, name, value)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    huggingface_hub.close_session()  # it has read the proxies
    server.start()
    yield server
    huggingface_hub.close_session()
    server.stop()
    assert not server.errors, "\n".join(server.errors)


@pytest.fixture
def push(hub, load_recipe, monkeypatch, capsys, caplog):
    """Run `recipes/push.py` as from a command line; returns exit code, stdout and the errors' lines.

    Whatever is run, its token stands in nothing that it said or pushed.
    """
    from hf_ser.arguments import run

    recipe = load_recipe("push")
    caplog.set_level(logging.DEBUG)

    def run_it(*words, token="hf_owner"):
        if token:
            monkeypatch.setenv("HF_TOKEN", token)
        monkeypatch.setattr(sys, "argv", ["push.py", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run(recipe.main)
        out, err = capsys.readouterr()
        if token:
            assert token not in out + err + caplog.text
            for repo in hub.repos.values():
                for commit in repo.commits.values():
                    assert not any(token.encode() in blob.content for blob in commit.files.values())
                    assert token not in commit.title + commit.message
        return ended.value.code, out, re.findall("error: .*", err)  # bars may stand before one

    return run_it


@pytest.fixture
def call(push):
    """Push a folder, by default with the owner's token."""
    return lambda folder, *words, repository="owner/tiny", **options: push(
        "--folder", folder, "--repository", repository, "--dry_run", "false", *words, **options
    )
