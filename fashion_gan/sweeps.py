"""What a sweep's trials left: each is a run folder of its own, so nothing but these is read."""

import statistics
from typing import Any

from fashion_gan.errors import UserError
from fashion_gan.run import Run, all_runs, find

ENDS = {"FINISHED": "finished", "KILLED": "stopped early", "FAILED": "failed", "RUNNING": "running"}


def open_sweep(run: Run, name: str) -> Run:
    """The sweep that `run` is, else the one of this name, else the newest. Raises UserError where there is none."""
    if run.read_json("sweep"):
        return run
    sweeps = [find(name)] if name else [each for each in all_runs() if each.read_json("sweep")][-1:]
    if not sweeps or not sweeps[0].read_json("sweep"):
        raise UserError("there is no sweep of this name; make one with: fashion-gan sweep params/sweeps/width.yaml")
    return sweeps[0]


def trials(sweep: Run) -> list[Run]:
    """The runs of a sweep in the order of their numbers."""
    return sorted((run for run in all_runs() if run.info["tags"].get("within") == sweep.info["uuid"]), key=lambda run: run.name)


def rows(sweep: Run) -> list[dict[str, Any]]:
    """A row a trial: its name, point (the same for trials that differ in the seed alone), whether that is the base's own setting,
    parameters of the space, seed, end, epochs, images seen, and the lowest value of the metric."""
    told, found = sweep.read_json("sweep"), []
    names, base = list(told["space"]), sweep.info["params"]
    for run in trials(sweep):
        setting = {name: run.info["params"][name] for name in names}
        values, images = run.series(told["metric"])[1], run.series("images")[1]
        row = {"trial": run.name, "point": ", ".join(f"{n} {shown(v)}" for n, v in setting.items())} | setting
        row |= {"base": setting == {name: base[name] for name in names}, "seed": run.info["params"]["seed"]}
        row |= {"end": ENDS[run.info["status"]], "epochs": len(values), "images": int(images[-1]) if images else 0}
        found.append(row | {told["metric"]: min(values, default=float("nan"))})
    return found


def shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def verdict(points: dict[str, list[float]], base: str) -> str:
    """Whether the best point is better than the base's own by more than the spread, in a sentence. `points`: the metric of each
    point's finished seeds, lower is better. The spread is the larger standard deviation of the two."""
    if not points.get(base):
        return "The base's own setting was not trained to the end: nothing to compare with."
    if len(points) == 1:
        return "Only the base's own setting was trained to the end: nothing to compare it with."
    best = min(points, key=lambda name: statistics.mean(points[name]))
    ours, theirs = points[best], points[base]
    if best == base:
        return f"No point is better than the base's own ({base}: {statistics.mean(theirs):.4f})."
    words = f"{best}: {statistics.mean(ours):.4f}; the base's own, {base}: {statistics.mean(theirs):.4f}"
    if min(len(ours), len(theirs)) < 2:
        return f"Not shown: {words}, but with one seed there is no spread to hold the difference against."
    spread = max(statistics.stdev(ours), statistics.stdev(theirs))
    better = statistics.mean(theirs) - statistics.mean(ours) > spread
    return f"{'Better' if better else 'Not shown to be better'}: {words}; spread over seeds {spread:.4f}."
