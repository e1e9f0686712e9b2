"""Fetching the four corpora: checked downloads, safe unpacking, and where each corpus comes from."""

from hf_ser.corpora.download.archives import ArchiveError, unpack
from hf_ser.corpora.download.http import DownloadError, fetch
from hf_ser.corpora.download.sources import (
    MARKER,
    SOURCES,
    ZENODO_URL,
    DownloadArguments,
    completed_parts,
    download_corpus,
    licence_text,
)

__all__ = [
    "MARKER",
    "SOURCES",
    "ZENODO_URL",
    "ArchiveError",
    "DownloadArguments",
    "DownloadError",
    "completed_parts",
    "download_corpus",
    "fetch",
    "licence_text",
    "unpack",
]
