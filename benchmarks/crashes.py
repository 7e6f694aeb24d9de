"""Let every writer crash at every point where it calls the system, do the same work again, and say
how often it held.

    PYTHONPATH=tests python benchmarks/crashes.py --count 500

Prints a line a writer, and one for each crash that did not hold; exit code 1 where there is one.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

import crashes
from writers import WRITERS


def every_point(folder: Path) -> list[tuple[crashes.Writer, str, int, str]]:
    points = []
    for writer in WRITERS:
        calls = crashes.calls_of(writer, folder)
        print(f"{writer.name}: {len(calls)} calls", flush=True)
        for number, call in enumerate(calls, 1):
            kinds = crashes.KINDS if call in crashes.MAKING else ("killed",)
            points += [(writer, kind, number, call) for kind in kinds]
    return points


def harness(folder: Path, count: int, seed: int = 0) -> list[crashes.Result]:
    """`count` crashes at points that are drawn from all."""
    points = every_point(folder)
    random.Random(seed).shuffle(points)
    results = []
    for writer, *point in points[:count]:
        results.append(crashes.crash(writer, folder, *point))
        if results[-1].problem:
            print(results[-1], flush=True)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = harness(Path(folder) / "project", options.count, options.seed)
    bad = [result for result in results if result.problem]
    print(f"{len(results) - len(bad)} of {len(results)} held")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
