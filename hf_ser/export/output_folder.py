"""A folder that appears when it is complete."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hf_ser.export.export_error import ExportError


@contextmanager
def new_folder(folder: Path, marker: str, option: str = "--output") -> Iterator[Path]:
    """Write into a hidden folder beside `folder`, and move it there at the end; after an error nothing has changed.

    Args:
        folder: it may be an earlier folder of this kind, which is replaced.
        marker: file that folders of this kind contain.
        option: name of the option with the folder, for messages.

    Raises:
        ExportError: the folder has other contents, or its parent does not exist.

    >>> with new_folder(Path("exported"), "export.json") as hidden:
    ...     _ = (hidden / "export.json").write_text("{}")
    >>> [path.name for path in Path("exported").iterdir()]
    ['export.json']
    """
    folder = Path(os.path.abspath(folder))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir()) and not (folder / marker).is_file()):
        raise ExportError(f"{option} {folder.name} exists and has no {marker}; expected a new or empty folder.")
    if not folder.parent.is_dir():
        raise ExportError(f"{option} {folder}: the folder {folder.parent} does not exist. Create it first.")
    hidden = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        hidden.mkdir()
        yield hidden
        if folder.exists():
            before = folder.with_name(f".{folder.name}.before")
            shutil.rmtree(before, ignore_errors=True)
            folder.rename(before)
            hidden.rename(folder)
            shutil.rmtree(before)
        else:
            hidden.rename(folder)
    except OSError as error:
        raise ExportError(f"{option} {folder}: {error}. Choose a folder that can be written.") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
