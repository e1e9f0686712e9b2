"""Conditions that recordings are made and sent under, such as noise, rooms and codecs, applied to clean clips."""

from hf_ser.conditions.condition_error import ConditionError
from hf_ser.conditions.condition_list import CONDITIONS, Condition, Surroundings, changed_clip, chosen_levels

__all__ = ["CONDITIONS", "Condition", "ConditionError", "Surroundings", "changed_clip", "chosen_levels"]
