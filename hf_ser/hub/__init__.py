"""Pushing to the Hub: cards, licence checks, checks of the files, and the push."""

from hf_ser.hub.card import write_model_card
from hf_ser.hub.licences import LicenceError
from hf_ser.hub.push import PushError, find_token, send
from hf_ser.hub.push_checks import FolderError
from hf_ser.hub.push_plan import Plan, PushArguments, describe, make_plan

__all__ = [
    "FolderError",
    "LicenceError",
    "Plan",
    "PushArguments",
    "PushError",
    "describe",
    "find_token",
    "make_plan",
    "send",
    "write_model_card",
]
