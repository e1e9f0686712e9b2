"""The output of recipes: log lines, and progress bars on terminals."""

import logging
import os
import sys
import warnings
from collections.abc import Iterable
from typing import Any

import huggingface_hub.utils as hub
import transformers
from tqdm import tqdm

logger = logging.getLogger(__name__)

LEVELS = ("debug", "info", "warning", "error", "critical")


def set_up_logging(level: int | None = None) -> None:
    """Print log lines and one-line warnings on stderr; hide progress bars of libraries, except downloads.

    If the application has already set up logging, it does not change.

    Args:
        level: for this package and the libraries; default: INFO for this package, WARNING for the libraries.
    """
    handler = logging.StreamHandler()
    if level is None:
        handler.addFilter(lambda record: record.levelno >= logging.WARNING or record.name.startswith("hf_ser"))
    else:
        transformers.utils.logging.set_verbosity(level)
        hub.logging.set_verbosity(level)
    logging.basicConfig(format="%(message)s", level=logging.INFO if level is None else level, handlers=[handler])
    transformers.utils.logging.disable_propagation()  # on in CI, where messages would be printed twice
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"  # without the source line
    logging.getLogger("transformers.trainer_utils").addFilter(_is_of_use)
    _turn_off_bars()


def _is_of_use(record: logging.LogRecord) -> bool:
    """Drop the warning that close checkpoints are ordered by step instead of time: that order is correct."""
    return "mtime may not be reliable" not in record.getMessage()


def _turn_off_bars() -> None:
    downloads = not hub.are_progress_bars_disabled()
    transformers.utils.logging.disable_progress_bar()  # and huggingface_hub's
    if downloads:
        hub.enable_progress_bars()  # downloads take long; these bars appear on terminals only
    # datasets reads the variable on import. Importing it here would cost every recipe a second.
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    if "datasets" in sys.modules:
        sys.modules["datasets"].disable_progress_bars()


def progress_bar(
    items: Iterable[Any] | None = None,
    *,
    desc: str,
    unit: str,
    total: int | None = None,
    show: bool = True,
    leave: bool = True,
) -> Any:
    """Create a progress bar on a terminal; without a terminal, log one line.

    Args:
        items: what to iterate over; if None, the caller updates the bar.
        desc: the task, such as "Checking clips".
        unit: the name of the items, in the plural.
        total: the number of items; default: the length of `items`.
        show: False for neither bar nor line.
        leave: whether the finished bar stays on the screen.

    Returns:
        The tqdm bar.
    """
    bar = tqdm(
        items, desc=desc, total=total, unit=f" {unit}", disable=None if show else True, leave=leave, dynamic_ncols=True
    )
    if show and bar.disable:
        logger.info("%s: %s", desc, unit if bar.total is None else f"{bar.total:,} {unit}")
    return bar
