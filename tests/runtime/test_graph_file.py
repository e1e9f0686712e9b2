"""Files that are not complete graphs of this version are rejected, with what was found and what to do."""

import json
import re
import warnings

import onnx
import pytest

from hf_ser.runtime import GraphError, GraphMetadata, OnnxPipeline
from hf_ser.runtime.graph_contract import PRECISIONS


@pytest.fixture
def tampered(tiny_graph, tmp_path):
    """Write a changed copy of the graph: a function changes its `onnx.ModelProto`; return the path."""

    def write(change):
        graph = onnx.load(tiny_graph[1])
        change(graph)
        path = tmp_path / "model.onnx"
        path.write_bytes(graph.SerializeToString())
        return path

    return write


def with_metadata(**changes):
    """Change fields of the metadata; a field of `...` is removed."""

    def change(graph):
        (entry,) = (entry for entry in graph.metadata_props if entry.key == "hf_ser")
        content = {**json.loads(entry.value), **changes}
        entry.value = json.dumps({name: value for name, value in content.items() if value is not ...})

    return change


def rejected(path, *parts):
    """Whether opening the file is an error of one line that begins with the path and contains these parts."""
    with pytest.raises(GraphError) as caught:
        OnnxPipeline(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ") and "\n" not in said and said.endswith(".")
    for part in parts:
        assert part in said, said
    return True


def test_the_metadata_of_a_graph(tiny_graph):
    metadata = OnnxPipeline(tiny_graph[1]).metadata
    assert metadata.labels == ("neutral", "happy", "sad", "angry")
    assert (metadata.model_type, metadata.max_input_s, metadata.min_samples) == ("ser-audio-cnn", 0.5, 1600)
    assert metadata.any_length and not metadata.needs_mask


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (lambda graph: graph[: len(graph) // 2], "that are not a complete ONNX file"),
        (lambda graph: graph[:-50], "that are not a complete ONNX file"),
        (lambda graph: b"", "got 0 bytes"),
        (lambda graph: b"no graph\n" * 99, "got 891 bytes that are not a complete ONNX file"),
        (lambda graph: b"version https://git-lfs.github.com/spec/v1\noid", "got a Git LFS pointer"),
    ],
    ids=["half", "end", "empty", "text", "pointer"],
)
def test_files_that_are_not_complete_graphs(tiny_graph, tmp_path, content, got):
    path = tmp_path / "model.onnx"
    path.write_bytes(content(tiny_graph[1].read_bytes()))
    assert rejected(path, got, "; expected an")


def test_paths_without_a_file(tmp_path):
    assert rejected(tmp_path / "none.onnx", "got no such file; expected an ONNX file. Check the path.")
    assert rejected(tmp_path, "got a folder")


def test_a_graph_whose_weights_are_missing(tiny_graph, tmp_path):
    graph, path = onnx.load(tiny_graph[1]), tmp_path / "model.onnx"
    onnx.save(graph, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    (tmp_path / "weights.bin").unlink()
    assert rejected(path, "the weights are in another file, which is missing", "expected one file")


def newer_opset(graph):
    graph.opset_import[0].version = 99


def newer_format(graph):
    graph.ir_version = 99


def unknown_operator(graph):
    graph.graph.node[0].op_type = "Unknown"


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (newer_opset, ("the graph is newer than onnxruntime", "Update onnxruntime.")),
        (newer_format, ("the graph is newer than onnxruntime", "Update onnxruntime.")),
        (unknown_operator, ("onnxruntime cannot load the graph (", "Unknown", "Export the model again.")),
    ],
)
def test_graphs_that_onnxruntime_does_not_load(tampered, change, parts):
    assert rejected(tampered(change), *parts)


def without_metadata(graph):
    del graph.metadata_props[:]


