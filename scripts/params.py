"""The table of all parameters: name, default, what is allowed, unit, whether a resume may change
it, what it is."""

import sys

from command import guarded, parser_of

from fashion_gan.params import Params, allowed, meta


def main() -> None:
    parser_of("params").parse_args()
    rows = [("parameter", "default", "allowed", "unit", "on resume", "what it is")]
    for name, field in Params.model_fields.items():
        kept = "frozen" if meta(name)["frozen"] else "free"
        rows.append(
            (
                name,
                str(field.default) or '""',
                allowed(name),
                meta(name)["unit"],
                kept,
                field.description,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    for row in rows:
        print(
            "  ".join(
                [*(cell.ljust(width) for cell, width in zip(row[:5], widths, strict=True)), row[5]]
            ).rstrip()
        )


if __name__ == "__main__":
    sys.exit(guarded(main))
