"""Several runs side by side, a sweep's trials among them. Runs that were trained alike but for the
seed are one group, with the spread over its seeds. Nothing but the run folders is read."""

import itertools
import json
import statistics
from typing import Any

from fashion_gan.catalog.runs import find_run
from fashion_gan.config.params import Params, meta
from fashion_gan.errors import UserError
from fashion_gan.metrics.distances import FIGURES
from fashion_gan.runs.run import Run, all_runs

BETTER = {name: sign for name, (_, sign) in FIGURES.items()}  # 1: higher is better; -1: lower
ENDS = {"FINISHED": "finished", "KILLED": "stopped early", "FAILED": "failed", "RUNNING": "running"}
AS_IT_IS = "as it is"  # a sweep's base, beside recipes
Groups = dict[str, list[Run]]
Figures = dict[str, dict[str, tuple[float, float | None] | None]]


def measured(names: str) -> list[Run]:
    """The runs of these names, with commas between; of none the newest three that were measured.
    Raises UserError for a run without scores, and for fewer than two."""
    stripped = [name.strip() for name in names.split(",")]
    runs = [find_run(name) for name in stripped if name]
    runs = runs or [run for run in all_runs() if run.read_json("scores")][-3:]
    for run in runs:
        if not run.read_json("scores"):
            raise UserError(
                f"run {run.name} has no scores; measure it: fashion-gan resume {run.name}, or leave"
                " it out"
            )
    if len(runs) < 2:
        raise UserError(f"{len(runs)} measured runs; name two or more, with commas between")
    return runs


def grouped(runs: list[Run]) -> Groups:
    """Groups by name, "a = b = c"."""
    recipe = [name for name in Params.model_fields if meta(name)["frozen"] and name != "seed"]
    recipe += ["epochs", "max_minutes"]
    groups: dict[str, list[Run]] = {}
    for run in runs:
        values = Params().model_dump() | run.info.params
        groups.setdefault(json.dumps([values[name] for name in recipe]), []).append(run)
    return {" = ".join(run.name for run in group): group for group in groups.values()}


def figures_of(groups: Groups) -> Figures:
    """By group and figure its mean and spread; None where it was not measured."""
    return {name: {key: _figure_of(group, key) for key in BETTER} for name, group in groups.items()}


def _figure_of(group: list[Run], key: str) -> tuple[float, float | None] | None:
    """Mean and standard deviation over the seeds; with one seed over its draws, if several."""
    scores = [run.read_json("scores") for run in group]
    values = [run_scores.get(key) for run_scores in scores]
    if None in values:
        return None
    if len({run.info.params["seed"] for run in group}) > 1:
        return statistics.mean(values), statistics.stdev(values)
    return statistics.mean(values), scores[0].get("spread", {}).get(key)


def best_of(figures: Figures) -> dict[str, str]:
    """By figure the group that is better than every other one by more than the largest spread; only
    where there is one."""
    best = {}
    for key, sign in BETTER.items():
        values = {name: group[key] for name, group in figures.items() if group[key]}
        if len(values) < 2:
            continue
        first, second, *_ = sorted(values, key=lambda name: -sign * values[name][0])
        spread = max(deviation or 0.0 for _, deviation in values.values())
        if abs(values[first][0] - values[second][0]) > spread:
            best[key] = first
    return best


def format_score(figure: tuple[float, float | None] | None, best: bool) -> str:
    """A figure in words, with a star where it is the best."""
    if not figure:
        return "–"
    mean, deviation = figure
    spread = "" if deviation is None else f" ± {deviation:.4f}"
    return f"{mean:.4f}{spread}" + "*" * best


def open_sweep(run: Run, name: str) -> Run:
    """The sweep that `run` is, else the one of this name, else the newest. Raises UserError where
    there is none."""
    if run.read_json("sweep"):
        return run
    candidates = [find_run(name)] if name else all_runs()
    sweeps = [candidate for candidate in candidates if candidate.read_json("sweep")]
    if not sweeps:
        raise UserError(
            "there is no sweep of this name; make one with: fashion-gan sweep"
            " params/sweeps/width.yaml"
        )
    return sweeps[-1]


def trials(sweep: Run) -> list[Run]:
    """The runs of a sweep in the order of their numbers."""
    uuid = sweep.info.uuid
    runs = [run for run in all_runs() if run.info.tags.get("within") == uuid]
    return sorted(runs, key=lambda run: run.name)


def rows(sweep: Run) -> list[dict[str, Any]]:
    """A row a trial: its name, point (the same for trials that differ in the seed alone), the
    lowest value of the metric, end, seed, parameters of the space or of the recipes, whether that
    is the base's own setting, epochs, images seen, and seconds in training steps."""
    spec = sweep.read_json("sweep")
    recipes = spec.get("recipes", {})
    names = [*spec["space"], *dict.fromkeys(itertools.chain(*recipes.values()))]
    base = {name: sweep.info.params[name] for name in names}
    return [_row(trial, base, bool(recipes), spec["metric"]) for trial in trials(sweep)]


def _row(trial: Run, base: dict[str, Any], has_recipes: bool, metric: str) -> dict[str, Any]:
    params = trial.info.params
    setting = {name: params[name] for name in base}
    point = ", ".join(f"{name} {shown(value)}" for name, value in setting.items())
    is_base = setting == base
    named = {}
    if has_recipes:
        point = trial.info.tags.get("recipe", AS_IT_IS)
        is_base = point == AS_IT_IS
        named = {"recipe": point}
    values = trial.series(metric)[1]
    images, seconds = (trial.series(name)[1] for name in ("images", "seconds"))
    return {
        "trial": trial.name,
        "point": point,
        **named,
        metric: min(values, default=float("nan")),
        "end": ENDS[trial.info.status],
        "seed": params["seed"],
        **setting,
        "base": is_base,
        "epochs": len(values),
        "images": int(images[-1]) if images else 0,
        "seconds": seconds[-1] if seconds else 0.0,
    }


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
    means = {name: statistics.mean(values) for name, values in points.items()}
    best = min(means, key=means.get)
    if best == base:
        return f"No point is better than the base's own ({base}: {means[base]:.4f})."
    words = f"{best}: {means[best]:.4f}; the base's own, {base}: {means[base]:.4f}"
    if min(len(points[best]), len(points[base])) < 2:
        return (
            f"Not shown: {words}, but with one seed there is no spread to hold the difference"
            " against."
        )
    spread = max(statistics.stdev(points[best]), statistics.stdev(points[base]))
    is_better = means[base] - means[best] > spread
    claim = "Better" if is_better else "Not shown to be better"
    return f"{claim}: {words}; spread over seeds {spread:.4f}."
