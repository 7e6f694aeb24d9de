"""Words for numbers, and text from outside as text."""

import unicodedata


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def plain_text(text: str) -> str:
    """Text in one line, without control characters: a terminal obeys them, and marks that turn the
    direction of writing can make a name read as another one. Joiners within words stay."""
    words = "".join(" " if unicodedata.category(c) == "Cc" else c for c in text)
    turning = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    return " ".join(words.translate(dict.fromkeys(map(ord, turning))).split())
