"""Generate small SYNTHETIC corpora in the layouts of RAVDESS, CREMA-D, TESS and SAVEE: no download, a few seconds.

    python recipes/generate.py --output_dir data/synthetic

They hold no human speech, and scores on them say nothing about real speech: they are for trying the recipes out.
"""

import shlex
from dataclasses import asdict
from pathlib import Path

from hf_ser.arguments import parse, run
from hf_ser.corpora.synthetic import GenerateArguments, generate


def main() -> None:
    """Generate, and print what to run next."""
    (arguments,) = parse(GenerateArguments, description=__doc__)
    folders = generate(**asdict(arguments))

    for corpus, folder in folders.items():
        print(f"{corpus}: {sum(1 for _ in folder.rglob('*.wav'))} synthetic clips in {folder}")
    print("Nobody speaks in them: scores on synthetic recordings say nothing about real speech.")
    command = ["python", "recipes/prepare.py"]
    for corpus, folder in folders.items():
        command += [f"--{corpus}", str(folder)]
    command += ["--output_dir", str(Path(arguments.output_dir).with_name("dataset"))]
    print(f"Next: {shlex.join(command)}")


if __name__ == "__main__":
    run(main)
