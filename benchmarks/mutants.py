"""How many small faults, put into the package one at a time, its tests notice:

    python benchmarks/mutants.py [--each 40] [--module metrics]

A mutant is a module with one operator, comparison, constant or truth value changed. Each is tried
in a process of its own, forked where torch is loaded already, by the tests named below, until the
first that fails. Prints the survivors, and the share that was noticed.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib.abc
import importlib.util
import io
import itertools
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
LIMIT = 240  # seconds; a mutant that hangs is noticed
TESTS = {  # by module: the tests of it, and quick ones of what stands on it
    "models.losses": ("test_losses", "test_training"),
    "metrics.distances": ("test_metrics",),
    "metrics.neighbours": ("test_metrics",),
    "training.checkpoints": ("test_checkpoint", "test_training"),
    "config.params": ("test_params",),
    "data.datasets": ("test_data", "test_pack", "test_training"),
    "runs.run": ("test_run",),
}
SWAPS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Add,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.MatMult: ast.Mult,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.USub: ast.UAdd,
}


@dataclass(frozen=True)
class Mutant:
    module: str
    line: int
    change: str
    source: str


def changes_of(node: ast.AST) -> Iterator[tuple[str, object]]:
    """What can be changed at this node: words for it, and how."""
    if (
        isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp | ast.UnaryOp)
        and type(node.op) in SWAPS
    ):
        other = SWAPS[type(node.op)]
        yield f"{type(node.op).__name__} -> {other.__name__}", lambda: setattr(node, "op", other())
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            other = SWAPS[type(operator)]
            yield (
                f"{type(operator).__name__} -> {other.__name__}",
                lambda i=i, other=other: node.ops.__setitem__(i, other()),
            )
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield f"{node.value} -> {not node.value}", lambda: setattr(node, "value", not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield f"{node.value} -> {node.value + 1}", lambda: setattr(node, "value", node.value + 1)
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        yield "condition negated", lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), node.test))
    if isinstance(node, ast.Return) and node.value is not None:
        yield "returns None", lambda: setattr(node, "value", ast.Constant(None))


def walk(tree: ast.Module) -> Iterator[ast.AST]:
    """Every node that does something: no annotation, which nothing reads."""
    for node in ast.iter_child_nodes(tree):
        yield node
        for name in ("annotation", "returns"):
            if getattr(node, name, None) is not None:
                setattr(node, name, None if name == "returns" else ast.Name("object", ast.Load()))
        yield from walk(node)


def mutants_of(module: str) -> list[Mutant]:
    text = path_of(module).read_text(encoding="utf-8")
    count = sum(1 for node in walk(ast.parse(text)) for _ in changes_of(node))
    mutants = []
    for number in range(count):
        tree = ast.parse(text)
        changes = ((node, *change) for node in walk(tree) for change in changes_of(node))
        node, words, change = next(itertools.islice(changes, number, None))
        change()
        source = ast.unparse(ast.fix_missing_locations(tree))
        mutants.append(Mutant(module, node.lineno, words, source))
    return mutants


def path_of(module: str) -> Path:
    return ROOT / "fashion_gan" / f"{module.replace('.', '/')}.py"


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the mutant where its module is imported."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant, self.path = mutant, path_of(mutant.module)

    def find_spec(self, name, path=None, target=None):
        if name == f"fashion_gan.{self.mutant.module}":
            return importlib.util.spec_from_file_location(name, self.path, loader=self)
        return None

    def create_module(self, spec):
        return None

    def exec_module(self, module) -> None:
        exec(compile(self.mutant.source, str(self.path), "exec"), module.__dict__)


def tests_of(module: str) -> list[str]:
    return [str(ROOT / "tests" / f"{name}.py") for name in TESTS[module]]


def notices(module: str, mutant: Mutant | None) -> bool:
    """In this process: whether the tests fail with it (None: with the module as it is)."""
    import pytest

    if mutant:
        sys.meta_path.insert(0, Finder(mutant))
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    words = ["-x", "-q", "--no-header", "--tb=no", "-m", "not slow"]
    words += ["-p", "no:cacheprovider", "-p", "no:xdist"]
    with contextlib.redirect_stdout(io.StringIO()):
        return pytest.main([*words, *tests_of(module)]) not in (0, 5)


def start(module: str, mutant: Mutant | None) -> int:
    child = os.fork()
    if child:
        return child
    os.setsid()
    try:
        os._exit(int(notices(module, mutant)))
    except BaseException:
        os._exit(1)


def tried(work: list[Mutant], at_once: int) -> dict[Mutant, float]:
    """The mutants that nothing noticed, with the seconds that it took."""
    waiting, running, survivors = list(reversed(work)), {}, {}
    while waiting or running:
        while waiting and len(running) < at_once:
            mutant = waiting.pop()
            running[start(mutant.module, mutant)] = mutant, time.monotonic()
        done, status = os.waitpid(-1, os.WNOHANG)
        for child, (mutant, began) in list(running.items()):
            late = time.monotonic() - began > LIMIT
            if late:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
            if child == done or late:
                del running[child]
                noticed = late or status != 0
                if not noticed:
                    survivors[mutant] = time.monotonic() - began
                words = "noticed" if noticed else "SURVIVED"
                print(
                    f"{words} {mutant.module}:{mutant.line} {mutant.change}"
                    f" ({time.monotonic() - began:.0f} s)",
                    flush=True,
                )
        time.sleep(0.02)
    return survivors


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--each",
        type=int,
        default=40,
        help="mutants of a module, drawn with a seed; all where there are fewer",
    )
    parser.add_argument("--module", choices=TESTS, action="append")
    parser.add_argument("--at-once", type=int, default=2)
    args = parser.parse_args()
    import pytest  # noqa: F401 - once, for all
    import torch

    torch.set_num_threads(1)
    work = []
    for module in args.module or TESTS:
        child = start(module, None)
        assert os.waitpid(child, 0)[1] == 0, f"the tests of {module} fail without a mutant"
        mutants = mutants_of(module)
        work += random.Random(0).sample(mutants, min(args.each, len(mutants)))
    survivors = tried(work, args.at_once)
    totals = Counter(mutant.module for mutant in work)
    left = Counter(mutant.module for mutant in survivors)
    for module in args.module or TESTS:
        print(f"{module}: {totals[module] - left[module]} of {totals[module]}")
    print(
        f"noticed: {len(work) - len(survivors)} of {len(work)} ="
        f" {1 - len(survivors) / len(work):.1%}"
    )


if __name__ == "__main__":
    main()
