"""Seconds and peak memory of packing a folder of 64×64 PNGs, measured in a process of its own.

python benchmarks/packing.py [COUNT]
"""

import io
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from memory import total
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
COUNT, SIDE, CLASSES, PATTERNS = 200_000, 64, 4, 500


def patterns():
    """Distinct PNGs of colour gradients with some noise, 7 kB each, as bytes."""
    generator = np.random.default_rng(0)
    for _ in range(PATTERNS):
        ramp = np.add.outer(np.arange(SIDE), np.arange(SIDE))[..., None] + generator.integers(0, 80, 3)
        file = io.BytesIO()
        Image.fromarray((ramp + generator.integers(0, 16, (SIDE, SIDE, 3))).astype(np.uint8)).save(file, "PNG")
        yield file.getvalue()


def make(folder, count):
    contents = list(patterns())
    for c in range(CLASSES):
        (folder / f"class {c}").mkdir(parents=True)
    for i in range(count):
        (folder / f"class {i % CLASSES}" / f"{i:06}.png").write_bytes(contents[i % PATTERNS])


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make(folder / "made", count)
        begun, peak = time.monotonic(), 0
        words = ["--folder", folder / "data", "--dataset", folder / "made"]
        child = subprocess.Popen([sys.executable, ROOT / "scripts" / "data.py", *words])
        while child.poll() is None:
            peak = max(peak, total(psutil.Process(child.pid)))
            time.sleep(0.2)
        seconds = time.monotonic() - begun
        # before the folder is removed, which takes a while too
        print(f"{count:,} images: exit code {child.returncode}, {seconds:.1f} s, peak memory {peak / 1e9:.3f} GB", flush=True)
    return child.returncode


if __name__ == "__main__":
    sys.exit(main())
