"""Output on terminals and in redirections of any encoding, such as the cp1252 of Windows."""

import codecs
import io
import sys

_PLAIN = {"\N{MINUS SIGN}": "-", "\N{LESS-THAN OR EQUAL TO}": "<=", "\N{PLUS-MINUS SIGN}": "+/-", "\N{EN DASH}": "-"}
_HANDLER = "hf_ser_plain"


def tolerate_any_character() -> None:
    """Make stdout and stderr write characters that their encoding lacks in plain form, or escaped, not raise."""
    codecs.register_error(_HANDLER, _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_HANDLER)


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    plain = _PLAIN.get(error.object[error.start])
    # One character at a time, since an error may span several.
    return (plain, error.start + 1) if plain is not None else codecs.backslashreplace_errors(error)
