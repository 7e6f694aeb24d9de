"""Markdown: values from outside as text in it, and HTML from it."""

import re
from typing import Any

from markupsafe import Markup

from fashion_gan.text import plain_text

# by what each is written so that every reader of Markdown shows the character itself
ENTITIES = {"\\": "&#92;", "&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;"}
# what begins emphasis, code, links, tables, headings and addresses; an underscore within a word
# begins nothing
SPECIAL = re.compile(r"[`*\[\]|~]|(?<!&)#|(?<!\w)_|_(?!\w)|:(?=//)")


def escape(value: Any) -> Markup:
    """A value as text in Markdown: no markup of its own, in one line."""
    if hasattr(value, "__html__"):
        return Markup(value)
    # the blank at an end separates the value from what follows it
    text = str(value)
    inner = plain_text(text).translate(str.maketrans(ENTITIES))
    inner = SPECIAL.sub(r"\\\g<0>", inner)
    return Markup(" " * text[:1].isspace() + inner + " " * text[-1:].isspace() * bool(inner))


def code_span(text: str) -> Markup:
    """Text between backticks, more of them than it holds in a row."""
    text = plain_text(text)
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    padding = " " * bool(longest)
    return Markup(f"{fence}{padding}{text}{padding}{fence}")


def to_html(text: str) -> Markup:
    from nbconvert.filters import markdown2html

    return Markup(markdown2html(text))
