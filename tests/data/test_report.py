"""The report: counts beside the published ones, the tables, and the CSV files."""

import csv
from collections import Counter
from pathlib import Path

import pytest

from hf_ser.corpora import CORPORA
from hf_ser.data import report
from hf_ser.data.found_recordings import Found, Quarantined, find
from hf_ser.data.protocols import Assignment
from hf_ser.data.report import Count
from hf_ser.data.scan import Clip, ScanResult, scan


def clip(corpus: str, path: str) -> Clip:
    return Clip(CORPORA[corpus].parse(Path("/data") / corpus / path), 1.0, "0" * 64, "pack", 0, 1)


def refused(corpus: str, path: str, reason: str, *, named: bool = True) -> Quarantined:
    if not named:
        return Quarantined(corpus, path, reason, "got this; expected that")
    utterance = CORPORA[corpus].parse(Path("/data") / corpus / path)
    return Quarantined(corpus, path, reason, "got this; expected that", utterance)


def sources(other_files: dict[str, int]) -> Found:
    return Found({}, [], [], other_files)


RESULT = ScanResult(
    clips=[
        clip("ravdess", "Actor_01/03-01-03-01-01-01-01.wav"),
        clip("ravdess", "Actor_01/03-01-03-01-01-02-01.wav"),
        clip("ravdess", "Actor_01/03-01-01-01-01-01-01.wav"),
        clip("ravdess", "Actor_02/03-01-04-01-01-01-02.wav"),
    ],
    quarantined=[
        refused("ravdess", "Actor_01/03-01-03-01-02-01-01.wav", "silent"),
        refused("ravdess", "Actor_01/03-01-03-01-02-02-01.wav", "duplicate_audio"),
        refused("ravdess", "nested/Actor_01/03-01-03-01-01-01-01.wav", "duplicate_stem"),
        refused("ravdess", "notes.wav", "name", named=False),
        refused("ravdess", "Actor_03/03-01-05-01-01-01-03.wav", "conflicting_labels"),
        refused("ravdess", "Actor_03/03-01-06-01-01-01-03.wav", "conflicting_labels"),
    ],
)


def by_key(counts: list[Count]) -> dict[tuple[str, str, str], tuple[int, ...]]:
    """(channel, speaker, emotion) -> published, found, kept, missing."""
    return {(item.channel, item.speaker, item.emotion): item[4:] for item in counts}


def test_counts_per_speaker_and_class_beside_the_published_ones():
    counts = by_key(report.count(RESULT))
    assert counts["speech", "ravdess_01", "happy"] == (8, 4, 2, 4)  # 2 kept, 1 silent, 1 duplicate; copies count once
    assert counts["speech", "ravdess_01", "neutral"] == (4, 1, 1, 3)
    assert counts["speech", "ravdess_01", "calm"] == (8, 0, 0, 8)
    assert counts["speech", "ravdess_02", "sad"] == (8, 1, 1, 7)
    assert counts["speech", "ravdess_03", "angry"] == (8, 1, 0, 7)
    assert counts["speech", "ravdess_03", "fearful"] == (8, 1, 0, 7)
    assert counts["speech", "ravdess_24", "surprised"] == (8, 0, 0, 8)


def test_counts_cover_the_whole_published_corpus_and_no_other():
    counts = report.count(RESULT)
    assert len(counts) == 24 * 8 and {item.corpus for item in counts} == {"ravdess"}
    assert counts == sorted(counts)
    totals = [sum(item[column] for item in counts) for column in (4, 5, 6, 7)]
    assert totals == [1440, 8, 4, 1432]


@pytest.mark.parametrize(
    ("corpus", "path", "published", "rows"),
    [
        ("crema_d", "AudioWAV/1001_DFA_ANG_XX.wav", 7442, 91 * 6),
        ("tess", "OAF_angry/OAF_back_angry.wav", 2800, 2 * 7),
        ("savee", "AudioData/DC/a01.wav", 480, 4 * 7),
    ],
)
def test_one_clip_is_compared_with_its_whole_corpus(corpus, path, published, rows):
    counts = report.count(ScanResult([clip(corpus, path)], []))
    assert len(counts) == rows
    assert sum(item.published for item in counts) == published
    assert [sum(item.found for item in counts), sum(item.kept for item in counts)] == [1, 1]
    assert sum(item.missing for item in counts) == published - 1


