"""What may leave a folder: whole models and datasets, and neither pickles nor secrets nor paths of this machine."""

import json
import pickle
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_ser.errors import SerError
from hf_ser.hub import push_checks
from hf_ser.hub.push_checks import (
    FolderError,
    Outgoing,
    check_contents,
    check_dataset,
    check_model,
    find_kind,
    sort_files,
)


def model_files(folder):
    return [file.path for file in sort_files(folder, "model")[0]]


# --- which files go ---------------------------------------------------------------------------------------------


def test_the_kind_is_found(model_dir, data_dir, tmp_path):
    assert (find_kind(model_dir), find_kind(data_dir)) == ("model", "dataset")
    with pytest.raises(FolderError, match="no such folder"):
        find_kind(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FolderError, match="neither a model .* nor a prepared dataset"):
        find_kind(tmp_path / "empty")
    (model_dir / "config.json").unlink()
    with pytest.raises(FolderError, match="results without a model"):
        find_kind(model_dir)
    (data_dir / "config.json").write_text("{}")
    with pytest.raises(FolderError, match="both a model and a dataset"):
        find_kind(data_dir)


def test_what_a_run_leaves_goes_and_the_rest_stays(model_dir):
    nested = "out_of_fold/audio_cnn/random_seed_0/nested_1_of_4/checkpoint-3/optimizer.pt"
    left_out = ("checkpoint-5/optimizer.pt", "checkpoint-5/training_args.bin", nested)
    for name in (*left_out, "runs/events.1", "train.log", ".part"):
        (model_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (model_dir / name).write_bytes(pickle.dumps([1]) if "checkpoint" in name else b"words")
    for name in ("booster.txt", "importances.csv", "settings.json", "figures/roc_test.svg", "figures/notes.txt"):
        (model_dir / name).write_text("words")
    files, left = sort_files(model_dir, "model")
    going = {file.path for file in files}
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "mel_cnn.py", "results.json"} <= going
    assert {"report.md", "training_history.json", "predictions_test.parquet", "splits.csv", "booster.txt"} <= going
    assert {"importances.csv", "figures/confusion_test.png", "figures/roc_test.svg"} <= going
    assert left == [".part", "checkpoint-5/", "figures/", "out_of_fold/", "runs/", "settings.json", "train.log"]
    assert not [name for name in going if "checkpoint" in name or name.startswith((".", "runs", "settings"))]


@pytest.mark.parametrize("name", ["archive", "results.json", "training_args.bin", "sub/forest.joblib", "notes"])
def test_pickles_are_refused_whatever_they_are_called(model_dir, name):
    path = model_dir / name
    path.parent.mkdir(exist_ok=True)
    if name == "archive":
        torch.save({"a": torch.zeros(2)}, path)
    elif path.suffix in (".bin", ".joblib"):
        path.write_bytes(b"anything")
    else:
        path.write_bytes(pickle.dumps({"a": [1, 2]}, protocol=2 if name == "notes" else 5))
    with pytest.raises(FolderError, match=rf"{name} is a pickle, which runs code .* model\.safetensors"):
        sort_files(model_dir, "model")


def test_weights_whose_first_bytes_look_like_a_pickle_are_none(tmp_path):
    header = json.dumps({"__metadata__": {"a": "b" * 600}}).encode().ljust(0x0280)
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert (tmp_path / "model.safetensors").read_bytes()[:2] == b"\x80\x02"
    assert [file.path for file in sort_files(tmp_path, "model")[0]] == ["model.safetensors"]


@pytest.mark.parametrize("name", [".env", ".env.local", ".netrc", "sub/id_rsa", "server.pem"])
def test_files_where_secrets_lie_are_refused(model_dir, name):
    (model_dir / name).parent.mkdir(exist_ok=True)
    (model_dir / name).write_text("A=1")
    with pytest.raises(FolderError, match="usually holds secrets"):
        sort_files(model_dir, "model")


# --- whole models -----------------------------------------------------------------------------------------------


