"""What the corpora's licences allow: which audio may be public, and the licence of pushed datasets and models."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from hf_ser.corpora import CORPORA
from hf_ser.errors import SerError


class LicenceError(SerError):
    """A push that the licence of a corpus forbids."""


@dataclass(frozen=True)
class Terms:
    """What a corpus's licence means for a push; `hf_ser.corpora.CORPORA` has its name and address.

    Args:
        hub: the Hub's name of the licence; None if it has none.
        open: whether the audio may be redistributed after resampling and cutting; models trained on it are then
            pushed under the licence itself.
    """

    hub: str | None
    open: bool


# Strictest last. ODbL requires attribution of works made from the database; NC-SA requires more. ND forbids modified
# copies, and preparation resamples.
TERMS = {
    "crema_d": Terms("odbl", True),
    "ravdess": Terms("cc-by-nc-sa-4.0", True),
    "tess": Terms("cc-by-nc-nd-4.0", False),
    "savee": Terms(None, False),
}


def check_audio(corpora: Collection[str], private: bool) -> list[str]:
    """Reject a public push of audio whose licence forbids it.

    Args:
        corpora: those with recordings in the push.
        private: whether the repository is private.

    Returns:
        Notes for a person who pushes privately.

    Raises:
        LicenceError: a public push holds audio that may not be public or whose licence is unknown.
    """
    unknown = sorted(set(corpora) - TERMS.keys())
    closed = [corpus for corpus in TERMS if corpus in corpora and not TERMS[corpus].open]
    if not private and (unknown or closed):
        reasons = [f"{CORPORA[corpus].title} ({CORPORA[corpus].licence})" for corpus in closed]
        reasons += [f"{corpus} (unknown licence)" for corpus in unknown]
        raise LicenceError(
            f"--private false would publish audio of {', '.join(reasons)}; expected audio that may be redistributed. "
            "Push privately, or add --metadata_only true to leave the audio out: owners of the corpora can join it by "
            "sha256 and id."
        )
    if "savee" in corpora:
        return [
            "SAVEE's agreement forbids redistribution. Keep this repository private: do not share it, and do not put "
            "it into an organisation whose members have not registered for SAVEE."
        ]
    return []


def data_licence(corpora: Collection[str]) -> dict[str, Any]:
    """Fields of a dataset card's metadata: the licences of its corpora."""
    if not corpora or any(corpus not in TERMS or TERMS[corpus].hub is None for corpus in corpora):
        return {"license": "other", "license_name": "see-each-corpus"}
    names = sorted(str(TERMS[corpus].hub) for corpus in corpora)
    return {"license": names[0] if len(names) == 1 else names}


def model_licence(corpora: Collection[str], synthetic: Collection[str] = ()) -> dict[str, Any]:
    """Fields of a model card's metadata: the strictest licence among the corpora that it was trained on.

    Args:
        corpora: those that trained it; empty if they are unknown.
        synthetic: those of them whose recordings are generated, so that no corpus's licence applies.
    """
    real = set(corpora) - set(synthetic)
    if corpora and not real:
        return {"license": "other", "license_name": "trained-on-synthetic-recordings"}
    if not real or any(corpus not in TERMS or not TERMS[corpus].open for corpus in real):
        return {"license": "other", "license_name": "see-the-corpora"}
    strictest = [corpus for corpus in TERMS if corpus in real][-1]
    return {"license": TERMS[strictest].hub}
