"""Names of local folders or Hub repositories: names that can only be folders are not looked up on the Hub."""

import re
from pathlib import Path

from hf_ser.errors import SerError

_HUB_ID = re.compile(r"(?!.*(?:--|\.\.))\w[\w.-]*/\w[\w.-]*")


def refuse_missing(
    name: str, flag: str, error: type[SerError], expected: str = "the folder of a trained model"
) -> None:
    """Reject a name that is neither an existing folder nor a likely Hub id.

    Names other than OWNER/NAME cannot be Hub ids, such as a single word or a path that begins with a dot, a slash, a
    tilde or a drive. A name whose parent folder exists is taken as a mistyped folder. Looking such a name up on the
    Hub would take a minute without a network.

    Args:
        name: a folder, or OWNER/NAME.
        flag: the flag before it on the command line.
        error: the type of error to raise.
        expected: what the folder should be, for the message.

    Raises:
        SerError: of the type `error`.
    """
    path = Path(name)
    if path.is_dir():
        return
    if not is_hub_id(name):
        state = "this is a file" if path.is_file() else "no such folder"
        raise error(f"{flag} {name}: {state}; expected {expected}, or OWNER/NAME on the Hub.")


def is_hub_id(name: str) -> bool:
    """Whether a name is OWNER/NAME and no path of an existing file or folder, nor one beside existing ones.

    >>> is_hub_id("superb/wav2vec2-base-superb-er"), is_hub_id("audio_cnn"), is_hub_id("../runs/audio_cnn")
    (True, False, False)
    """
    path = Path(name)
    return _HUB_ID.fullmatch(name) is not None and not path.exists() and not path.parent.is_dir()


def id_and_revision(name: str) -> tuple[str, str]:
    """Divide OWNER/NAME@REVISION; the revision is main if there is none. The id is not checked.

    >>> id_and_revision("owner/model@v1"), id_and_revision("owner/model")
    (('owner/model', 'v1'), ('owner/model', 'main'))
    """
    repository, _, revision = name.partition("@")
    return repository, revision or "main"
