"""Download the four corpora: sources, verified downloads and safe unpacking."""

from hf_ser.corpora.download.archives import ArchiveError
from hf_ser.corpora.download.http import DownloadError
from hf_ser.corpora.download.sources import DownloadArguments, download_corpus, licence_text

__all__ = ["ArchiveError", "DownloadArguments", "DownloadError", "download_corpus", "licence_text"]
