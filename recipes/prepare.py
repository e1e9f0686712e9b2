"""Merge RAVDESS, CREMA-D, TESS, SAVEE and your own recordings into one dataset folder for `load_dataset`.

    python recipes/prepare.py --ravdess DIR --crema_d DIR --tess DIR --savee DIR --output_dir data/emotions
    python recipes/prepare.py --csv calls.csv --labels angry neutral happy other --output_dir data/calls

Any subset of the sources works. Recordings of the corpora are found at any depth below DIR. The CSV file has the
columns path and label, and optional ones; --audio_folder DIR takes folders named by class. Files that are not used are
listed with a reason in quarantine.csv in the output folder.
"""

import shlex
import time

from hf_ser.arguments import parse, run
from hf_ser.data import PrepareArguments, prepare


def main() -> None:
    (args,) = parse(PrepareArguments, description=__doc__)
    start = time.perf_counter()
    prepared = prepare(args)
    print(f"\n{prepared.report}\n")
    if prepared.already_there:
        print(f"{args.output_dir} is up to date: it was prepared from the same files and settings.")
    else:
        print(f"Wrote {args.output_dir} in {time.perf_counter() - start:.1f} s.")
    folder = shlex.quote(args.output_dir)
    print(f'Load it in Python: datasets.load_dataset("{args.output_dir}", "all")')
    config = "recipes/configs/wav2vec2_base.yaml"
    print(f"Next: python recipes/finetune.py --config {config} --dataset {folder} --configuration all")


if __name__ == "__main__":
    run(main)
