"""The demo: a page that hears a recording and shows which emotions it carries, here or as a Space."""

from hf_ser.demo.app import build, serve
from hf_ser.demo.demo_errors import DemoError
from hf_ser.demo.examples import make_examples
from hf_ser.demo.listening import Heard, Listener, listen, load_listener
from hf_ser.demo.space import pin_models, plan_space

__all__ = [
    "DemoError",
    "Heard",
    "Listener",
    "build",
    "listen",
    "load_listener",
    "make_examples",
    "pin_models",
    "plan_space",
    "serve",
]
