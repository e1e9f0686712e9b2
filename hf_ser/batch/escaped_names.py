"""File names of any bytes as text that every terminal and every file format can hold."""

import re

# A backslash in a name that looks like an escape: it is doubled, or two names could be written alike.
_LIKE_ESCAPE = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4})")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def escaped_name(name: str) -> str:
    r"""Write a name in one line of UTF-8: bytes that are not UTF-8 and control characters become `\xe9` or `\u0085`.

    Different names stay different. Ordinary names, those with backslashes included, are returned as they are.
    """
    if _LIKE_ESCAPE.search(name) or _UNPRINTABLE.search(name):
        return one_line(name.replace("\\", "\\\\"))
    return name


def one_line(text: str) -> str:
    """Escape what cannot be printed, in a message that may quote a name."""
    return _UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte of a name that is not UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"
