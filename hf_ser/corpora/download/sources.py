"""Sources and licences of the corpora, and their download into a folder that is either complete or absent."""

import datetime
import json
import logging
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hf_ser.arguments import ConfigError
from hf_ser.corpora.download.archives import remove, unpack
from hf_ser.corpora.download.http import DownloadError, fetch, file_digests, root_cause, scrub

logger = logging.getLogger(__name__)

MARKER = ".complete.json"
ARCHIVES = ".archives"
ZENODO_URL = "https://zenodo.org/records/1188976/files"
SAVEE_PAGE = "http://kahlan.eps.surrey.ac.uk/savee/"

# A corpus is downloaded in parts, each into a subfolder of the corpus folder, since both speech and song of RAVDESS
# have an Actor_01. `sources` are in the order of preference of `--source auto`. Sizes are in bytes.
SOURCES: dict[str, dict[str, Any]] = {
    "ravdess": {
        "title": "RAVDESS (Livingstone and Russo, 2018), https://zenodo.org/records/1188976",
        "licence": "CC BY-NC-SA 4.0: attribution; no commercial use; share derived works under the same licence.",
        "sources": ("zenodo", "kaggle"),
        "kaggle": "uwrfkaggler/ravdess-emotional-speech-audio",
        "zenodo": {
            "speech": {
                "name": "Audio_Speech_Actors_01-24.zip",
                "size": 208_468_073,
                "md5": "bc696df654c87fed845eb13823edef8a",
                "sha256": "5d208e01632cc3e5242106fa2af3273e6dc5239fb8143131979ac74c4aa40657",
            },
            "song": {
                "name": "Audio_Song_Actors_01-24.zip",
                "size": 225_505_317,
                "md5": "5411230427d67a21e18aa4d466e6d1b9",
                "sha256": "89f3df66cc67ebb70c8af6f72f3f359bee497f6f763a9d863b6477619716d428",
            },
        },
    },
    "crema_d": {
        "title": "CREMA-D (Cao et al., 2014), https://github.com/CheyneyComputerScience/CREMA-D",
        "licence": "ODbL 1.0: attribution; share derived databases under the same licence and keep them open.",
        "sources": ("kaggle",),
        "kaggle": "ejlok1/cremad",
    },
    "tess": {
        "title": "TESS (Pichora-Fuller and Dupuis, 2020), https://doi.org/10.5683/SP2/E8H2MF",
        "licence": "CC BY-NC-ND 4.0: attribution; no commercial use; do not distribute modified audio.",
        "sources": ("kaggle",),
        "kaggle": "ejlok1/toronto-emotional-speech-set-tess",
    },
    "savee": {
        "title": f"SAVEE (Haq and Jackson, 2009), {SAVEE_PAGE}",
        "licence": f"Free for research after registration at {SAVEE_PAGE}; do not redistribute the audio.",
        "sources": ("archive", "kaggle"),
        "kaggle": "ejlok1/surrey-audiovisual-expressed-emotion-savee",
    },
}


@dataclass
class DownloadArguments:
    """Corpora to download, their sources and the output folder.

    >>> DownloadArguments(["ravdess", "tess"]).source
    'auto'
    """

    corpora: list[str] = field(metadata={"help": "corpora to download: ravdess, crema_d, tess, savee"})
    output_dir: str = field(default="data/raw", metadata={"help": "output folder, with one subfolder per corpus"})
    source: Literal["auto", "zenodo", "kaggle"] = field(
        default="auto",
        metadata={"help": "auto: Zenodo for RAVDESS, --savee_archive for SAVEE, Kaggle for CREMA-D and TESS"},
    )
    include_song: bool = field(
        default=False, metadata={"help": "also download the song recordings of RAVDESS (from Zenodo)"}
    )
    savee_archive: str | None = field(
        default=None, metadata={"help": f"zip or tar file of SAVEE, available after registration at {SAVEE_PAGE}"}
    )
    keep_archives: bool = field(
        default=False, metadata={"help": "keep downloaded archives in the subfolder .archives of output_dir"}
    )
    zenodo_url: str = field(
        default=ZENODO_URL, metadata={"help": "URL of the folder of RAVDESS files, or of a mirror"}
    )

    def __post_init__(self) -> None:
        self.corpora = list(dict.fromkeys(self.corpora))
        for corpus in self.corpora:
            check_corpus(corpus)
        if self.include_song and "ravdess" not in self.corpora:
            raise ConfigError("--include_song is set, but --corpora does not include ravdess; only RAVDESS has song.")
        if self.savee_archive is not None and "savee" not in self.corpora:
            raise ConfigError(
                "--savee_archive is set, but --corpora does not include savee. Add savee or remove --savee_archive."
            )


def check_corpus(corpus: str) -> None:
    """Raise `ConfigError` for an unknown corpus."""
    if corpus not in SOURCES:
        raise ConfigError(f"unknown corpus {corpus!r}; expected one of {', '.join(SOURCES)}.")


