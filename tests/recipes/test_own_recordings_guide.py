"""The commands of the guide "Train on your own recordings" run one after another on generated recordings."""

import csv
import re
import shutil
from pathlib import Path

import pytest

from hf_ser.corpora import CORPORA
from hf_ser.corpora.synthetic import generate

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/own-recordings.md").read_text(encoding="utf-8")
COMMANDS = [block.replace("\\\n", " ").strip() for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)]
(CODE,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
LABELS = {"angry": "angry", "happy": "happy", "neutral": "neutral"}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with calls/calls.csv and its recordings, the recipes, and no package."""
    root = tmp_path_factory.mktemp("own")
    made = generate(
        root / "made", corpora=["crema_d"], clips_per_class=1, speakers_per_corpus=6, duration_s=(0.5, 0.6)
    )
    (root / "calls" / "recordings").mkdir(parents=True)
    rows = []
    for number, path in enumerate(sorted(made["crema_d"].rglob("*.wav")), 1):
        said = CORPORA["crema_d"].parse(path)
        shutil.copy(path, root / "calls" / "recordings" / f"call {number:03d}.flac")
        label = LABELS.get(said.emotion, "other")
        rows.append([f"recordings/call {number:03d}.flac", label, f"agent {said.speaker[-2:]}", "en"])
    with open(root / "calls" / "calls.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "label", "speaker", "language"], *rows])
    for name in ("recipes", "accelerate_config.yaml"):
        (root / name).symlink_to(ROOT / name)
    return root


@pytest.fixture(scope="module")
def printed(program_server, workplace):
    """What each command prints."""
    quick = {"finetune.py": " --num_train_epochs 1 --figures false --use_cpu true", "baseline.py": " --penalties 1.0"}
    found = {}
    for command in COMMANDS:
        more = next((words for recipe, words in quick.items() if f"recipes/{recipe}" in command), "")
        found[command] = program_server.run_command(command + more, cwd=workplace).stdout
    return found


@pytest.mark.slow
def test_the_guide_runs_from_the_first_command_to_the_last(printed):
    check, prepare, train, baseline, predict, push = printed.values()
    assert "speaker in train" in check and "Look at:" in check
    for label in ("angry", "happy", "neutral", "other"):
        assert label in prepare and re.search(rf"^  {label} +0\.\d", predict, re.MULTILINE)
    assert "test (speaker-disjoint)" in train and "test (speaker-disjoint)" in baseline
    assert "license: odbl" in push and "No files were sent" in push


@pytest.mark.slow
@pytest.mark.usefixtures("printed")
def test_the_example_of_the_guide_runs_without_the_package(launch, workplace):
    code = CODE.replace("print(", "import sys\nassert 'hf_ser' not in sys.modules\nprint(")
    done = launch("-c", code, cwd=workplace)
    assert all(f"'{label}'" in done.stdout for label in ("angry", "happy", "neutral", "other"))
