"""List the files below a folder."""

import os
from pathlib import Path

from hf_ser.errors import SerError
from hf_ser.remote_code.audio_sources import printable


def files_below(folder: Path, error: type[SerError]) -> list[str]:
    """List all files in a folder at any depth, in path order. Linked folders are followed, each once.

    Hidden folders (incomplete downloads, .git) are skipped.

    Args:
        folder: the folder.
        error: the type of error to raise.

    Raises:
        SerError: of the type `error`: folders cannot be read; their recordings would be missing from the dataset.
    """
    paths = []
    seen = set()
    unreadable: list[OSError] = []
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=unreadable.append):
        real = os.path.realpath(parent)
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        paths += [] if real in seen else [os.path.join(parent, name) for name in names]
        seen.add(real)
    if unreadable:
        shown = "; ".join(f"{printable(str(item.filename))} ({item.strerror})" for item in unreadable[:5])
        raise error(
            f"{len(unreadable)} folders below {folder} cannot be read: {shown}. Check their permissions, or move them "
            "away."
        )
    return sorted(paths, key=lambda path: path.replace(os.sep, "/"))  # in the same order on every system
