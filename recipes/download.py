"""Download the corpora.

    python recipes/download.py --corpora ravdess

The licence of each corpus is printed first. After an interruption, run the same command again to continue. Complete
corpora are not downloaded again. Add `--include_song true` for the song recordings of RAVDESS, and `--savee_archive
FILE` for SAVEE, which requires registration.
"""

import shlex
import sys
from pathlib import Path

from hf_ser.arguments import parse, run
from hf_ser.corpora.download import DownloadArguments, DownloadError, download_corpus, licence_text
from hf_ser.errors import SerError


def main() -> None:
    (args,) = parse(DownloadArguments, description=__doc__)

    finished: dict[str, Path] = {}
    failed: list[str] = []
    for corpus in args.corpora:
        print(licence_text(corpus), flush=True)
        try:
            finished[corpus] = download_corpus(
                corpus,
                args.output_dir,
                source=args.source,
                include_song=args.include_song and corpus == "ravdess",
                archive=args.savee_archive if corpus == "savee" else None,
                keep_archives=args.keep_archives,
                zenodo_url=args.zenodo_url,
            )
            print(f"{corpus} is in {finished[corpus]}\n", flush=True)
        except SerError as error:
            if len(args.corpora) == 1:
                raise
            failed.append(corpus)
            print(f"{corpus} failed: {error}\n", file=sys.stderr, flush=True)

    if finished:
        folders = " ".join(f"--{corpus} {shlex.quote(str(folder))}" for corpus, folder in finished.items())
        print(f"Next: python recipes/prepare.py {folders} --output_dir data/emotions", flush=True)
    if failed:
        raise DownloadError(f"{len(failed)} of {len(args.corpora)} corpora failed (see above): {', '.join(failed)}")


if __name__ == "__main__":
    run(main)
