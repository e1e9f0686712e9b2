"""File names with arbitrary bytes as text for every terminal and file format."""

import re

# A backslash that looks like an escape is doubled; otherwise, two names could get the same text.
_LIKE_ESCAPE = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4})")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def escaped_name(name: str) -> str:
    r"""Return a name in one line of UTF-8; bytes that are not UTF-8 and control characters become `\xe9` or `\u0085`.

    Different names stay different. Ordinary names, including those with backslashes, do not change.
    """
    if _LIKE_ESCAPE.search(name) or _UNPRINTABLE.search(name):
        return one_line(name.replace("\\", "\\\\"))
    return name


def one_line(text: str) -> str:
    """Escape unprintable characters in a message, which may quote a name."""
    return _UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # how Python represents a byte that is not UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}"
