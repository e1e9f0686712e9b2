"""A static page as a Space: pushed in one commit, with the settings of its README."""

import json

import pytest
from huggingface_hub import SpaceCard

SPACE = "owner/page"
TOKEN = "hf_owner"


@pytest.fixture
def page_dir(tmp_path):
    """The files of a page, written with a small graph and a small onnxruntime-web in place of the real ones."""
    from hf_ser.web import static_page

    metadata = {"labels": ["happy", "sad"], "sampling_rate": 16_000, "max_input_s": None, "name": "tiny"}
    metadata |= {"licence": "cc-by-4.0", "synthetic": False}
    runtime = {"ort.js": b"// script", "ort.wasm.gz": b"\x1f\x8b"}
    folder = tmp_path / "page"
    folder.mkdir()
    for name, content in static_page._contents(b"graph", runtime, metadata, ["Trained on nothing."]).items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def call(push, page_dir):
    return lambda *words, **options: push("--folder", page_dir, "--repository", SPACE, *words, **options)


def test_a_page_goes_in_one_commit_as_a_static_space(call, hub, page_dir):
    code, out, errors = call()
    assert (code, errors, hub.requests) == (0, [], [])
    assert f"{SPACE}: space, private, " in out and "the page contains the model, whose licence is cc-by-4.0." in out
    assert call("--dry_run", "false", token=TOKEN)[0] == 0
    repo = hub.stored(SPACE, "spaces")
    seen = {path: blob.content for path, blob in repo.head.files.items() if path != ".gitattributes"}
    assert seen == {path.name: path.read_bytes() for path in page_dir.iterdir()}
    assert hub.api(TOKEN).space_info(SPACE).sdk == "static"
    card = SpaceCard(seen["README.md"].decode()).data.to_dict()
    assert {"sdk": "static", "title": "tiny", "license": "cc-by-4.0"}.items() <= card.items()
    assert "Trained on nothing." in seen["README.md"].decode() and "AI Act" in seen["README.md"].decode()
    before = len(repo.history("main"))
    assert call("--dry_run", "false", "--kind", "space", token=TOKEN)[0] == 0
    assert len(repo.history("main")) == before, "the same again is no new commit"


def test_files_of_an_older_page_go_and_those_of_a_person_stay_away(call, hub, page_dir):
    assert call("--dry_run", "false", token=TOKEN)[0] == 0
    hub.api(TOKEN).upload_file(path_or_fileobj=b"x", path_in_repo="old.js", repo_id=SPACE, repo_type="space")
    (page_dir / "notes.json").write_text("{}")
    code, out, _ = call("--dry_run", "false", token=TOKEN)
    files = hub.stored(SPACE, "spaces").head.files
    assert code == 0 and "Not pushed: notes.json" in out and "old.js" not in files and "notes.json" not in files


def test_incomplete_pages_and_public_ones_of_synthetic_models_are_rejected(call, hub, page_dir):
    settings = json.loads((page_dir / "page.json").read_text())
    settings["model"]["synthetic"] = True
    (page_dir / "page.json").write_text(json.dumps(settings))
    code, _, errors = call("--private", "false")
    assert code == 2 and "would publish a page with a model that was trained on synthetic recordings" in errors[0]
    assert "--metadata_only true is for datasets, but this is a page" in call("--metadata_only", "true")[2][0]
    assert "--kind model, but" in call("--kind", "model")[2][0]
    (page_dir / "worker.js").unlink()
    code, _, errors = call("--dry_run", "false", token=TOKEN)
    assert code == 2 and "has no worker.js; expected a complete page. Write it again." in errors[0]
    assert ("spaces", SPACE) not in hub.repos
