"""What `hf-ser info` shows of an exported graph."""

import os

from hf_ser.remote_code.dimensions import are_dimensions
from hf_ser.runtime.graph_file import open_graph


def describe_graph_file(path: str) -> list[tuple[str, str]]:
    """Rows with a name and a value: type, size, source, labels, precision, abstention and licence of a graph.

    Raises:
        GraphError: the file is not a complete graph that hf_ser exported.
    """
    _, metadata = open_graph(path, num_threads=1)
    source = metadata.source if metadata.revision is None else f"{metadata.source}, revision {metadata.revision}"
    rows = [
        ("model", path),
        ("type", f"{metadata.model_type}, exported to ONNX"),
        ("size", f"{os.path.getsize(path) / 1e6:,.1f} MB"),
        ("exported from", f"{metadata.name} ({source})" if metadata.name != metadata.source else source),
        ("dimensions" if are_dimensions(metadata.labels) else "labels", ", ".join(metadata.labels)),
        ("precision", metadata.precision),
    ]
    if metadata.max_input_s is not None:
        rows.append(("input", f"the first {metadata.max_input_s:g} s of a clip; longer recordings are split"))
    if metadata.abstention_threshold is not None:
        rows.append(("abstains", f"below a top probability of {metadata.abstention_threshold:.3f}"))
    rows.append(("licence", metadata.licence or "unknown"))
    if metadata.results_sha256 is not None:
        rows.append(("results.json", f"SHA-256 {metadata.results_sha256}"))
    if metadata.synthetic:
        rows.append(("trained on", "synthetic recordings: its scores say nothing about real speech"))
    return rows
