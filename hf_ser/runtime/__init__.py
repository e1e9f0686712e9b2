"""Classify recordings with an exported graph, a single ONNX file, without torch and transformers."""

from hf_ser.runtime.graph_contract import GraphError, GraphMetadata
from hf_ser.runtime.onnx_pipeline import OnnxPipeline

__all__ = ["GraphError", "GraphMetadata", "OnnxPipeline"]
