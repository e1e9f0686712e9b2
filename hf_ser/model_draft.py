"""The model of an unfinished run: complete in a hidden folder, and moved into the run's folder after the scores.

Every program that loads models looks for config.json, transformers' own pipeline included. The folder of an unfinished
run has none, so that no program can take its model for a finished one.
"""

import os
import shutil
from pathlib import Path

DRAFT = ".partial"
_CONFIG = "config.json"
_WEIGHTS = "model*.safetensors*"  # one file, or several and their index
_HANDLER = "handler.py"  # added by the push: in the folder of a run, it is a file of the person
_CODE = Path(__file__).parent / "remote_code"


def draft_of(folder: str | Path) -> Path:
    """The folder that holds the model until its run is finished.

    >>> draft_of("runs/new").name
    '.partial'
    """
    return Path(folder) / DRAFT


def new_draft(folder: str | Path) -> Path:
    """Make an empty draft, and remove the model of an earlier run, whose scores are about to be replaced.

    >>> new_draft("runs/new").is_dir()
    True
    """
    draft = discard_draft(folder)
    remove_model(folder)
    draft.mkdir(parents=True)
    return draft


def discard_draft(folder: str | Path) -> Path:
    """Remove what a run left in its draft, and return the draft's path.

    >>> discard_draft("runs/new").exists()
    False
    """
    draft = draft_of(folder)
    shutil.rmtree(draft, ignore_errors=True)
    return draft


def publish(folder: str | Path) -> None:
    """Move the files of the draft into the folder, config.json last. Without a draft, nothing happens.

    >>> _ = (new_draft("runs/new") / "config.json").write_text("{}")
    >>> publish("runs/new")
    >>> [path.name for path in Path("runs/new").iterdir()]
    ['config.json']
    """
    draft = draft_of(folder)
    if not draft.is_dir():
        return
    for path in sorted(draft.iterdir(), key=lambda path: path.name == _CONFIG):
        target = Path(folder) / path.name
        if path.is_dir():
            shutil.rmtree(target, ignore_errors=True)
        os.replace(path, target)
    draft.rmdir()


def remove_model(folder: str | Path) -> None:
    """Remove the files of a model, config.json first, so that no program loads what is left if that is interrupted.

    >>> _ = Path("config.json").write_text("{}")
    >>> remove_model(".")
    >>> Path("config.json").exists()
    False
    """
    folder = Path(folder)
    (folder / _CONFIG).unlink(missing_ok=True)
    # Other files may be those of the person.
    code = [path.name for path in _CODE.glob("[!_]*.py") if path.name != _HANDLER]
    weights = [path.name for path in folder.glob(_WEIGHTS)]
    for name in (*weights, "preprocessor_config.json", *code):
        (folder / name).unlink(missing_ok=True)
