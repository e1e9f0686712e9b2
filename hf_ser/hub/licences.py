"""What the corpora's licences allow: whose audio may be public, and under which licence data and models go out."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from hf_ser.corpora import CORPORA
from hf_ser.errors import SerError


class LicenceError(SerError):
    """A push that a corpus's licence forbids."""


@dataclass(frozen=True)
class Terms:
    """What a corpus's licence means for a push; its text stands in `hf_ser.corpora.CORPORA`.

    Args:
        hub: the Hub's name of the licence; None where it has none.
        open: whether the audio, cut and resampled as preparation does, may be passed on to everybody; models trained
            on it can then go out under the licence itself.
    """

    hub: str | None
    open: bool


# Strictest last. ODbL asks for attribution of what is made from the database; NC-SA asks for more. ND forbids changed
# copies, and preparation resamples.
TERMS = {
    "crema_d": Terms("odbl", True),
    "ravdess": Terms("cc-by-nc-sa-4.0", True),
    "tess": Terms("cc-by-nc-nd-4.0", False),
    "savee": Terms(None, False),
}


def check_audio(corpora: Collection[str], private: bool) -> list[str]:
    """Refuse to publish audio whose licence forbids it.

    Args:
        corpora: whose recordings the push holds.
        private: whether only the owner will see them.

    Returns:
        What a person who pushes privately must know.

    Raises:
        LicenceError: a public push holds audio that may not be public, or of which nothing is known.
    """
    unknown = sorted(set(corpora) - TERMS.keys())
    closed = [corpus for corpus in TERMS if corpus in corpora and not TERMS[corpus].open]
    if not private and (unknown or closed):
        reasons = [f"{CORPORA[corpus].title} ({CORPORA[corpus].licence})" for corpus in closed]
        reasons += [f"{corpus} (a corpus whose licence is not known here)" for corpus in unknown]
        raise LicenceError(
            f"--private false would publish audio of {', '.join(reasons)}; expected audio that may be passed on. Push "
            "privately, or add --metadata_only true, which leaves the audio out: owners of the corpora join it by "
            "sha256 and id."
        )
    if "savee" in corpora:
        return [
            "SAVEE's agreement lets nobody pass its audio on. Keep this repository private and to yourself: do not "
            "share it, and do not put it into an organisation whose members have not registered for SAVEE."
        ]
    return []


def data_licence(corpora: Collection[str]) -> dict[str, Any]:
    """Fields of a dataset card's metadata: the licences of what it holds."""
    if not corpora or any(corpus not in TERMS or TERMS[corpus].hub is None for corpus in corpora):
        return {"license": "other", "license_name": "see-each-corpus"}
    names = sorted(str(TERMS[corpus].hub) for corpus in corpora)
    return {"license": names[0] if len(names) == 1 else names}


def model_licence(corpora: Collection[str], synthetic: Collection[str] = ()) -> dict[str, Any]:
    """Fields of a model card's metadata: the strictest licence among the corpora that it was trained on.

    Args:
        corpora: that trained it; none where that is not known.
        synthetic: of these, those whose recordings are generated and under no corpus's licence.
    """
    real = set(corpora) - set(synthetic)
    if corpora and not real:
        return {"license": "other", "license_name": "trained-on-synthetic-recordings"}
    if not real or any(corpus not in TERMS or not TERMS[corpus].open for corpus in real):
        return {"license": "other", "license_name": "see-the-corpora"}
    strictest = [corpus for corpus in TERMS if corpus in real][-1]
    return {"license": TERMS[strictest].hub}
