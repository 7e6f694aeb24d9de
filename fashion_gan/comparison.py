"""Several runs side by side. Runs that were trained alike but for the seed are one group, with the spread over its seeds."""

import json
import statistics

from fashion_gan.errors import UserError
from fashion_gan.params import Params, meta
from fashion_gan.run import Run, all_runs, find

BETTER = {  # 1: higher is better; -1: lower
    "distance": -1, "kernel_distance": -1, "precision": 1, "recall": 1, "density": 1, "coverage": 1, "label_accuracy": 1, "unevenness": -1,
}  # fmt: skip
Groups = dict[str, list[Run]]
Figures = dict[str, dict[str, tuple[float, float | None] | None]]


def measured(names: str) -> list[Run]:
    """The runs of these names, with commas between; of none the newest three that were measured. Raises UserError for a run
    without scores, and for fewer than two."""
    named = [find(name.strip()) for name in names.split(",") if name.strip()]
    compared = named or [run for run in all_runs() if run.read_json("scores")][-3:]
    for run in compared:
        if not run.read_json("scores"):
            raise UserError(f"run {run.name} has no scores; measure it: fashion-gan resume {run.name}, or leave it out")
    if len(compared) < 2:
        raise UserError(f"{len(compared)} measured runs; name two or more, with commas between")
    return compared


def grouped(compared: list[Run]) -> Groups:
    """Groups by name, "a = b = c"."""
    trained_by = [name for name in Params.model_fields if (meta(name)["frozen"] and name != "seed") or name in ("epochs", "max_minutes")]
    groups: dict[str, list[Run]] = {}
    for run in compared:
        groups.setdefault(json.dumps([run.info["params"].get(name) for name in trained_by]), []).append(run)
    return {" = ".join(run.name for run in group): group for group in groups.values()}


def figures_of(groups: Groups) -> Figures:
    """By group and figure its mean and spread; None where it was not measured."""
    return {name: {key: _figure_of(group, key) for key in BETTER} for name, group in groups.items()}


def _figure_of(group: list[Run], key: str) -> tuple[float, float | None] | None:
    """The spread is that over the seeds; of one seed that over its draws, where there were several."""
    scores = [run.read_json("scores") for run in group]
    if any(each.get(key) is None for each in scores):
        return None
    values = [each[key] for each in scores]
    seeds = {run.info["params"]["seed"] for run in group}
    return statistics.mean(values), statistics.stdev(values) if len(seeds) > 1 else scores[0].get("spread", {}).get(key)


def best_of(found: Figures) -> dict[str, str]:
    """By figure the group that is better than every other one by more than the largest spread; only where there is one."""
    best = {}
    for key, sign in BETTER.items():
        there = {name: figures[key] for name, figures in found.items() if figures[key]}
        first, *others = sorted(there, key=lambda name: -sign * there[name][0]) or [""]
        spread = max((value[1] or 0.0 for value in there.values()), default=0.0)
        if others and min(abs(there[first][0] - there[name][0]) for name in others) > spread:
            best[key] = first
    return best


def told(figure: tuple[float, float | None] | None, best: bool) -> str:
    """A figure in words, with a star where it is the best."""
    spread = f" ± {figure[1]:.4f}" if figure and figure[1] is not None else ""
    return f"{figure[0]:.4f}{spread}" + "*" * best if figure else "–"
