"""What was pushed loads again by the lines that the push printed and by those on the card."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch
from model_folders import LABELS, contents, make_model

_CHILD = """
import json, sys
import numpy as np

(lines, examples), waveform = json.load(open(sys.argv[1])), np.load(sys.argv[2])
sound, seen = {"raw": waveform, "sampling_rate": 16_000}, {}
for example in examples:
    exec(example, {})
for name, line in lines.items():
    scope = {}
    exec(line, scope)
    if "classifier" in scope:
        seen[name] = {row["label"]: row["score"] for row in scope["classifier"](dict(sound), top_k=None)}
    else:
        seen[name] = {split: len(rows) for split, rows in scope["dataset"].items()}
        stream = scope["load_dataset"]("owner/data", "all", split="test", streaming=True)
        seen["stream"] = [[row["id"], len(row["audio"]["bytes"])] for row in stream]
assert "hf_ser" not in sys.modules
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def hybrid_dir(companions, sounds_dir, tmp_path_factory):
    from hf_ser.data import DataArguments, load_splits
    from hf_ser.hub import write_model_card
    from hf_ser.hybrids.fitting import fit_hybrid
    from hf_ser.hybrids.hybrid_arguments import HybridArguments

    folder, data_args = (
        tmp_path_factory.mktemp("hybrids") / "stack",
        DataArguments(str(sounds_dir), "ravdess", "random"),
    )
    args = HybridArguments(
        str(folder), bases=[str(its) for its in companions], meta="mean", device="cpu", figures=False
    )
    write_model_card(folder, fit_hybrid(load_splits(data_args), data_args, args, "stack"))
    return folder


@pytest.mark.slow
def test_what_was_pushed_loads_by_the_printed_lines_in_a_fresh_process(
    call, hub, companions, hybrid_dir, data_dir, tiny_config, tmp_path
):
    from transformers import Wav2Vec2Config, Wav2Vec2ForSequenceClassification

    from hf_ser.inference import load_classifier
    from hf_ser.scoring import read_results

    torch.manual_seed(0)
    fields = {name: value for name, value in tiny_config.items() if name != "model_type"}
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {name: i for i, name in enumerate(LABELS)}}
    wav2vec2 = Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**fields, **names))
    folders = {"companion": companions[0], "hybrid": hybrid_dir}
    folders |= {"wav2vec2": make_model(tmp_path / "wav2vec2", model=wav2vec2), "data": data_dir}
    lines = {}
    for name in ("companion", "hybrid"):
        told = read_results(folders[name])["training"]
        assert told["corpora"] == ["ravdess"] and told["quarantined"] == {"ravdess": {}}
    for name, folder in folders.items():
        code, out, errors = call(folder, repository=f"owner/{name}")
        assert (code, errors) == (0, []), out
        lines[name] = out.partition("Load it with:\n")[2]
    assert ["trust_remote_code" in lines[name] for name in folders] == [True, True, False, False]
    hub.api("hf_owner").delete_file("model.safetensors", "owner/wav2vec2")  # so that only the revision's own will do
    waveform = np.random.default_rng(0).normal(size=8000).astype(np.float32)
    np.save(tmp_path / "waveform.npy", waveform)
    soundfile.write(tmp_path / "recording.wav", waveform / 8, 16_000)
    cards = {name: contents(hub, f"owner/{name}")["README.md"].decode() for name in ("companion", "hybrid")}
    cards["data"] = contents(hub, "owner/data", "datasets")["README.md"].decode()
    examples = [re.search(r"```python\n(.*?)```", card, re.DOTALL)[1] for card in cards.values()]
    (tmp_path / "lines.json").write_text(json.dumps([lines, examples]))
    command = [sys.executable, "-I", "-c", _CHILD, str(tmp_path / "lines.json"), str(tmp_path / "waveform.npy")]
    environment = hub.environment(token="hf_reader")
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    for name in ("companion", "hybrid", "wav2vec2"):
        model, extractor = load_classifier(str(folders[name]))
        inputs = extractor([waveform], sampling_rate=16_000, return_tensors="pt")
        with torch.inference_mode():
            scores = model.eval()(**inputs).logits[0].softmax(0).tolist()
        expected = {model.config.id2label[number]: score for number, score in enumerate(scores)}
        assert seen[name] == {label: pytest.approx(score, abs=1e-3) for label, score in expected.items()}
    from datasets import load_dataset

    local = load_dataset(str(data_dir), "all")
    assert seen["data"] == {split: len(rows) for split, rows in local.items()}
    assert seen["stream"] == [[row["id"], len(row["audio"]["bytes"])] for row in local["test"]]
    assert not any("authorization" in request.headers for request in hub.requests if request.server == "storage")
