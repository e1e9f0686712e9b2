"""Speech emotion recognition the Hugging Face way."""

import sys
from pathlib import Path

__version__ = "0.1.0"

# Python searches a program's own folder first, and there recipes/evaluate.py would pass for the library `evaluate`.
if sys.path and (Path(sys.path[0]) / "evaluate.py").is_file():
    del sys.path[0]