def test_song_is_compared_only_where_a_song_was_found():
    assert {item.channel for item in report.count(RESULT)} == {"speech"}
    song = clip("ravdess", "Actor_01/03-02-03-01-01-01-01.wav")
    counts = report.count(ScanResult([*RESULT.clips, song], RESULT.quarantined))
    published = Counter()
    for item in counts:
        published[item.channel] += item.published
    assert published == {"speech": 1440, "song": 1012}
    assert by_key(counts)["song", "ravdess_01", "happy"] == (8, 1, 1, 7)
    assert ("song", "ravdess_18", "happy") not in by_key(counts)
    assert by_key(counts)["speech", "ravdess_01", "happy"] == (8, 4, 2, 4)


def test_a_song_that_was_refused_was_found_too():
    counts = report.count(ScanResult([], [refused("ravdess", "Actor_01/03-02-03-01-01-01-01.wav", "silent")]))
    assert by_key(counts)["song", "ravdess_01", "happy"] == (8, 1, 0, 7)


def test_more_than_published_is_missing_nothing():
    sentences = ("IEO", "TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")
    extra = [clip("crema_d", f"1002_{sentence}_NEU_XX.wav") for sentence in sentences]  # CREMA-D lacks one of these
    assert by_key(report.count(ScanResult(extra, [])))["speech", "crema_d_1002", "neutral"] == (11, 12, 12, 0)


def test_two_releases_of_one_performance_count_once():
    kept = [clip("ravdess", "Actor_01/03-01-01-01-01-01-01.wav"), clip("ravdess", "01-01-01-01-01-02-01.wav")]
    bad = [
        refused("ravdess", "Actor_01/01-01-01-01-01-01-01.wav", "duplicate_performance"),
        refused("ravdess", "Actor_01/03-01-01-01-01-02-01.wav", "silent"),
        refused("ravdess", "Actor_01/03-01-01-01-02-01-01.wav", "silent"),
        refused("ravdess", "Actor_01/01-01-01-01-02-01-01.wav", "silent"),
    ]
    result = ScanResult(kept, bad)
    assert by_key(report.count(result))["speech", "ravdess_01", "neutral"] == (4, 3, 2, 1)
    text = report.format_report(result, report.count(result), sources({"ravdess": 0}), {})
    assert "1 duplicate_performance, 3 silent" in text


def test_a_recording_with_a_damaged_copy_is_found_once(tmp_path, noise, encode, put):
    put(tmp_path / "in/a/03-01-03-01-01-01-01.wav", b"")
    put(tmp_path / "in/b/03-01-03-01-01-01-01.wav", encode(noise(1)))
    result = scan(find({"ravdess": tmp_path / "in"}), tmp_path / "packs", num_proc=1, progress=False)
    assert len(result.clips) == 1 and [item.reason for item in result.quarantined] == ["empty"]
    assert by_key(report.count(result))["speech", "ravdess_01", "happy"] == (8, 1, 1, 7)


def test_counts_where_the_folder_given_is_a_savee_speakers_own(tmp_path, noise, encode, put):
    put(tmp_path / "AudioData/DC/a01.wav", b"")
    put(tmp_path / "AudioData/DC/a02.wav", encode(noise(1)))
    folders = {"savee": tmp_path / "AudioData/DC"}
    result = scan(find(folders), tmp_path / "packs", num_proc=1, progress=False)
    assert by_key(report.count(result))["speech", "savee_DC", "angry"] == (15, 2, 1, 13)


def test_reasons_count_every_file_of_one_corpus():
    other = refused("savee", "AudioData/DC/a01.wav", "empty")
    result = ScanResult(RESULT.clips, [*RESULT.quarantined, other])
    assert report.reasons(result, "ravdess") == {
        **{"conflicting_labels": 2, "duplicate_audio": 1, "duplicate_stem": 1, "name": 1, "silent": 1},
    }
    assert report.reasons(result, "savee") == {"empty": 1}
    assert report.reasons(result, "tess") == {}


