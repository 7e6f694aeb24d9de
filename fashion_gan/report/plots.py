"""Pictures, each with a sentence for those who do not see it."""

import base64
import functools
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib import rc_context, style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.text import Text
from matplotlib.ticker import StrMethodFormatter
from PIL import Image

from fashion_gan.errors import warn_once
from fashion_gan.files import replacing
from fashion_gan.text import plain_text, shortened

COLOURS = ("#3465a4", "#d9822b", "#4e9a06", "#a40000")
SVG_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fashion-gan",
    "font.sans-serif": ["DejaVu Sans", "sans-serif"],
}
# after DejaVu: a part of the name of fonts that have the letters of other scripts
OTHER_FONTS = ("CJK", "Han Sans", "Noto Sans", "WenQuanYi", "IPA", "Nanum", "Unifont", "Emoji")
LONGEST_LABEL = 24  # letters


@dataclass(frozen=True)
class Picture:
    """A PNG with its alternative text, as a notebook cell shows it. `width` in page pixels; None:
    its own. `svg`: the same as a vector drawing, for the report, where that is smaller. One that
    could not be drawn is empty, and its text says why."""

    png: bytes
    alt: str
    width: int | None = None
    svg: bytes = b""

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict, dict]:
        if not self.png:
            return {"text/plain": self.alt}, {}
        data = {"image/png": base64.b64encode(self.png).decode(), "text/plain": self.alt}
        metadata = {"alt": self.alt} | ({"width": self.width} if self.width else {})
        return data, {"image/png": metadata}

    def save(self, path: Path) -> None:
        for target, content in ((path, self.png), (path.with_suffix(".svg"), self.svg)):
            if content:
                with replacing(target) as temporary:
                    temporary.write_bytes(content)
            else:
                # an earlier attempt's drawing would be shown in place of this picture
                target.unlink(missing_ok=True)


def chart(draw: Callable[..., Picture]) -> Callable[..., Picture]:
    """Draws in Matplotlib's default style, whatever a person has set. Where that fails the picture
    is empty and the reason is said once: no figure ends a training."""

    @functools.wraps(draw)
    def draw_or_explain(*values: Any, **options: Any) -> Picture:
        try:
            with style.context("default"):
                return draw(*values, **options)
        except Exception as error:
            texts = [v for v in (*values, *options.values()) if isinstance(v, str)]
            title = repr(texts[0]) if texts else ""
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            message = f"picture {draw.__name__} {title} was not drawn: {reason}"
            warn_once(f"{message}; what draws it goes on without it")
            return Picture(b"", message)

    return draw_or_explain


@functools.cache
def fonts() -> list[str]:
    """DejaVu Sans, and those of this machine that may have what it has not."""
    names = sorted({font.name for font in fontManager.ttflist})
    return ["DejaVu Sans", *(name for part in OTHER_FONTS for name in names if part in name)]


def label(name: str) -> str:
    """A class's name, or another text from outside, in a figure: short, and no mathematics."""
    return shortened(plain_text(name), LONGEST_LABEL).replace("$", r"\$")


def picture(figure: Figure, alt: str) -> Picture:
    """A figure as a picture of twice the pixels that the page gives it, so that it is sharp on any
    screen."""
    for text in figure.findobj(lambda artist: isinstance(artist, Text)):
        if not text.get_text().isascii():
            text.set_fontfamily(fonts())
    png = io.BytesIO()
    svg = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        figure.savefig(png, format="png", dpi=160, bbox_inches="tight", facecolor="white")
        with rc_context(SVG_SETTINGS):
            plain = {"bbox_inches": "tight", "facecolor": "white", "metadata": {"Date": None}}
            figure.savefig(svg, format="svg", **plain)
    _pass_on(caught)
    drawing = svg.getvalue() if svg.tell() < png.tell() else b""
    return Picture(png.getvalue(), alt, int(figure.get_figwidth() * 80), drawing)


def _pass_on(caught: list[warnings.WarningMessage]) -> None:
    """Matplotlib warns of each letter that no font has, at each drawing: said once."""
    for warning in caught:
        if "missing from font" in str(warning.message):
            warn_once(
                "no font of this machine has all letters of the names in the figures: boxes stand"
                " for them; install some, such as fonts-noto-cjk"
            )
        else:
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )


@chart
def grid(images: torch.Tensor, columns: int, alt: str, scale: int = 2) -> Picture:
    """Images uint8 (N, C, H, W) in rows of `columns`, at their own pixels; the page shows them
    `scale` times larger."""
    from torchvision.utils import make_grid

    # of three colours, whatever came in
    sheet = make_grid(images, columns, padding=1, pad_value=64)
    pixels = sheet[0] if images.shape[1] == 1 else sheet.permute(1, 2, 0)
    stream = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(stream, format="png", optimize=True)
    return Picture(stream.getvalue(), alt, width=sheet.shape[2] * scale)


def new_axes(width: float = 7.0, height: float = 3.2) -> tuple[Figure, Axes]:
    """A figure and its axes, sizes in inches; not pyplot's, so a cell shows it only as a
    picture."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


@chart
def curves(
    lines: dict[str, tuple[list, list]],
    title: str,
    ylabel: str,
    levels: dict[str, float] | None = None,
    xlabel: str = "images seen",
    log: bool = False,
) -> Picture:
    """Series over images seen, or something else, and dashed horizontal levels to compare with. An
    empty series is left out."""
    figure, axes = new_axes()
    ranges = []
    for (name, (steps, values)), colour in zip(lines.items(), COLOURS, strict=False):
        if steps:
            axes.plot(steps, values, label=name, color=colour, marker="o", markersize=3)
            ranges.append(f"{name} from {values[0]:.3g} to {values[-1]:.3g}")
    for name, level in (levels or {}).items():
        label = f"{name} ({level:.3g})"
        axes.axhline(level, linestyle="--", color="#777777", linewidth=1, label=label)
    scale = "log" if log else "linear"
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, xlim=(0, None), yscale=scale)
    number = "{x:,.0f}" if xlabel == "images seen" else "{x:g}"
    axes.xaxis.set_major_formatter(StrMethodFormatter(number))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    last = max((steps[-1] for steps, _ in lines.values() if steps), default=0)
    return picture(figure, f"{title} up to {last:,} ({xlabel}): {'; '.join(ranges)}")
