"""Models and their frontends: flat and self-contained, since this folder goes to the Hub as remote code."""

from hf_ser.models.log_mel import LogMel

__all__ = ["LogMel"]
