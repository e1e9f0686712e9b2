"""The demo: a page that classifies recordings, on this machine or as a Space."""

from hf_ser.demo.app import serve
from hf_ser.demo.demo_errors import DemoError
from hf_ser.demo.space import plan_space

__all__ = [
    "DemoError",
    "plan_space",
    "serve",
]
