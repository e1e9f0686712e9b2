"""What goes to the Hub: cards, licence gate, checks and pushes."""

from hf_ser.hub.card import check_card, render_model_card, write_model_card
from hf_ser.hub.licences import LicenceError
from hf_ser.hub.plan import Plan, PushArguments, describe, make_plan
from hf_ser.hub.push import Pushed, PushError, find_token, send
from hf_ser.hub.push_checks import FolderError, Outgoing, check_contents

__all__ = [
    "FolderError",
    "LicenceError",
    "Outgoing",
    "Plan",
    "PushArguments",
    "PushError",
    "Pushed",
    "check_card",
    "check_contents",
    "describe",
    "find_token",
    "make_plan",
    "render_model_card",
    "send",
    "write_model_card",
]
