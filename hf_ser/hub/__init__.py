"""What goes to the Hub: cards, licence gate, checks and pushes."""

from hf_ser.hub.card import render_model_card, write_model_card
from hf_ser.hub.checks import FolderError
from hf_ser.hub.licences import LicenceError
from hf_ser.hub.push import Plan, PushArguments, Pushed, PushError, describe, find_token, make_plan, send

__all__ = [
    "FolderError",
    "LicenceError",
    "Plan",
    "PushArguments",
    "PushError",
    "Pushed",
    "describe",
    "find_token",
    "make_plan",
    "render_model_card",
    "send",
    "write_model_card",
]
