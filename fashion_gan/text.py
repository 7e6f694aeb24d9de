"""Words for numbers and values, and text from outside as text."""

import reprlib
import unicodedata
from collections.abc import Sequence

_short = reprlib.Repr()
_short.maxlevel, _short.maxstring, _short.maxother, _short.maxlong = 2, 80, 80, 40
short_repr = _short.repr  # of values that others wrote: some would fill the screen, or the memory


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def writable_text(text: str) -> str:
    """Text that UTF-8 can hold: bytes of a file's name that are none are written as \\xe9."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\\udc", "\\x")


def shortened(text: str, most: int) -> str:
    """Text of `most` characters at most, with an ellipsis where something is left out."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names with commas, the first `most` and how many there are."""
    more = f", … ({len(names):,} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def plain_text(text: str) -> str:
    """Text in one line, without control characters: a terminal obeys them, and marks that turn the
    direction of writing can make a name read as another one. Joiners within words stay."""
    text = writable_text(text)
    words = "".join(" " if unicodedata.category(c) == "Cc" else c for c in text)
    turning = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    return " ".join(words.translate(dict.fromkeys(map(ord, turning))).split())
