"""Merge RAVDESS, CREMA-D, TESS and SAVEE into one dataset folder for `load_dataset`.

    python recipes/prepare.py --ravdess DIR --crema_d DIR --tess DIR --savee DIR --output_dir data/emotions

Give any of the four; recordings are found at any depth below DIR. Every rejected file is listed with its reason in
quarantine.csv beside the data.
"""

import time

from hf_ser.arguments import parse, run
from hf_ser.data import PrepareArguments, prepare


def main() -> None:
    (args,) = parse(PrepareArguments, description=__doc__)
    start = time.perf_counter()
    prepared = prepare(args)
    print(f"\n{prepared.report}\n")
    if prepared.already_there:
        print(f"{args.output_dir} was made from these inputs before and is unchanged.")
    else:
        print(f"Wrote {args.output_dir} in {time.perf_counter() - start:.1f} s.")
    print(f'Next: load_dataset("{args.output_dir}", "all"), or recipes/finetune.py --dataset {args.output_dir}')


if __name__ == "__main__":
    run(main)
