"""Output to terminals and redirections in any encoding, such as cp1252 on Windows."""

import codecs
import io
import sys
import unicodedata

_PLAIN = {"\N{MINUS SIGN}": "-", "\N{LESS-THAN OR EQUAL TO}": "<=", "\N{PLUS-MINUS SIGN}": "+/-", "\N{EN DASH}": "-"}
_HANDLER = "hf_ser_plain"


def tolerate_any_character() -> None:
    """Make stdout and stderr replace or escape characters that their encoding lacks, instead of raising."""
    codecs.register_error(_HANDLER, _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def display_width(text: str) -> int:
    """The number of terminal columns of a text: wide characters take two, combining ones none.

    >>> display_width("sad"), display_width("怒り"), display_width("e\u0301")
    (3, 4, 1)
    """
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return len(text) + wide - sum(map(bool, map(unicodedata.combining, text)))


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    plain = _PLAIN.get(error.object[error.start])
    # One character at a time: an error can span several.
    return (plain, error.start + 1) if plain is not None else codecs.backslashreplace_errors(error)
