"""`hf-ser serve`: an HTTP server that classifies recordings, with batches across requests and limits on all input."""

from hf_ser.serving.serve_command import ServeArguments, serve
from hf_ser.serving.serving_limits import ServingError, ServingLimits

__all__ = ["ServeArguments", "ServingError", "ServingLimits", "serve"]
