"""Fetching the four corpora: checked downloads, safe unpacking, and where each corpus comes from."""

from hf_ser.corpora.download.archives import ArchiveError
from hf_ser.corpora.download.http import DownloadError
from hf_ser.corpora.download.sources import DownloadArguments, download_corpus, licence_text

__all__ = ["ArchiveError", "DownloadArguments", "DownloadError", "download_corpus", "licence_text"]