# --- CSV


def read_csv(path: Path) -> list[list[str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_counts_csv_holds_every_count(tmp_path):
    counts = report.count(RESULT)
    report.write_counts(counts, tmp_path / "counts.csv")
    header, *rows = read_csv(tmp_path / "counts.csv")
    assert header == ["corpus", "channel", "speaker", "emotion", "published", "found", "kept", "missing"]
    assert rows == [[str(value) for value in item] for item in counts]
    assert ["ravdess", "speech", "ravdess_01", "happy", "8", "4", "2", "4"] in rows


def test_quarantine_csv_holds_every_file_whatever_its_name(tmp_path):
    nasty = Quarantined("tess", 'a,b/"c"\nd/é ü.wav', "name", "got the stem 'é, ü'; expected \"x\"")
    report.write_quarantine(ScanResult([], [*RESULT.quarantined, nasty]), tmp_path / "quarantine.csv")
    header, *rows = read_csv(tmp_path / "quarantine.csv")
    assert header == ["corpus", "path", "reason", "detail", "id"]
    assert rows[0] == [
        *("ravdess", "Actor_01/03-01-03-01-02-01-01.wav", "silent"),
        *("got this; expected that", "ravdess/03-01-03-01-02-01-01"),
    ]
    assert rows[-1] == ["tess", 'a,b/"c"\nd/é ü.wav', "name", "got the stem 'é, ü'; expected \"x\"", ""]
    assert len(rows) == 7


def test_quarantine_csv_of_nothing_is_its_header(tmp_path):
    report.write_quarantine(ScanResult([], []), tmp_path / "quarantine.csv")
    assert read_csv(tmp_path / "quarantine.csv") == [["corpus", "path", "reason", "detail", "id"]]


def test_quarantine_csv_takes_a_name_that_is_not_utf8(tmp_path):
    name = b"caf\xe9.wav".decode("utf-8", "surrogateescape")  # as os.walk gives it
    report.write_quarantine(ScanResult([], [Quarantined("tess", name, "name", "got")]), tmp_path / "q.csv")
    assert b"caf" in (tmp_path / "q.csv").read_bytes()


# --- the tables that are printed


def table(text: str, first_column: str) -> dict[str, dict[str, str]]:
    """Read one of the report's tables: first cell -> column -> cell."""
    lines = text.splitlines()
    start = next(index for index, line in enumerate(lines) if line.split("  ")[0].strip() == first_column)
    rule = lines[start + 1]
    edges = [index for index, mark in enumerate(rule) if mark == "-" and (index == 0 or rule[index - 1] == " ")]
    spans = list(zip(edges, [*edges[1:], None], strict=True))

    def cells(line: str) -> list[str]:
        return [line[begin:end].strip() for begin, end in spans]

    rows = {}
    for line in lines[start + 2 :]:
        if not line.strip() or line.startswith("Notes on"):
            break
        rows[cells(line)[0]] = dict(zip(cells(lines[start])[1:], cells(line)[1:], strict=True))
    return rows


ASSIGNMENTS = {
    "speaker_disjoint": Assignment(
        "speaker_disjoint", None, 3, (0.7, 0.15, 0.15), {"a": "train", "b": "train", "c": "test"}, ("a first note",)
    ),
    "random": Assignment("random", None, 3, (0.7, 0.15, 0.15), {"a": "train", "b": "validation", "c": "test"}),
}


def formatted(result: ScanResult = RESULT, others: dict[str, int] | None = None) -> str:
    return report.format_report(result, report.count(result), sources(others or {"ravdess": 3}), ASSIGNMENTS)


def test_the_overview_counts_every_file():
    result = ScanResult([*RESULT.clips, clip("tess", "OAF_Sad/OAF_back_sad.wav")], RESULT.quarantined)
    rows = table(formatted(result, {"ravdess": 3, "tess": 0}), "corpus")
    assert rows == {
        "ravdess": {
            **{"found": "10", "kept": "4", "quarantined": "6", "missing": "1432 of 1440", "other files": "3"},
            "reasons": "2 conflicting_labels, 1 duplicate_audio, 1 duplicate_stem, 1 name, 1 silent",
        },
        "tess": {
            **{"found": "1", "kept": "1", "quarantined": "0", "reasons": "-"},
            **{"missing": "2799 of 2800", "other files": "0"},
        },
        "all": {"found": "11", "kept": "5", "quarantined": "6", "reasons": "", "missing": "", "other files": "3"},
    }


def test_classes_are_shown_kept_beside_published():
    result = ScanResult([*RESULT.clips, clip("tess", "OAF_Sad/OAF_back_sad.wav")], RESULT.quarantined)
    rows = table(formatted(result, {"ravdess": 3, "tess": 0}), "kept/published")
    assert rows["ravdess"] == {
        **{"neutral": "1/96", "calm": "0/192", "happy": "2/192", "sad": "1/192"},
        **{"angry": "0/192", "fearful": "0/192", "disgust": "0/192", "surprised": "0/192"},
    }
    assert rows["tess"]["calm"] == "-" and rows["tess"]["sad"] == "1/400"


def test_quarantined_files_are_listed():
    rows = table(formatted(), "quarantined")
    reasons = [row.split()[1] for row in formatted().split("\n\n")[2].splitlines()[2:]]
    assert reasons == sorted(reasons, key=lambda reason: reason.startswith("duplicate")) and len(set(reasons)) > 1
    assert len([line for line in formatted().splitlines() if "got this; expected that" in line]) == 6
    assert rows["ravdess"] == {  # the last of them
        **{"reason": "duplicate_stem", "file": "nested/Actor_01/03-01-03-01-01-01-01.wav"},
        "detail": "got this; expected that",
    }


def test_a_long_list_of_quarantined_files_is_cut():
    many = [refused("tess", f"OAF_{'abcdefghijklmnopqrstuvwxyz'[number]}_sad.wav", "empty") for number in range(23)]
    text = formatted(ScanResult(RESULT.clips, many), {"ravdess": 0, "tess": 0})
    assert len([line for line in text.splitlines() if "got this; expected that" in line]) == 20
    assert "... and 3 more. All are in quarantine.csv of the prepared dataset." in text


def test_nothing_quarantined_makes_no_table():
    text = formatted(ScanResult(RESULT.clips, []))
    assert "quarantine.csv" not in text and "detail" not in text


def test_missing_speakers_and_classes_are_named():
    text = formatted()
    assert "  ravdess: all clips of 21 of 24 speakers (04 ... 24)" in text
    assert (
        "  ravdess: of the speakers found, 23 angry, 24 calm, 24 disgust, 23 fearful, 20 happy, 11 neutral, 23 sad, "
        "24 surprised"
    ) in text
    few = formatted(ScanResult([clip("savee", "AudioData/JK/n30.wav")], []), {"savee": 0})
    assert "  savee: all clips of 3 of 4 speakers (DC, JE, KL)" in few


def test_a_whole_corpus_misses_nothing():
    whole = [clip("savee", f"ALL/{speaker}_{code}.wav") for speaker in ("DC", "JE", "JK", "KL") for code in codes()]
    text = formatted(ScanResult(whole, []), {"savee": 0})
    assert "Missing" not in text
    assert table(text, "corpus")["savee"]["missing"] == "0 of 480"


def codes() -> list[str]:
    return [
        f"{code}{number:02d}"
        for code, highest in {"a": 15, "d": 15, "f": 15, "h": 15, "n": 30, "sa": 15, "su": 15}.items()
        for number in range(1, highest + 1)
    ]


def test_splits_are_shown_with_their_hash_and_notes():
    text = formatted()
    assert table(text, "protocol") == {
        name: {
            **{"train": train, "validation": validation, "test": "1", "seed": "3"},
            "hash": ASSIGNMENTS[name].hash[:16],
        }
        for name, train, validation in (("speaker_disjoint", "2", "0"), ("random", "1", "1"))
    }
    assert text.endswith("Notes on the splits:\n  speaker_disjoint: a first note")
