"""Seconds that commands take in a project with many run folders, each in a process of its own:

python benchmarks/many_runs.py [COUNT]
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from fashion_gan.config.params import Params
from fashion_gan.files import read_json, write_json
from fashion_gan.runs.create import create_run

ROOT = Path(__file__).resolve().parents[1]
COUNT = 2000
COMMANDS = (
    ("params",),
    ("resume", "r7"),
    ("sample", "--n", "10", "--out", "x.npz"),
    ("champion",),
    ("doctor",),
)


def make_runs(root: Path, count: int) -> None:
    """One that finished, and copies of its folder with identities of their own."""
    run = create_run(Params(), name="r0", profile="default", notebooks=("02_train",))
    run.log_metrics({"validation_distance": 1.0}, 500_000)
    run.update(status="FINISHED", epochs_done=10, images_seen=500_000)
    run.close()
    record = read_json(run.folder / "run.json")
    for number in range(1, count):
        folder = root / "reports" / f"r{number}"
        shutil.copytree(run.folder, folder)
        changes = {"uuid": uuid.uuid4().hex, "created": record["created"] + number}
        write_json(folder / "run.json", record | changes)


def main() -> None:
    count = int(sys.argv[1]) if sys.argv[1:] else COUNT
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for name in ("notebooks", "params", "pyproject.toml"):
            (root / name).symlink_to(ROOT / name)
        (root / "reports").mkdir()
        os.chdir(root)
        begun = time.monotonic()
        make_runs(root, count)
        print(f"{count:,} runs made in {time.monotonic() - begun:.0f} s", flush=True)
        for words in COMMANDS:
            begun = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", "fashion_gan", *words], capture_output=True, text=True
            )
            seconds = time.monotonic() - begun
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            print(f"{' '.join(words)}: {seconds:.1f} s, exit code {done.returncode}; {last}")


if __name__ == "__main__":
    main()
