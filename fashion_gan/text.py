"""Words for numbers; text from outside."""


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"


def plain_text(text: str) -> str:
    """A text from outside, as it may be shown: ? for what does not print, as control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
