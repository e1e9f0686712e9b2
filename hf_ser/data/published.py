"""Published splits: protocol -> corpus -> folds of (test speakers, validation speakers).

If the validation speakers are empty, the source specifies the test speakers only. All splits cover speech, not song.
"""

from hf_ser.corpora.iemocap import SESSIONS
from hf_ser.corpora.savee import SPEAKERS as SAVEE_SPEAKERS

Folds = tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]


def _folds(corpus: str, *tests: str) -> Folds:
    return tuple((tuple(f"{corpus}_{speaker}" for speaker in test.split()), ()) for test in tests)


def _actors(first: int, last: int) -> tuple[str, ...]:
    return tuple(f"crema_d_{actor}" for actor in range(first, last + 1))


def _sessions() -> Folds:
    return _folds("iemocap", *(f"Ses0{session}F Ses0{session}M" for session in SESSIONS))


def _speakers_of_sessions() -> Folds:
    speakers = [(f"iemocap_Ses0{session}F", f"iemocap_Ses0{session}M") for session in SESSIONS]
    return tuple(((test,), (other,)) for pair in speakers for test, other in (pair, pair[::-1]))


def _actor_sets() -> Folds:
    sets = [_actors(1001, 1018), _actors(1019, 1036), _actors(1037, 1054), _actors(1055, 1072), _actors(1073, 1091)]
    return tuple(zip(sets, sets[1:] + sets[:1], strict=True))


PUBLISHED: dict[str, dict[str, Folds]] = {
    # EmoBox (Ma et al. 2024): six actor-disjoint folds for RAVDESS, leave one speaker out for SAVEE. Its folds of
    # IEMOCAP are the sessions, see leave_one_session_out.
    "emobox": {
        "ravdess": _folds(
            "ravdess",
            "01 11 20 21",
            "04 10 12 14",
            "08 09 19 23",
            "03 05 07 24",
            "02 15 16 18",
            "06 13 17 22",
        ),
        "savee": _folds("savee", "JE", "KL", "DC", "JK"),
    },
    # MMEmotionRecognition (Luna-Jimenez et al. 2021), five actor-disjoint folds.
    "mm_emotion_recognition": {
        "ravdess": _folds(
            "ravdess",
            "02 05 14 15 16",
            "03 06 07 13 18",
            "10 11 12 19 20",
            "08 17 21 23 24",
            "01 04 09 22",
        ),
    },
    # PEFT-SER (Feng & Narayanan 2023), one split by actor number.
    "peft_ser": {"crema_d": ((_actors(1074, 1091), _actors(1059, 1073)),)},
    # EMO-SUPERB (Wu et al. 2024, https://arxiv.org/abs/2402.13018): five sets of CREMA-D's actors by number. A fold
    # tests one set and validates on the next, as in data/CREMA-D/Primary/labels_consensus_1.csv to _5.csv of
    # https://github.com/EMOsuperb/EMO-SUPERB-submission. Only the splits are used: EMO-SUPERB predicts the
    # distribution of the raters' votes.
    "emo_superb": {"crema_d": _actor_sets()},
    # nkululeko (Burkhardt et al. 2022) tests SAVEE on KL.
    "nkululeko": {"savee": _folds("savee", SAVEE_SPEAKERS[-1])},
    # TESS has two speakers: train on one, test on the other, both ways.
    "cross_speaker": {"tess": _folds("tess", "YAF", "OAF")},
    # IEMOCAP's five sessions of two speakers each, as in SUPERB (Yang et al. 2021).
    "leave_one_session_out": {"iemocap": _sessions()},
    # IEMOCAP's ten speakers: one for test, the other speaker of the session for validation.
    "iemocap_10_fold": {"iemocap": _speakers_of_sessions()},
}
