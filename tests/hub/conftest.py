"""The Hub to test against, running and empty."""

import shutil
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
