"""Recordings to try the page with: clips of CREMA-D actors, which a checkout of the repository contains."""

from pathlib import Path

import hf_ser

# Not part of the wheel: an installed package has no examples.
CLIPS = Path(hf_ser.__file__).parents[1] / "examples" / "clips"
NOTICES = ("LICENSE", "README.md")  # licence and attribution, which must accompany the clips


def example_clips(folder: str | Path = CLIPS) -> list[Path]:
    """List the FLAC files of a folder by name; none if there is no such folder."""
    return sorted(Path(folder).glob("*.flac"))
