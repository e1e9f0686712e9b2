"""Values of dimensions (arousal, valence, dominance) in preparation: their range, and which of them clips have."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hf_ser.corpora import Utterance
from hf_ser.corpora.listing import Listing, ListingError
from hf_ser.remote_code.dimensions import DIMENSIONS


def with_range(listing: Listing, limits: Sequence[float]) -> Listing:
    """Scale the values of a list to 0 to 1.

    Args:
        listing: recordings, with values in the units of their source.
        limits: the lowest and the highest value there.

    Raises:
        ListingError: a value out of this range; names the row.
    """
    if not any(utterance.dimensions for utterance in listing.utterances):
        return listing
    return replace(listing, utterances=[_scaled(utterance, *limits) for utterance in listing.utterances])


def _scaled(utterance: Utterance, low: float, high: float) -> Utterance:
    for name, value in utterance.dimensions:
        if not low <= value <= high:
            raise ListingError(
                f"{utterance.origin or utterance.id}: {name} is {value:g}; expected a value from {low:g} to {high:g}. "
                "Pass --dimension_range LOWEST HIGHEST."
            )
    return replace(
        utterance, dimensions=tuple((name, (value - low) / (high - low)) for name, value in utterance.dimensions)
    )


def present_dimensions(utterances: Iterable[Utterance]) -> tuple[str, ...]:
    """The dimensions that at least one recording has."""
    found = {name for utterance in utterances for name, _ in utterance.dimensions}
    return tuple(name for name in DIMENSIONS if name in found)


def values_of_split(part: Any, names: Sequence[str]) -> np.ndarray:
    """Values of the clips of a split (clips, dimensions), NaN without one."""
    return np.array([part[name][:] for name in names], dtype=np.float64).T.reshape(len(part), len(names))
