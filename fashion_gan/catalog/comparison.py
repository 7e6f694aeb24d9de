"""Several runs side by side, a sweep's trials among them. Runs that were trained alike but for the
seed are one group, with the spread over its seeds. Nothing but the run folders is read."""

import json
import statistics
from typing import Any

from fashion_gan.catalog.runs import find_run
from fashion_gan.config.params import Params, meta
from fashion_gan.errors import UserError
from fashion_gan.runs.run import Run, all_runs

BETTER = {  # 1: higher is better; -1: lower
    "distance": -1,
    "kernel_distance": -1,
    "precision": 1,
    "recall": 1,
    "density": 1,
    "coverage": 1,
    "label_accuracy": 1,
    "unevenness": -1,
}
ENDS = {"FINISHED": "finished", "KILLED": "stopped early", "FAILED": "failed", "RUNNING": "running"}
Groups = dict[str, list[Run]]
Figures = dict[str, dict[str, tuple[float, float | None] | None]]


def measured(names: str) -> list[Run]:
    """The runs of these names, with commas between; of none the newest three that were measured.
    Raises UserError for a run without scores, and for fewer than two."""
    compared = [find_run(n.strip()) for n in names.split(",") if n.strip()] or [
        run for run in all_runs() if run.read_json("scores")
    ][-3:]
    for run in compared:
        if not run.read_json("scores"):
            raise UserError(
                f"run {run.name} has no scores; measure it: fashion-gan resume {run.name}, or leave"
                " it out"
            )
    if len(compared) < 2:
        raise UserError(f"{len(compared)} measured runs; name two or more, with commas between")
    return compared


def grouped(compared: list[Run]) -> Groups:
    """Groups by name, "a = b = c"."""
    trained_by = [
        name
        for name in Params.model_fields
        if (meta(name)["frozen"] and name != "seed") or name in ("epochs", "max_minutes")
    ]
    groups: dict[str, list[Run]] = {}
    for run in compared:
        values = Params().model_dump() | run.info.params
        groups.setdefault(json.dumps([values[name] for name in trained_by]), []).append(run)
    return {" = ".join(run.name for run in group): group for group in groups.values()}


def figures_of(groups: Groups) -> Figures:
    """By group and figure its mean and spread; None where it was not measured."""
    return {name: {key: _figure_of(group, key) for key in BETTER} for name, group in groups.items()}


def _figure_of(group: list[Run], key: str) -> tuple[float, float | None] | None:
    """The spread is that over the seeds; of one seed that over its draws, where there were
    several."""
    scores = [run.read_json("scores") for run in group]
    if any(each.get(key) is None for each in scores):
        return None
    values = [each[key] for each in scores]
    seeds = {run.info.params["seed"] for run in group}
    return statistics.mean(values), (
        statistics.stdev(values) if len(seeds) > 1 else scores[0].get("spread", {}).get(key)
    )


def best_of(found: Figures) -> dict[str, str]:
    """By figure the group that is better than every other one by more than the largest spread; only
    where there is one."""
    best = {}
    for key, sign in BETTER.items():
        there = {name: figures[key] for name, figures in found.items() if figures[key]}
        first, *others = sorted(there, key=lambda name: -sign * there[name][0]) or [""]
        spread = max((value[1] or 0.0 for value in there.values()), default=0.0)
        if others and min(abs(there[first][0] - there[name][0]) for name in others) > spread:
            best[key] = first
    return best


def format_score(figure: tuple[float, float | None] | None, best: bool) -> str:
    """A figure in words, with a star where it is the best."""
    spread = f" ± {figure[1]:.4f}" if figure and figure[1] is not None else ""
    return f"{figure[0]:.4f}{spread}" + "*" * best if figure else "–"


def open_sweep(run: Run, name: str) -> Run:
    """The sweep that `run` is, else the one of this name, else the newest. Raises UserError where
    there is none."""
    if run.read_json("sweep"):
        return run
    sweeps = (
        [find_run(name)] if name else [each for each in all_runs() if each.read_json("sweep")][-1:]
    )
    if not sweeps or not sweeps[0].read_json("sweep"):
        raise UserError(
            "there is no sweep of this name; make one with: fashion-gan sweep"
            " params/sweeps/width.yaml"
        )
    return sweeps[0]


def trials(sweep: Run) -> list[Run]:
    """The runs of a sweep in the order of their numbers."""
    return sorted(
        (run for run in all_runs() if run.info.tags.get("within") == sweep.info.uuid),
        key=lambda run: run.name,
    )


def rows(sweep: Run) -> list[dict[str, Any]]:
    """A row a trial: its name, point (the same for trials that differ in the seed alone), whether
    that is the base's own setting, parameters of the space, seed, end, epochs, images seen, and the
    lowest value of the metric."""
    told, found = sweep.read_json("sweep"), []
    names, base = list(told["space"]), sweep.info.params
    for run in trials(sweep):
        setting = {name: run.info.params[name] for name in names}
        values, images = run.series(told["metric"])[1], run.series("images")[1]
        row = {
            "trial": run.name,
            "point": ", ".join(f"{n} {shown(v)}" for n, v in setting.items()),
        } | setting
        row |= {
            "base": setting == {name: base[name] for name in names},
            "seed": run.info.params["seed"],
        }
        row |= {
            "end": ENDS[run.info.status],
            "epochs": len(values),
            "images": int(images[-1]) if images else 0,
        }
        found.append(row | {told["metric"]: min(values, default=float("nan"))})
    return found


def shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def verdict(points: dict[str, list[float]], base: str) -> str:
    """Whether the best point is better than the base's own by more than the spread, in a sentence.
    `points`: the metric of each point's finished seeds, lower is better. The spread is the larger
    standard deviation of the two."""
    if not points.get(base):
        return "The base's own setting was not trained to the end: nothing to compare with."
    if len(points) == 1:
        return "Only the base's own setting was trained to the end: nothing to compare it with."
    best = min(points, key=lambda name: statistics.mean(points[name]))
    ours, theirs = points[best], points[base]
    if best == base:
        return f"No point is better than the base's own ({base}: {statistics.mean(theirs):.4f})."
    words = (
        f"{best}: {statistics.mean(ours):.4f}; the base's own, {base}:"
        f" {statistics.mean(theirs):.4f}"
    )
    if min(len(ours), len(theirs)) < 2:
        return (
            f"Not shown: {words}, but with one seed there is no spread to hold the difference"
            " against."
        )
    spread = max(statistics.stdev(ours), statistics.stdev(theirs))
    better = statistics.mean(theirs) - statistics.mean(ours) > spread
    return (
        f"{'Better' if better else 'Not shown to be better'}: {words}; spread over seeds"
        f" {spread:.4f}."
    )
