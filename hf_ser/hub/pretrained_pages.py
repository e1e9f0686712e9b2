"""The parts of README and documentation that come from the packaged model: its scores and its real output.

A part is between `<!-- pretrained NAME -->` and `<!-- end pretrained -->`; `PARTS` has the names.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hf_ser import markdown
from hf_ser.data.splits_file import SPLITS_FILE, read_assignment
from hf_ser.default_model import FOLDER
from hf_ser.hub.pretrained_folder import PackagingError
from hf_ser.models import SpeechEmotionPipeline
from hf_ser.results_file import bounds, number, read_results
from hf_ser.scoring.results import write_text

PAGES = ("README.md", "docs/index.md", "docs/how-to/predict.md", "docs/pretrained.md")
CLIPS = "examples/clips"
EXAMPLE = f"{CLIPS}/angry_woman.flac"
_PART = re.compile(r"(<!-- pretrained (\w+) -->\n).*?(\n<!-- end pretrained -->)", re.DOTALL)


def write_pages(root: Path) -> list[str]:
    """Replace the parts of the pages in a checkout -> the pages that changed.

    Raises:
        PackagingError: a page has an unknown part, or the example cannot be classified.
    """
    made: dict[str, str] = {}
    changed = []
    for name in PAGES:
        path = root / name
        before = path.read_text(encoding="utf-8")
        after = _PART.sub(lambda found: f"{found[1]}\n{_part(found[2], root, made)}\n{found[3]}", before)
        if after != before:
            write_text(path, after)
            changed.append(name)
    return changed


def _part(name: str, root: Path, made: dict[str, str]) -> str:
    if name not in PARTS:
        raise PackagingError(f"got a part named {name}; expected one of {', '.join(PARTS)}. Correct the page.")
    if name not in made:
        made[name] = PARTS[name](root)
    return made[name]


def _predicted(root: Path) -> str:
    """The output of `hf-ser predict` for one example."""
    command = [sys.executable, "-m", "hf_ser.cli", "predict", EXAMPLE, "--device", "cpu", "--precision", "fp32"]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise PackagingError(f"hf-ser predict {EXAMPLE} failed: {done.stderr.strip()[-500:]}")
    return f"```\n{done.stderr.strip()}\n{done.stdout.rstrip()}\n```"


def _examples(root: Path) -> str:
    """The predictions for all examples; the first word of a file's name is the acted emotion."""
    classifier = SpeechEmotionPipeline(device="cpu", precision="fp32")
    paths = sorted((root / CLIPS).glob("*.flac"))
    answers = classifier([str(path) for path in paths])
    rows, right = [], 0
    for path, answer in zip(paths, answers, strict=True):
        acted = path.stem.partition("_")[0]
        best = answer[0]
        right += best["label"] == acted
        rows.append((f"`{path.name}`", acted, best["label"], number(best["score"])))
    table = markdown.table(("file", "acted emotion", "predicted", "probability"), rows)
    return f"{right} of {len(rows)} predictions are the acted emotion.\n\n{table}"


def _score_row(name: str, part: dict[str, Any], interval: Any) -> tuple[str, ...]:
    scores = part["scores"]
    return (
        name,
        f"{part['clips']:,}",
        str(part["speakers"]),
        number(scores["accuracy"]),
        number(scores["uar"]),
        bounds(interval),
    )


def _scores(root: Path) -> str:
    """Scores on the held-out test speakers, by corpus and gender."""
    test = read_results(FOLDER)["splits"]["test"]
    rows = [_score_row("all", test, test["intervals"][0].get("uar"))]
    for grouping in ("corpus", "gender"):
        groups = test["groups"].get(grouping, {"groups": {}})["groups"]
        rows += [_score_row(name, part, part["interval"]) for name, part in groups.items()]
    header = ("test clips of", "clips", "speakers", "accuracy", "UAR", "UAR, 95 % interval")
    calibration = test["calibration"]["after" if test["calibration"]["temperature"] else "before"]
    said = f"Expected calibration error: {number(calibration['ece'])}.{_answered(test.get('abstention'))}"
    return f"{markdown.table(header, rows)}\n\n{said}"


def _answered(abstention: dict[str, Any] | None) -> str:
    if abstention is None or abstention["threshold"] is None:
        return ""
    return (
        f' Answers with a probability below {number(abstention["threshold"])} count as "not sure"; '
        f"{100 * abstention['coverage']:.0f} % of the test clips are answered, with an accuracy of "
        f"{number(abstention['accuracy'])}."
    )


def _recalls(root: Path) -> str:
    """Recall and precision of each emotion on test."""
    per_class = read_results(FOLDER)["splits"]["test"]["per_class"]
    rows = [
        (name, part["support"], number(part["recall"]), number(part["precision"])) for name, part in per_class.items()
    ]
    return markdown.table(("emotion", "test clips", "recall", "precision"), rows)


def _speakers(root: Path) -> str:
    """The speakers of each split and corpus."""
    found: dict[tuple[str, str], set[str]] = {}
    for clip, split in read_assignment(FOLDER / SPLITS_FILE).items():
        corpus, _, stem = clip.partition("/")
        found.setdefault((corpus, split), set()).add(_speaker(corpus, stem))
    rows = [
        (corpus, split, ", ".join(sorted(names)))
        for (corpus, split), names in sorted(found.items())
        if split != "train"
    ]
    return markdown.table(("corpus", "held out for", "actors"), rows)


def _speaker(corpus: str, stem: str) -> str:
    return stem.rpartition("-")[2] if corpus == "ravdess" else stem.partition("_")[0]


PARTS: dict[str, Callable[[Path], str]] = {
    "predicted": _predicted,
    "examples": _examples,
    "scores": _scores,
    "recalls": _recalls,
    "speakers": _speakers,
}
