"""Names that stand for a folder here or a repository on the Hub: what can only be a folder is not asked of the Hub."""

import re
from pathlib import Path

from hf_ser.errors import SerError

_HUB_ID = re.compile(r"(?!.*(?:--|\.\.))\w[\w.-]*/\w[\w.-]*")


def refuse_missing(
    name: str, flag: str, error: type[SerError], expected: str = "the folder of a trained model"
) -> None:
    """Refuse a name that is no folder here and cannot be asked of the Hub, or is plainly not meant for it.

    That is a name other than OWNER/NAME, such as `./x`, `~/x`, `C:/x` or `x`, and one whose parent folder exists here.
    The Hub would be asked for it several times, for a minute where there is no network.

    Args:
        name: a folder, or OWNER/NAME.
        flag: what the person typed before it.
        error: what is raised.
        expected: what the folder should be, for the message.

    Raises:
        SerError: of the type `error`.
    """
    path = Path(name)
    if path.is_dir():
        return
    if path.is_file() or _HUB_ID.fullmatch(name) is None or path.parent.is_dir():
        state = "that is a file" if path.is_file() else "no such folder"
        raise error(f"{flag} {name}: {state}; expected {expected}, or OWNER/NAME on the Hub.")
