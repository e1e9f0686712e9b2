"""Read the recordings and labels of an audformat database (https://audeering.github.io/audformat/)."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_ser.corpora.listing import COLUMNS, SPLIT_NAMES, Listing, ListingError, corpus_name, make_listing
from hf_ser.extras import needs_extra

HEADER = "db.yaml"
_Key = tuple[str, float | None, float | None]  # file, start and end in seconds
# Field -> usual names of its scheme.
_SCHEMES = {
    "label": ("emotion", "emotions", "label"),
    "speaker": ("speaker", "speaker_id"),
    "gender": ("gender", "sex"),
    "age": ("age",),
    "text": ("transcription", "text"),
    "intensity": ("intensity",),
    "language": ("language",),
}


def read_audformat(
    folder: Path, columns: Mapping[str, Any] | None = None, tables: Sequence[str] | None = None
) -> Listing:
    """Read the labels of a database, and the speaker and other metadata of its recordings or segments.

    Args:
        folder: folder of the database, with its header `db.yaml` and its recordings.
        columns: field -> name of its scheme, column, or label of a scheme (such as the gender of a speaker); None
            ignores the field.
        tables: tables with the labels; None for all.

    Raises:
        ListingError: the folder holds no database, a scheme or table does not exist, two tables disagree on a label,
            or recordings cannot be used.
        MissingExtraError: audformat is not installed.
    """
    with needs_extra("audformat"):
        import audformat
    if not (folder / HEADER).is_file():
        raise ListingError(f"--audformat {folder}: no {HEADER} in it; expected the folder of an audformat database.")
    try:
        database = audformat.Database.load(str(folder))
    except Exception as error:  # of the parsers of its header and tables
        raise ListingError(f"--audformat {folder} cannot be read: {' '.join(str(error).split())}") from error
    absent = [table for table in tables or () if table not in database.tables]
    if absent:
        known = ", ".join(database.tables)
        raise ListingError(f"--audformat_tables {absent[0]}: no such table in {folder}; expected any of {known}.")
    schemes = _choose_schemes(database, columns or {}, folder)
    labels = _labels(database, schemes["label"], tables)
    rows = _rows(database, labels, schemes, _splits(database, schemes["label"], tables))
    name = str(database.name)
    notes = [f"its licence is {database.license}"] if database.license else []
    return make_listing(rows, folder.resolve(), source=name, corpus=corpus_name(name), notes=notes)


def _choose_schemes(database: Any, columns: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Field -> name of its scheme, column or label of a scheme."""
    known = _names(database)
    chosen = {field: name for field, names in _SCHEMES.items() for name in reversed(names) if name in known}
    for field, name in columns.items():
        if field not in (*COLUMNS, "audio"):
            raise ListingError(f"--columns.{field}: no such field; expected one of {', '.join(COLUMNS)}.")
        if field not in _SCHEMES:
            continue
        chosen.pop(field, None)
        if name is not None:
            if name not in known:
                raise ListingError(f"{folder} has no scheme {name}; expected one of {', '.join(sorted(known))}.")
            chosen[field] = str(name)
    if "label" not in chosen:
        raise ListingError(
            f"{folder} has no scheme {' or '.join(_SCHEMES['label'])}; its schemes are {', '.join(sorted(known))}. "
            "Pass the name of the scheme with --columns.label."
        )
    return chosen


def _names(database: Any) -> set[str]:
    names = set(database.schemes)
    for scheme in database.schemes.values():
        if isinstance(scheme.labels, dict):
            names |= {key for values in scheme.labels.values() if isinstance(values, dict) for key in values}
    return names.union(*(table.columns for table in database.tables.values()))


def _labels(database: Any, scheme: str, tables: Sequence[str] | None) -> dict[_Key, Any]:
    try:
        return _by_key(database.get(scheme, tables=tables))
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ListingError(
            f"the tables of {database.name} disagree: {reason} Choose the tables with --audformat_tables, of "
            f"{', '.join(database.tables)}."
        ) from error


def _by_key(frame: Any) -> dict[_Key, Any]:
    """File, start and end in seconds (None: of the whole file) -> value, without missing values."""
    values = {}
    for key, value in zip(frame.index, frame.iloc[:, 0], strict=True):
        if value is None or value != value:  # NaN is not equal to itself
            continue
        file, start, end = key if isinstance(key, tuple) else (key, None, None)
        start_s = start.total_seconds() if start is not None else 0.0
        values[str(file), start_s or None, end.total_seconds() if end is not None and end == end else None] = value
    return values


def _splits(database: Any, scheme: str, tables: Sequence[str] | None) -> dict[_Key, str]:
    """Recording or segment -> train, validation or test, for those in a table with a split."""
    given: dict[_Key, str] = {}
    for name, split in database.splits.items():
        kind = SPLIT_NAMES.get(str(split.type).lower())
        if kind is not None:
            given |= dict.fromkeys(_by_key(database.get(scheme, tables=tables, splits=name)), kind)
    return given


def _language(database: Any) -> str:
    """The language of a database of one language, as its shortest code: de for deu."""
    from iso639 import Lang  # a dependency of audformat

    codes = [Lang(code) for code in database.languages]
    return (codes[0].pt1 or codes[0].pt3) if len(codes) == 1 else ""


def _rows(
    database: Any, labels: Mapping[_Key, Any], schemes: Mapping[str, str], splits: Mapping[_Key, str]
) -> Iterator[tuple[str, dict[str, str]]]:
    # Each field is read by itself: Database.get with several schemes can mix up the values of files and segments.
    others = {field: _by_key(database.get(name)) for field, name in schemes.items() if field != "label"}
    language = _language(database)
    for key, label in labels.items():
        file, start_s, end_s = key
        row = {"path": file, "label": str(label), "split": splits.get(key, ""), "language": language}
        for field, values in others.items():
            value = values.get(key, values.get((file, None, None)))  # of the segment, or of its file
            row |= {} if value is None else {field: f"{value:g}" if isinstance(value, float) else str(value)}
        row |= {} if start_s is None else {"start": repr(start_s)}
        row |= {} if end_s is None else {"end": repr(end_s)}
        yield (file if start_s is end_s is None else f"{file} from {start_s or 0.0:g} s"), row
