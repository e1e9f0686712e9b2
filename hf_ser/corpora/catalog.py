"""The corpora: parser, published counts, licence and source."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from hf_ser.corpora import crema_d, emodb, iemocap, ravdess, savee, tess
from hf_ser.corpora.utterance import FileNameError, Utterance


@dataclass(frozen=True)
class Corpus:
    """A corpus: its parser and metadata.

    `parse` reads a file name. A corpus with labels in files of its own also has `annotate`, which adds them.

    >>> tess = CORPORA["tess"]
    >>> tess.parse(Path("OAF_back_angry.wav")).emotion, tess.licence
    ('angry', 'CC BY-NC-ND 4.0')
    """

    name: str
    title: str
    parse: Callable[[Path], Utterance]
    published_counts: Callable[[str], dict[tuple[str, str], int]]  # vocal channel -> {(speaker, emotion): recordings}
    licence: str
    licence_url: str
    homepage: str
    citation: str
    bibtex: str
    annotate: Callable[[Utterance], Utterance] | None = None


CORPORA: dict[str, Corpus] = {
    "ravdess": Corpus(
        name="ravdess",
        title="RAVDESS",
        parse=ravdess.parse,
        published_counts=ravdess.published_counts,
        licence="CC BY-NC-SA 4.0",
        licence_url="https://creativecommons.org/licenses/by-nc-sa/4.0/",
        homepage="https://zenodo.org/records/1188976",
        citation=(
            "Livingstone SR, Russo FA (2018). The Ryerson Audio-Visual Database of Emotional Speech and Song "
            "(RAVDESS). PLoS ONE 13(5): e0196391. https://doi.org/10.1371/journal.pone.0196391"
        ),
        bibtex="""@article{livingstone2018ravdess,
  title = {The Ryerson Audio-Visual Database of Emotional Speech and Song (RAVDESS)},
  author = {Livingstone, Steven R. and Russo, Frank A.},
  journal = {PLoS ONE}, volume = {13}, number = {5}, pages = {e0196391}, year = {2018},
  doi = {10.1371/journal.pone.0196391}
}""",
    ),
    "crema_d": Corpus(
        name="crema_d",
        title="CREMA-D",
        parse=crema_d.parse,
        published_counts=crema_d.published_counts,
        licence="ODbL 1.0",
        licence_url="https://opendatacommons.org/licenses/odbl/1-0/",
        homepage="https://github.com/CheyneyComputerScience/CREMA-D",
        citation=(
            "Cao H, Cooper DG, Keutmann MK, Gur RC, Nenkova A, Verma R (2014). CREMA-D: Crowd-sourced Emotional "
            "Multimodal Actors Dataset. IEEE Transactions on Affective Computing 5(4). "
            "https://doi.org/10.1109/TAFFC.2014.2336244"
        ),
        bibtex="""@article{cao2014crema,
  title = {{CREMA-D}: Crowd-sourced Emotional Multimodal Actors Dataset},
  author = {Cao, Houwei and Cooper, David G. and Keutmann, Michael K. and Gur, Ruben C. and Nenkova, Ani and
    Verma, Ragini},
  journal = {IEEE Transactions on Affective Computing}, volume = {5}, number = {4}, year = {2014},
  doi = {10.1109/TAFFC.2014.2336244}
}""",
    ),
    "tess": Corpus(
        name="tess",
        title="TESS",
        parse=tess.parse,
        published_counts=tess.published_counts,
        licence="CC BY-NC-ND 4.0",
        licence_url="https://creativecommons.org/licenses/by-nc-nd/4.0/",
        homepage="https://doi.org/10.5683/SP2/E8H2MF",
        citation=(
            "Pichora-Fuller MK, Dupuis K (2020). Toronto emotional speech set (TESS). Borealis. "
            "https://doi.org/10.5683/SP2/E8H2MF"
        ),
        bibtex="""@data{pichora2020tess,
  title = {Toronto emotional speech set (TESS)},
  author = {Pichora-Fuller, M. Kathleen and Dupuis, Kate},
  publisher = {Borealis}, year = {2020},
  doi = {10.5683/SP2/E8H2MF}
}""",
    ),
    "savee": Corpus(
        name="savee",
        title="SAVEE",
        parse=savee.parse,
        published_counts=savee.published_counts,
        licence="research use after registration; redistribution not permitted",
        licence_url="http://kahlan.eps.surrey.ac.uk/savee/",
        homepage="http://kahlan.eps.surrey.ac.uk/savee/",
        citation=(
            "Haq S, Jackson PJB (2010). Multimodal Emotion Recognition. In: Machine Audition: Principles, Algorithms "
            "and Systems, IGI Global, 398-423. https://doi.org/10.4018/978-1-61520-919-4.ch017"
        ),
        bibtex="""@incollection{haq2010multimodal,
  title = {Multimodal Emotion Recognition},
  author = {Haq, Sanaul and Jackson, Philip J. B.},
  booktitle = {Machine Audition: Principles, Algorithms and Systems},
  publisher = {IGI Global}, pages = {398--423}, year = {2010},
  doi = {10.4018/978-1-61520-919-4.ch017}
}""",
    ),
    "emodb": Corpus(
        name="emodb",
        title="EMO-DB",
        parse=emodb.parse,
        published_counts=emodb.published_counts,
        licence="freely downloadable, no open licence; state the source",
        licence_url="http://emodb.bilderbar.info/",
        homepage="http://emodb.bilderbar.info/",
        citation=(
            "Burkhardt F, Paeschke A, Rolfes M, Sendlmeier WF, Weiss B (2005). A Database of German Emotional Speech. "
            "Interspeech, 1517-1520. https://doi.org/10.21437/Interspeech.2005-446"
        ),
        bibtex="""@inproceedings{burkhardt2005database,
  title = {A Database of German Emotional Speech},
  author = {Burkhardt, Felix and Paeschke, Astrid and Rolfes, Miriam and Sendlmeier, Walter F. and Weiss, Benjamin},
  booktitle = {Interspeech}, pages = {1517--1520}, year = {2005},
  doi = {10.21437/Interspeech.2005-446}
}""",
    ),
    "iemocap": Corpus(
        name="iemocap",
        title="IEMOCAP",
        parse=iemocap.parse,
        published_counts=iemocap.published_counts,
        licence="research use under a signed agreement; redistribution not permitted",
        licence_url="https://sail.usc.edu/iemocap/iemocap_release.htm",
        homepage="https://sail.usc.edu/iemocap/",
        citation=(
            "Busso C, Bulut M, Lee CC, Kazemzadeh A, Mower E, Kim S, Chang JN, Lee S, Narayanan SS (2008). IEMOCAP: "
            "interactive emotional dyadic motion capture database. Language Resources and Evaluation 42(4), 335-359. "
            "https://doi.org/10.1007/s10579-008-9076-6"
        ),
        bibtex="""@article{busso2008iemocap,
  title = {{IEMOCAP}: interactive emotional dyadic motion capture database},
  author = {Busso, Carlos and Bulut, Murtaza and Lee, Chi-Chun and Kazemzadeh, Abe and Mower, Emily and Kim, Samuel
    and Chang, Jeannette N. and Lee, Sungbok and Narayanan, Shrikanth S.},
  journal = {Language Resources and Evaluation}, volume = {42}, number = {4}, pages = {335--359}, year = {2008},
  doi = {10.1007/s10579-008-9076-6}
}""",
        annotate=iemocap.annotate,
    ),
}


@lru_cache(maxsize=2**16)
def performances(name: str) -> frozenset[str]:
    """The performances that a file name or id refers to in any corpus, such as "ravdess/01-05-01-02-01-07".

    Args:
        name: a path with any suffix, or an id such as "ravdess/03-01-05-01-02-01-07".

    Returns:
        Corpus and performance; empty if the name does not follow the convention of any corpus.

    >>> sorted(performances("Actor_07/03-01-05-01-02-01-07.wav"))
    ['ravdess/01-05-01-02-01-07']
    """
    found = set()
    for stem in {name, name.removesuffix(Path(name).suffix)}:
        for corpus in CORPORA.values():
            try:
                found.add(f"{corpus.name}/{corpus.parse(Path(f'{stem}.wav')).performance}")
            except FileNameError:
                continue
    return frozenset(found)
