"""What a sweep tries: its file, its space, its points."""

import itertools
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fashion_gan.catalog.comparison import AS_IT_IS
from fashion_gan.config.params import announce, current_names
from fashion_gan.config.profiles import Profile, read_profile, read_yaml
from fashion_gan.errors import UserError
from fashion_gan.runs.run import Run

METRIC = "validation_distance"  # by the dev network, which makes the choices
Values = Annotated[list[str], Field(min_length=1)]
Dimension = Annotated[
    dict[Literal["choice", "range", "log", "grid"], Values], Field(min_length=1, max_length=1)
]


class Sweep(BaseModel):
    """What a sweep's file says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str  # a profile: the first point, and what holds where the space says nothing
    set: dict[str, str] = {}  # for all trials, the first point too
    space: dict[str, Dimension] = {}
    recipes: dict[str, dict[str, str]] = {}  # or points by name, each with what it changes
    notebooks: list[str] = []  # that a trial runs; none: the base's
    # points drawn, each with every cell of the grid; fewer where the space has fewer
    trials: int = Field(10, ge=1, le=100_000)
    seeds: list[int] = Field([0, 1], min_length=1)  # each point is trained with each of them
    metric: Literal["validation_distance"] = METRIC
    scheduler: Literal["asha", "none"] = "asha"
    grace: int = Field(1, ge=1)  # epochs before a trial can be stopped
    # of the trials that reach a mark one in so many goes on; marks are so many times further on
    factor: float = Field(3, gt=1)
    cores: int = Field(1, ge=1)  # a trial
    gpus: float = Field(0, ge=0)  # a trial; 0.5: two share one
    retries: int = Field(2, ge=0, le=100)  # of a trial that died, from its last checkpoint
    draw_seed: int = Field(0, ge=0)  # the points follow from it

    @model_validator(mode="before")
    @classmethod
    def _current_names(cls, values: Any) -> Any:
        """Parameters by the names that they have now."""
        if not isinstance(values, dict):
            return values
        by_name = [key for key in ("set", "space") if isinstance(values.get(key), dict)]
        changed = {key: current_names(values[key], announce) for key in by_name}
        recipes = values.get("recipes")
        if isinstance(recipes, dict):
            changed["recipes"] = {
                name: current_names(recipe, announce) if isinstance(recipe, dict) else recipe
                for name, recipe in recipes.items()
            }
        return values | changed

    @model_validator(mode="after")
    def _one_kind_of_points(self) -> "Sweep":
        if bool(self.space) == bool(self.recipes):
            raise ValueError("say what is tried: a space, or recipes")
        return self

    @property
    def overrides(self) -> list[str]:
        return _words(self.set)

    def overrides_of(self, point: dict[str, Any]) -> list[str]:
        """What a point changes in the base, its seed among it."""
        values = dict(point)
        recipe = self.recipes.get(values.pop("recipe", AS_IT_IS), {})
        return [*self.overrides, *_words(recipe), *_words(values)]


def read_sweep(path: Path) -> Sweep:
    """A sweep's file. Raises UserError, in one line, for anything that is not right, values of the
    space included."""
    sweep = _checked(path, read_yaml(path))
    named = {*sweep.space, *itertools.chain(*sweep.recipes.values())}
    if "processes" in named or base_of(sweep).params.processes > 1:
        raise UserError(f"{path}: a trial trains alone; leave processes out, and say cores")
    for name in sorted(named):
        if name == "seed" or name in sweep.set:
            other = "seeds" if name == "seed" else "set"
            where = "the space" if sweep.space else "a recipe"
            raise UserError(f"{path}: {name} is in {where} and in {other}; keep one")
    check_recipes(path, sweep)
    for name in sweep.space:
        kind, values = _dimension(sweep, name)
        if kind == "range" and not _is_rising(values):
            raise UserError(f"{path}: {name}: range must be two rising numbers: [low, high]")
        if kind == "log" and not (_is_rising(values) and values[0] > 0):
            raise UserError(f"{path}: {name}: log must be two rising numbers, over 0: [low, high]")
    return sweep


def check_recipes(path: Path, sweep: Sweep) -> None:
    """Raises UserError for values that are not allowed, and for two recipes that are the same."""
    settings = {AS_IT_IS: base_of(sweep).params}
    for name, recipe in sweep.recipes.items():
        if name == AS_IT_IS:
            raise UserError(f"{path}: {name!r} is the base's own name; give the recipe another one")
        params = base_of(sweep, *_words(recipe)).params
        for other, known in settings.items():
            if params == known:
                raise UserError(f"{path}: {name!r} is the same as {other!r}; keep one")
        settings[name] = params


def _words(values: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


def sweep_of(run: Run) -> Sweep:
    """What a sweep's run was begun with. Raises UserError where its sweep.json is damaged."""
    return _checked(run.folder / "sweep.json", run.read_json("sweep"))


