"""fashion-gan params"""

from fashion_gan.cli import make_command
from fashion_gan.config.params import Params, allowed, meta


@make_command("params")
def command() -> None:
    """Print the table: name, default, what is allowed, unit, whether a resume may change it, what
    it is."""
    rows = [("parameter", "default", "allowed", "unit", "on resume", "what it is")]
    for name, field in Params.model_fields.items():
        on_resume = "frozen" if meta(name)["frozen"] else "free"
        default = str(field.default) or '""'
        unit = meta(name)["unit"]
        rows.append((name, default, allowed(name), unit, on_resume, field.description))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())
