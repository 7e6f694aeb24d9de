"""Figures of a benchmark into reports/showcase/benchmarks.json, from where README takes them."""

from pathlib import Path

from fashion_gan.files import read_json, write_json

KEPT = Path(__file__).resolve().parents[1] / "reports" / "showcase" / "benchmarks.json"


def keep(name: str, command: str, **figures: float) -> None:
    others = read_json(KEPT) if KEPT.exists() else {}
    write_json(KEPT, others | {name: {"command": command} | figures})
