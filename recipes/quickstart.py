"""Classify a real recording, then try the main steps on synthetic voices: generate, prepare, train, predict.

python3 recipes/quickstart.py

Each step is a command that is printed before it runs, so you can run it on your own recordings. Only packages are
downloaded, and this file needs none of them. `make quickstart` does the same.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
CORPORA = "data/quickstart/corpora"
DATASET = "data/quickstart/dataset"
MODEL = "runs/quickstart"
INTERRUPTED = 130
EXAMPLE = "examples/clips/angry_woman.flac"
RECORDING = f"{CORPORA}/ravdess/Actor_02/03-01-05-01-01-01-02.wav"


class Stage(NamedTuple):
    """A command and its purpose."""

    title: str
    command: str


STAGES = (
    Stage("Install hf_ser and its dependencies into .venv (takes minutes the first time)", "make install"),
    Stage("Classify a real recording with the model that comes with hf_ser", f"hf-ser predict {EXAMPLE}"),
    Stage(
        "Generate recordings: four small corpora of synthetic voices",
        f"python recipes/generate.py --output_dir {CORPORA}",
    ),
    Stage(
        "Prepare one dataset from them: check, resample, split by speaker",
        f"python recipes/prepare.py --ravdess {CORPORA}/ravdess --crema_d {CORPORA}/crema_d --tess {CORPORA}/tess "
        f"--savee {CORPORA}/savee --output_dir {DATASET} --overwrite true",
    ),
    Stage(
        "Train a tiny wav2vec2 from scratch, and score it on held-out speakers",
        "python recipes/finetune.py --config recipes/configs/quickstart.yaml --overwrite true",
    ),
    Stage("Classify a synthetic recording of an angry voice", f"hf-ser predict {RECORDING} --model {MODEL}"),
)

MADE = f"""Created:
  {CORPORA}   synthetic recordings in the layouts of four corpora
  {DATASET}   the dataset: load_dataset("{DATASET}", "all")
  {MODEL}           the model, its card (README.md), scores (report.md) and figures

Next:
  source .venv/bin/activate
  hf-ser predict YOUR_RECORDING.wav
  python recipes/evaluate.py --model {MODEL} --dataset {DATASET} --output_dir {MODEL}_test
README.md continues with real corpora and your own recordings."""


def main() -> int:
    """Run the stages until one fails.

    Returns:
        The exit code of the failed stage, or 0.
    """
    programs = ROOT / ".venv" / ("Scripts" if os.name == "nt" else "bin")
    environment = {**os.environ, "PATH": os.pathsep.join([str(programs), os.environ.get("PATH", "")])}
    environment.pop("MAKELEVEL", None)  # otherwise the make of the first stage prints each folder that it enters
    return run_stages(STAGES, MADE, environment)


def run_stages(stages: Sequence[Stage], made: str, environment: dict[str, str]) -> int:
    """Run the commands of the stages in the folder of the repository.

    Args:
        stages: in this order.
        made: text to print when all have succeeded.
        environment: environment variables of the commands.

    Returns:
        The exit code of the first stage that fails, or 0.
    """
    began_s = time.perf_counter()
    for number, stage in enumerate(stages, 1):
        print(f"\n== {number}/{len(stages)} {stage.title}\n$ {stage.command}", flush=True)
        stage_began_s = time.perf_counter()
        code = _run(stage.command, environment)
        if code:
            why = "was interrupted" if code == INTERRUPTED else f"failed with exit code {code}; its message is above"
            print(f"\nStage {number}/{len(stages)} {why}. The stages after it were not run.", file=sys.stderr)
            return code
        print(f"-- took {_duration(time.perf_counter() - stage_began_s)}", flush=True)
    print(f"\nAll {len(stages)} stages took {_duration(time.perf_counter() - began_s)}. {made}")
    return 0


def _run(command: str, environment: dict[str, str]) -> int:
    program, *words = shlex.split(command)
    found = shutil.which(program, path=environment["PATH"])
    if found is None:
        print(f"error: {program} is not installed. Install it and run this again.", file=sys.stderr)
        return 127
    try:
        return subprocess.run([found, *words], cwd=ROOT, env=environment).returncode
    except KeyboardInterrupt:
        return INTERRUPTED


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
