"""RAVDESS, CREMA-D, TESS, SAVEE, EMO-DB and IEMOCAP: parsers, published counts, licences and citations."""

from hf_ser.corpora.catalog import CORPORA, Corpus, performances
from hf_ser.corpora.utterance import AUDIO_SUFFIXES, OTHER_AUDIO_SUFFIXES, FileNameError, Utterance

__all__ = [
    "AUDIO_SUFFIXES",
    "CORPORA",
    "OTHER_AUDIO_SUFFIXES",
    "Corpus",
    "FileNameError",
    "Utterance",
    "performances",
]