def licence_text(corpus: str) -> str:
    """Return the title of a corpus and the terms of its licence, in two lines.

    >>> print(licence_text("crema_d"))
    CREMA-D (Cao et al., 2014), https://github.com/CheyneyComputerScience/CREMA-D
      licence: ODbL 1.0: attribution; share derived databases under the same licence and keep them open.
    """
    check_corpus(corpus)
    return f"{SOURCES[corpus]['title']}\n  licence: {SOURCES[corpus]['licence']}"


def download_corpus(
    corpus: str,
    output_dir: str | Path,
    *,
    source: str = "auto",
    include_song: bool = False,
    archive: str | Path | None = None,
    keep_archives: bool = False,
    zenodo_url: str = ZENODO_URL,
    progress: bool = True,
) -> Path:
    """Download and unpack the missing parts of a corpus; return its folder `output_dir/corpus`.

    Each part (RAVDESS: `speech` and `song`; the others: `audio`) is unpacked in `output_dir/.archives`, moved to the
    corpus folder when it is complete, and recorded in `.complete.json`. Recorded parts are not downloaded again.

    Args:
        corpus: a key of `SOURCES`.
        output_dir: the folder of all raw corpora.
        source: "auto", "zenodo" or "kaggle".
        include_song: RAVDESS only: song as well as speech. Song can be added later.
        archive: SAVEE only: the archive that is available after registration; it is not changed.
        keep_archives: whether to keep archives from Zenodo in `output_dir/.archives`.
        zenodo_url: URL of the folder of RAVDESS files.
        progress: whether to show a progress bar on a terminal.

    Returns:
        The corpus folder, for `recipes/prepare.py`.

    Raises:
        ConfigError: if the corpus is unknown or not available from the source.
        DownloadError: if the corpus cannot be downloaded; the message contains the remedy.
        ArchiveError: if the archive cannot be unpacked.

    >>> import zipfile
    >>> with zipfile.ZipFile("savee.zip", "w") as archive:
    ...     archive.write("voice.wav", "AudioData/DC/a01.wav")
    >>> folder = download_corpus("savee", "data/raw", archive="savee.zip")
    >>> [path.name for path in folder.rglob("*.wav")]
    ['a01.wav']
    """
    check_corpus(corpus)
    if include_song and corpus != "ravdess":
        raise ConfigError(f"include_song is set for {corpus}; only RAVDESS has song.")
    output_dir = Path(output_dir)
    folder, work = output_dir / corpus, output_dir / ARCHIVES
    parts = ["speech", *(["song"] if include_song else [])] if corpus == "ravdess" else ["audio"]
    missing = [part for part in parts if part not in completed_parts(folder)]
    if not missing:
        logger.info("%s is already complete. Remove it to download it again.", folder)
        return folder
    chosen = _choose_source(corpus, source, include_song, archive)
    try:
        for part in missing:
            staged = work / f"{corpus}-{part}"
            remove(staged)
            if chosen == "zenodo":
                entry = _from_zenodo(SOURCES[corpus]["zenodo"][part], work, staged, zenodo_url, progress)
            elif chosen == "kaggle":
                entry = _from_kaggle(corpus, staged)
            else:
                entry = _from_archive(Path(str(archive)), staged)
            _install(corpus, staged, folder, part, {"source": chosen, **entry})
            if chosen == "zenodo" and not keep_archives:
                remove(work / SOURCES[corpus]["zenodo"][part]["name"])
    except OSError as error:
        where = error.filename or folder
        raise DownloadError(
            f"{where}: {error.strerror or error}. Choose another output_dir, or fix its permissions."
        ) from error
    if work.is_dir() and not any(work.iterdir()):
        work.rmdir()
    return folder


