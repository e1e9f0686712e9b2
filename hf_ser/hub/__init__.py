"""What goes to the Hub: cards."""

from hf_ser.hub.card import render_model_card, write_model_card

__all__ = ["render_model_card", "write_model_card"]