def test_a_whole_model_passes(model_dir):
    assert check_model(model_dir, model_files(model_dir))["name"] == "tiny"
    check_contents(sort_files(model_dir, "model")[0])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("results.json", "has no results.json"),
        ("preprocessor_config.json", "has no preprocessor_config.json"),
        ("model.safetensors", "has no model.safetensors"),
        ("mel_cnn.py", "has no mel_cnn.py, which config.json refers to"),
        ("log_mel.py", "has no log_mel.py, which .*py refers to"),
    ],
)
def test_what_is_missing_is_named(model_dir, name, message):
    (model_dir / name).unlink()
    with pytest.raises(SerError, match=message):
        check_model(model_dir, model_files(model_dir))


def test_weights_that_lack_the_head_or_do_not_fit_are_refused(model_dir):
    path = model_dir / "model.safetensors"
    weights = load_file(path)
    heads = [name for name in weights if name.startswith("classifier")]
    save_file({name: weight for name, weight in weights.items() if name not in heads}, path, {"format": "pt"})
    with pytest.raises(FolderError, match="--folder .* lacks .* weights .*classifier"):
        check_model(model_dir, model_files(model_dir))
    save_file(weights | {heads[0]: torch.zeros(7, 7)}, path, {"format": "pt"})
    with pytest.raises(FolderError, match="classifier|do not fit"):
        check_model(model_dir, model_files(model_dir))
    save_file(weights, path, {"format": "pt"})
    check_model(model_dir, model_files(model_dir))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(FolderError, match="do not fit config.json or are broken|--folder"):
        check_model(model_dir, model_files(model_dir))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "evaluation"}, "of kind evaluation .* expected a training"),
        ({"splits": {}}, "with 0 scored splits"),
        ({"dataset": {}}, "does not follow its schema at dataset"),
    ],
)
def test_results_of_another_kind_are_refused(model_dir, change, message):
    results = json.loads((model_dir / "results.json").read_text())
    (model_dir / "results.json").write_text(json.dumps(results | change))
    with pytest.raises(SerError, match=message):
        check_model(model_dir, model_files(model_dir))


def test_results_of_another_model_are_refused(model_dir):
    text = (model_dir / "results.json").read_text()
    (model_dir / "results.json").write_text(text.replace('"sad"', '"bored"'))
    with pytest.raises(FolderError, match="scores of bored, which are not labels in config.json"):
        check_model(model_dir, model_files(model_dir))
    (model_dir / "results.json").write_text("{")
    with pytest.raises(SerError, match="is not valid JSON"):
        check_model(model_dir, model_files(model_dir))


# --- whole datasets ---------------------------------------------------------------------------------------------


def test_the_corpora_of_a_dataset_are_read_from_its_clips(data_dir):
    summary = json.loads((data_dir / "preparation.json").read_text())
    (data_dir / "preparation.json").write_text(json.dumps(summary | {"corpora": ["crema_d"], "synthetic": []}))
    assert check_dataset(data_dir)[1] == ["crema_d", "ravdess"]


def test_a_dataset_that_is_not_as_it_was_prepared_is_refused(data_dir):
    paths = sorted((data_dir / "data").glob("*.parquet"))
    content = paths[0].read_bytes()
    paths[0].unlink()
    with pytest.raises(FolderError, match="missing, new or of another size"):
        check_dataset(data_dir)
    paths[0].write_bytes(bytes(len(content)))
    with pytest.raises(FolderError, match="cannot be read"):
        check_dataset(data_dir)
    paths[0].write_bytes(content)
    (data_dir / "data/more.parquet").write_bytes(content)
    with pytest.raises(FolderError, match=r"missing, new or of another size: more\.parquet"):
        check_dataset(data_dir)
    (data_dir / "data/more.parquet").unlink()
    (data_dir / "README.md").unlink()
    with pytest.raises(FolderError, match=r"has no README\.md"):
        check_dataset(data_dir)
    (data_dir / "preparation.json").write_text("{}")
    with pytest.raises(FolderError, match="is missing or invalid"):
        check_dataset(data_dir)


# --- what no file may hold --------------------------------------------------------------------------------------

TOKEN = "hf_" + "aB3" * 12
SECRETS = {
    TOKEN: "a Hugging Face token",
    "-----BEGIN OPENSSH PRIVATE KEY-----": "a private key",
    "AKIA" + "ABCD" * 4: "an AWS key",
    "aws_secret_access_key = " + "a1B/" * 10: "an AWS key",
    "ghp_" + "a1" * 20: "a GitHub token",
    "sk-" + "a1" * 24: "an API key",
    "https://me:secret@example.org/x": "a password in an address",
}