def _checked(path: Path, values: Any) -> Sweep:
    try:
        return Sweep.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"])) or "the file"
        message = problem["msg"]
        raise UserError(f"{path}: {field}: {message[0].lower()}{message[1:]}") from None


def _dimension(sweep: Sweep, name: str) -> tuple[str, list[Any]]:
    """How a parameter of the space is drawn, and from what values."""
    ((kind, texts),) = sweep.space[name].items()
    return kind, [value_of(sweep, name, text) for text in texts]


def _is_rising(values: list[Any]) -> bool:
    """Whether these are two numbers, the larger one last."""
    are_numbers = all(type(value) in (int, float) for value in values)
    return len(values) == 2 and are_numbers and values[0] < values[1]


def base_of(sweep: Sweep, *more: str) -> Profile:
    return read_profile(Path(sweep.base), [*sweep.overrides, *more], sweep.notebooks)


def value_of(sweep: Sweep, name: str, text: str) -> Any:
    """A parameter's value from its text, in its own type and within its bounds."""
    return getattr(base_of(sweep, f"{name}={text}").params, name)


def space_of(sweep: Sweep) -> dict[str, Any]:
    """The space in Ray Tune's terms."""
    from ray import tune

    numbers = {
        ("range", float): tune.uniform,
        ("range", int): tune.randint,
        ("log", float): tune.loguniform,
        ("log", int): tune.lograndint,
    }
    space = {"seed": tune.grid_search(sweep.seeds)}
    if sweep.recipes:
        space["recipe"] = tune.choice([AS_IT_IS, *sweep.recipes])
    for name in sweep.space:
        kind, values = _dimension(sweep, name)
        if kind == "choice":
            space[name] = tune.choice(values)
        elif kind == "grid":
            space[name] = tune.grid_search(values)
        else:
            low, high = values
            space[name] = numbers[kind, type(low)](low, high + isinstance(high, int))
    return space


def points_of(sweep: Sweep, base: Profile) -> list[dict[str, Any]]:
    """The base's own point, then the recipes or those drawn, none twice: of a small space fewer
    than `trials`."""
    if sweep.recipes:
        return [{"recipe": name} for name in (AS_IT_IS, *sweep.recipes)]
    from ray.tune.search.sample import Domain

    draws = np.random.RandomState(sweep.draw_seed)
    space = space_of(sweep)
    domains = {name: domain for name, domain in space.items() if isinstance(domain, Domain)}
    points = [{name: getattr(base.params, name) for name in sweep.space}]
    # a drawn point has all cells of the grid
    drawn = {tuple(points[0].values())} if domains.keys() == sweep.space.keys() else set()
    for _ in range(20 * sweep.trials):
        if len(points) > sweep.trials:
            break
        point = {name: domain.sample(random_state=draws) for name, domain in domains.items()}
        if tuple(point.values()) not in drawn:
            drawn.add(tuple(point.values()))
            points.append(point)
    return points