def broken_metadata(graph):
    graph.metadata_props[0].value = "{"


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (without_metadata, "got a graph without the metadata hf_ser"),
        (broken_metadata, "the metadata hf_ser is not valid JSON"),
        (
            with_metadata(schema_version=2),
            "of a newer version of hf_ser (schema_version 2); expected at most 1. Update",
        ),
        (with_metadata(schema_version="1"), "metadata schema_version: got '1'; expected 1"),
        (with_metadata(labels=["a"] * 4), "metadata labels: got ['a', 'a', 'a', 'a']; expected a list"),
        (with_metadata(labels=...), "metadata labels: got nothing; expected a list"),
        (with_metadata(sampling_rate=8000), "metadata sampling_rate: got 8000; expected 16000"),
        (with_metadata(any_length=1), "metadata any_length: got 1; expected true or false"),
        (with_metadata(min_samples=-1), "metadata min_samples: got -1; expected an integer"),
        (with_metadata(min_samples=10**12), "metadata min_samples: got 1000000000000; expected an integer"),
        (with_metadata(max_input_s=0), "metadata max_input_s: got 0; expected seconds"),
        (with_metadata(max_input_s=float("nan")), "metadata max_input_s: got nan; expected seconds"),
        (with_metadata(abstention_threshold=1.5), "metadata abstention_threshold: got 1.5; expected a number"),
        (with_metadata(precision="fp8"), f"metadata precision: got 'fp8'; expected one of {', '.join(PRECISIONS)}"),
        (with_metadata(name=""), "metadata name: got ''; expected a text"),
    ],
)
def test_metadata_that_is_missing_newer_or_invalid(tampered, change, part):
    assert rejected(tampered(change), part)


def test_fields_of_the_same_version_that_are_not_known_are_ignored(tampered):
    assert OnnxPipeline(tampered(with_metadata(parameters=5))).metadata.labels[0] == "neutral"


def other_input(graph):
    graph.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE


def fixed_batch(graph):
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def other_output(graph):
    graph.graph.output[0].name = "logits"
    for node in graph.graph.node:
        node.output[:] = ["logits" if name == "probabilities" else name for name in node.output]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (
            with_metadata(labels=["a", "b"]),
            "got the outputs probabilities float32 (batch, 4); expected probabilities float32 (batch, 2)",
        ),
        (
            with_metadata(needs_mask=True),
            "got the inputs input_values float32 (batch, samples); expected input_values float32 (batch, samples), "
            "attention_mask int64 (batch, samples)",
        ),
        (fixed_batch, "got the inputs input_values float32 (1, samples); expected"),
        (other_output, "got the outputs logits float32 (batch, 4); expected probabilities"),
    ],
)
def test_graphs_that_do_not_match_their_metadata(tampered, change, part):
    assert rejected(tampered(change), part)


def test_other_types_are_rejected_by_onnxruntime_or_here(tampered):
    with pytest.raises(GraphError, match=re.escape("Export the model again.")):
        OnnxPipeline(tampered(other_input))


def test_probabilities_that_are_not_numbers_are_errors(tampered, tone):
    def broken(graph):
        weights = next(each for each in graph.graph.initializer if each.name.endswith("classifier.bias"))
        weights.CopyFrom(
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights) * float("nan"), weights.name)
        )

    (answer,) = OnnxPipeline(tampered(broken))([tone(0.4)])
    assert answer["reason"] == "not_finite"
    assert answer["error"].endswith("Check the weights of the model, or export it in float32.")


def test_metadata_that_is_no_mapping():
    for text in ("[]", "1", "null", '"text"', "[" * 100_000):
        with pytest.raises(GraphError, match=r"^model\.onnx: .*metadata"):
            GraphMetadata.parse(text, "model.onnx")


@pytest.mark.parametrize("synthetic", [True, False])
def test_a_graph_of_a_model_trained_on_synthetic_voices_warns_once(tampered, tone, synthetic):
    path = tampered(with_metadata(synthetic=synthetic))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        OnnxPipeline(path)(tone(0.4))
    warned = f"{path} was trained on synthetic recordings: its scores say nothing about real speech."
    assert [str(each.message) for each in caught] == [warned] * synthetic