def _table(text):
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": ["a", text], "p": [0.5, 0.5]}), buffer)
    return buffer.getvalue().to_pybytes()


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("path", ["config.json", "layers.py", "splits.csv", "predictions_test.parquet", "x.svg"])
def test_secrets_are_found_and_not_shown(secret, path):
    content = _table(secret) if path.endswith(".parquet") else f"words\n{secret}\nwords".encode()
    with pytest.raises(FolderError, match=f"{path} contains {SECRETS[secret]}; expected no secret") as caught:
        check_contents([Outgoing("README.md", b"words"), Outgoing(path, content)])
    assert secret not in str(caught.value) and secret[:12] not in str(caught.value)


def test_secrets_are_found_in_the_notes_of_weights_and_pictures(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors", {"format": "pt", "by": TOKEN})
    with pytest.raises(FolderError, match="model.safetensors contains a Hugging Face token"):
        check_contents([Outgoing("model.safetensors", tmp_path / "model.safetensors")])
    with pytest.raises(FolderError, match="contains a Hugging Face token"):
        check_contents([Outgoing("x.png", b"\x89PNG....tEXtComment\0" + TOKEN.encode() + b"\0\0")])
    (tmp_path / "model.safetensors").write_bytes(b"half")
    with pytest.raises(FolderError, match="cannot be read as safetensors"):
        check_contents([Outgoing("model.safetensors", tmp_path / "model.safetensors")])


def test_the_persons_own_token_is_found_whatever_it_looks_like():
    with pytest.raises(FolderError, match="config.json contains your Hub token") as caught:
        check_contents([Outgoing("config.json", b'{"a": "unusual-one"}')], {"your Hub token": "unusual-one"})
    assert "unusual" not in str(caught.value)
    check_contents([Outgoing("config.json", b"{}")], {"your Hub token": ""})


@pytest.mark.parametrize(
    "path",
    [
        "/home/ann/data/emotions",
        "/root/x",
        "/Users/ann/My Music/a.wav",
        "/tmp/pytest-1/model",
        "~/models/base",
        "C:\\\\Users\\\\ann\\\\model",
        "file:///srv/x",
        "/mnt/disk/ravdess",
    ],
)
@pytest.mark.parametrize("frame", ['{{"_name_or_path": "{}"}}', "see `{}`", "a,{},b"])
def test_paths_of_a_machine_are_refused_and_shown(path, frame):
    with pytest.raises(FolderError, match="config.json contains the local path") as caught:
        check_contents([Outgoing("config.json", frame.format(path).encode())])
    assert path.split()[0].rstrip("\\") in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "https://huggingface.co/home/x and http://a.org/tmp/b",
        "data/emotions, runs/x/home/y, ../shared/tmp/corpora, ./work/x",
        "3/4, and/or, 1/home, a/content/b",
        "hf_ser and hf_hub and hf_token_of_nobody, skip-sk-1",
        "https://doi.org/10.1371/journal.pone.0196391",
        "~/, C: and D:\\",
    ],
)
def test_what_is_no_secret_and_no_path_passes(text):
    check_contents([Outgoing("README.md", text.encode())])


def test_the_working_directory_is_a_local_path(tmp_path, monkeypatch):
    folder = tmp_path / "one"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(push_checks, "_LOCAL_PATH", push_checks.re.compile(b"(?!)"))
    with pytest.raises(FolderError, match="contains the local path .*one; expected no local path"):
        check_contents([Outgoing("config.json", json.dumps({"a": str(folder / "b")}).encode())])


def test_hashes_are_the_hubs(tmp_path):
    (tmp_path / "a").write_bytes(b"hello\n")
    for file in (Outgoing("a", b"hello\n"), Outgoing("a", tmp_path / "a")):
        assert file.has("ce013625030ba8dba906f756967f9e9ca394464a")  # git hash-object
        assert file.has("5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03")
        assert not file.has(None) and not file.has("0" * 40) and file.size == 6 and file.read(2) == b"he"