def completed_parts(folder: str | Path) -> dict[str, dict[str, Any]]:
    """Return the record of each complete part from `.complete.json`: source, files with checksums, and date.

    If the file is missing or cannot be read, no part counts as complete.
    """
    folder = Path(folder)
    try:
        parts = json.loads((folder / MARKER).read_text(encoding="utf-8"))["parts"]
        return {part: entry for part, entry in parts.items() if (folder / part).is_dir()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _choose_source(corpus: str, source: str, include_song: bool, archive: str | Path | None) -> str:
    """Return "zenodo", "kaggle" or "archive"; raise an error with the remedy if the request cannot be met."""
    offered = SOURCES[corpus]["sources"]
    if archive is not None:
        if "archive" not in offered:
            raise ConfigError(
                f"archive is set for {corpus}, which does not support it. Unpack the archive and pass the folder to "
                "recipes/prepare.py."
            )
        if not Path(archive).is_file():
            raise DownloadError(f"--savee_archive {archive}: no such file; expected the zip or tar file of SAVEE.")
        return "archive"
    if include_song and corpus == "ravdess" and source == "kaggle":
        raise ConfigError("--include_song: the Kaggle copy of RAVDESS has no song. Use --source zenodo.")
    chosen = offered[0] if source == "auto" else source
    if corpus == "savee" and chosen != "kaggle":
        raise DownloadError(
            f"SAVEE has no public download. It is free for research after registration at {SAVEE_PAGE} and must not "
            "be redistributed. Register, download the audio, and pass the zip or tar file with --savee_archive FILE. "
            "If you have accepted its terms, --source kaggle downloads the copy at "
            f"kaggle.com/datasets/{SOURCES[corpus]['kaggle']}."
        )
    if chosen not in offered:
        raise ConfigError(f"--source {source} is not available for {corpus}; expected auto or {' or '.join(offered)}.")
    return chosen


def _from_zenodo(file: dict[str, Any], work: Path, staged: Path, zenodo_url: str, progress: bool) -> dict[str, Any]:
    url = f"{zenodo_url.rstrip('/')}/{file['name']}?download=1"
    checks = {name: file[name] for name in ("size", "md5", "sha256")}
    unpack(fetch(url, work / file["name"], **checks, progress=progress), staged)
    return {"url": scrub(url), "files": [file]}


def _from_archive(archive: Path, staged: Path) -> dict[str, Any]:
    unpack(archive, staged)
    digests = file_digests(archive, "md5", "sha256")
    return {"files": [{"name": archive.name, "size": archive.stat().st_size, **digests}]}


def _from_kaggle(corpus: str, staged: Path) -> dict[str, Any]:
    """Download the Kaggle copy to `staged`; kagglehub verifies it against the MD5 of the server."""
    handle = SOURCES[corpus]["kaggle"]
    # kagglehub rejects an output_dir with files but without its marker, so each attempt starts with a new folder.
    incomplete = staged.with_name(staged.name + ".incomplete")
    remove(incomplete)
    try:
        import kagglehub

        incomplete.mkdir(parents=True)
        got = Path(kagglehub.dataset_download(handle, output_dir=str(incomplete)))
        if got.resolve() != incomplete.resolve():  # Kaggle's and Colab's notebooks ignore output_dir
            shutil.copytree(got, incomplete, dirs_exist_ok=True)
        remove(incomplete / ".complete")  # marker of kagglehub
        incomplete.rename(staged)
    except Exception as error:  # errors of kagglehub and its dependencies have no common base class
        raise DownloadError(_kaggle_message(corpus, handle, error)) from error
    finally:
        remove(incomplete)
    return {"handle": handle, "files": []}


def _kaggle_message(corpus: str, handle: str, error: Exception) -> str:
    page = f"https://www.kaggle.com/datasets/{handle}"
    status = getattr(getattr(error, "response", None), "status_code", None)
    name = type(error).__name__
    if status in (401, 403) or "Unauthenticated" in name or "redential" in f"{name} {error}":
        hint = f"Log in at {page}, accept its terms, and set KAGGLE_API_TOKEN or put kaggle.json into ~/.kaggle"
    elif status == 404:
        hint = f"Check that {page} still exists"
    elif isinstance(error, ImportError):
        hint = 'Install it with pip install "hf-ser[download]"'
    else:
        hint = "Check the network, the proxy (HTTPS_PROXY) and the free disk space"
    reason = root_cause(error)
    for variable in ("KAGGLE_API_TOKEN", "KAGGLE_KEY"):
        if secret := os.environ.get(variable):
            reason = reason.replace(secret, "***")
    other = ", use --source zenodo" if "zenodo" in SOURCES[corpus]["sources"] else ""
    return (
        f"{handle} cannot be downloaded from Kaggle: {name}: {reason[:400]}. {hint}{other}, or download it from "
        f"{page} in a browser, unpack it, and pass the folder: python recipes/prepare.py --{corpus} FOLDER"
    )


def _install(corpus: str, staged: Path, folder: Path, part: str, entry: dict[str, Any]) -> None:
    """Move the complete part from `staged` to `folder/part`, then record it in the marker file of the folder."""
    files = [path for path in staged.rglob("*") if path.is_file()]
    clips = sum(path.suffix.lower() in (".wav", ".flac") for path in files)
    if not clips:
        remove(staged)
        raise DownloadError(
            f"the download of {corpus} contains {len(files)} files but no .wav or .flac; expected recordings. Check "
            "that it is the audio of this corpus."
        )
    target = folder / part
    if target.exists():
        _check_replaceable(target, {path.relative_to(staged) for path in files})
        remove(target)
    folder.mkdir(parents=True, exist_ok=True)
    shutil.move(staged, target)  # a rename, or a copy if the corpus folder is a link to another disk
    entry |= {"num_clips": clips, "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
    parts = {**completed_parts(folder), part: entry}
    draft = folder / f"{MARKER}.part"
    draft.write_text(json.dumps({"corpus": corpus, "parts": parts}, indent=2) + "\n", encoding="utf-8", newline="\n")
    draft.replace(folder / MARKER)


def _check_replaceable(target: Path, arriving: Iterable[Path]) -> None:
    """Raise `DownloadError` if an unmarked folder contains anything but leftovers of the same download."""
    present = {path.relative_to(target) for path in target.rglob("*") if not path.is_dir()}
    foreign = sorted(present - set(arriving))
    if foreign:
        raise DownloadError(
            f"{target} contains files that are not part of this download, such as {foreign[0]}. Move the folder or "
            "choose another output_dir."
        )
