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
# copies, and preparation resamples. EMO-DB can be downloaded freely, but no licence permits copies.
TERMS = {
    "crema_d": Terms("odbl", True),
    "ravdess": Terms("cc-by-nc-sa-4.0", True),
    "tess": Terms("cc-by-nc-nd-4.0", False),
    "emodb": Terms(None, False),
    "savee": Terms(None, False),
    "iemocap": Terms(None, False),
}
UNKNOWN = "unknown"
# The Hub's names of licences that people choose for recordings, from the Hub's documentation. The permissive ones
# require at most attribution, so that other corpora can be stricter.
_PERMISSIVE = ("apache-2.0", "cc-by-3.0", "cc-by-4.0", "cc0-1.0", "cdla-permissive-2.0", "mit", "odc-by", "pddl")
_OTHERS = (
    *("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0"),
    *("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cdla-sharing-1.0"),
    *("odbl",),
)


def check_audio(corpora: Collection[str], private: bool, own: str = UNKNOWN) -> list[str]:
    """Reject a public push of audio whose licence forbids it or is unknown.

    Args:
        corpora: those with recordings in the push.
        private: whether the repository is private.
        own: licence of the recordings that are in none of `CORPORA`, the `licence` of preparation.json.

    Returns:
        Notes for a person who pushes privately.

    Raises:
        LicenceError: a public push holds audio that may not be public or whose licence is unknown.
    """
    unknown = sorted(set(corpora) - TERMS.keys()) if own == UNKNOWN else []
    closed = [corpus for corpus in TERMS if corpus in corpora and not TERMS[corpus].open]
    if not private and (unknown or closed):
        reasons = [f"{CORPORA[corpus].title} ({CORPORA[corpus].licence})" for corpus in closed]
        reasons += [f"{corpus} (unknown licence)" for corpus in unknown]
        raise LicenceError(
            f"--private false would publish audio of {', '.join(reasons)}; expected audio that may be redistributed. "
            "Push privately, or add --metadata_only true to leave the audio out: owners of the corpora can join it by "
            f"sha256 and id.{_OWN_LICENCE if unknown else ''}"
        )
    return [
        f"{CORPORA[corpus].title}'s agreement forbids redistribution. Keep this repository private: do not share it, "
        f"and do not put it into an organisation whose members have not registered for {CORPORA[corpus].title}."
        for corpus in ("savee", "iemocap")
        if corpus in corpora
    ]


_OWN_LICENCE = " For recordings of your own, prepare the dataset with --licence, such as --licence cc-by-4.0."


def data_licence(corpora: Collection[str], own: str = UNKNOWN) -> dict[str, Any]:
    """Fields of a dataset card's metadata: the licences of its corpora; for `own` see `check_audio`."""
    names = {TERMS[corpus].hub if corpus in TERMS else _known(own) for corpus in corpora}
    if not names or None in names:
        return {"license": "other", "license_name": "see-each-corpus"}
    licences = sorted(map(str, names))
    return {"license": licences[0] if len(licences) == 1 else licences}


def _known(own: str) -> str | None:
    """The Hub's name of a licence; None if it has none."""
    return own.lower() if own.lower() in _PERMISSIVE + _OTHERS else None


def model_licence(corpora: Collection[str], synthetic: Collection[str] = (), own: str = UNKNOWN) -> dict[str, Any]:
    """Fields of a model card's metadata: the strictest licence among the corpora that it was trained on.

    Args:
        corpora: those that trained it; empty if they are unknown.
        synthetic: those of them whose recordings are generated, so that no corpus's licence applies.
        own: see `check_audio`.
    """
    real = set(corpora) - set(synthetic)
    if corpora and not real:
        return {"license": "other", "license_name": "trained-on-synthetic-recordings"}
    named = [corpus for corpus in TERMS if corpus in real]
    licence = _known(own)
    # Licences other than those of the corpora are compared only as far as that is simple.
    combines = licence in _PERMISSIVE if named else licence is not None and "-nd-" not in licence
    if not real or not all(TERMS[corpus].open for corpus in named) or (real > set(named) and not combines):
        return {"license": "other", "license_name": "see-the-corpora"}
    return {"license": TERMS[named[-1]].hub if named else licence}
