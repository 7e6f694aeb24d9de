"""A folder of 64×64 PNGs: seconds and peak memory of packing it, of training its feature networks,
of training on it. What is mapped from a file is told apart: the system takes it back when it needs
room.

python benchmarks/packing.py [COUNT]

python benchmarks/packing.py --photographs [COUNT]: of JPEGs of 12 megapixels, only the packing.
"""

import contextlib
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import ExifTags, Image

ROOT = Path(__file__).resolve().parents[1]
COUNT, SIDE, CLASSES, PATTERNS = 200_000, 64, 4, 500
PHOTOGRAPHS = ((4000, 3000), (3000, 4000), (4608, 2592), (3464, 3464), (4240, 2832))


def patterns():
    """Distinct PNGs of colour gradients with some noise, 7 kB each, as bytes."""
    generator = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(SIDE), np.arange(SIDE))[..., None]
    for _ in range(PATTERNS):
        coloured = ramp + generator.integers(0, 80, 3)
        noisy = coloured + generator.integers(0, 16, (SIDE, SIDE, 3))
        file = io.BytesIO()
        Image.fromarray(noisy.astype(np.uint8)).save(file, "PNG")
        yield file.getvalue()


def make(folder, count):
    contents = list(patterns())
    for c in range(CLASSES):
        (folder / f"class {c}").mkdir(parents=True)
    for i in range(count):
        (folder / f"class {i % CLASSES}" / f"{i:06}.png").write_bytes(contents[i % PATTERNS])


def make_photographs(folder, count):
    """JPEGs of some 3 MB, of five sizes, some of them on their side by a tag."""
    generator = np.random.default_rng(0)
    tag = Image.Exif()
    tag[ExifTags.Base.Orientation] = 6
    (folder / "originals").mkdir(parents=True)
    originals = []
    for number in range(20):
        width, height = PHOTOGRAPHS[number % len(PHOTOGRAPHS)]
        small = generator.integers(0, 256, (height // 40, width // 40, 3), np.uint8)
        pixels = np.asarray(Image.fromarray(small).resize((width, height), Image.BICUBIC))
        grain = generator.integers(-12, 13, pixels.shape)
        image = Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8))
        originals.append(folder / "originals" / f"{number}.jpg")
        image.save(originals[-1], quality=85, exif=tag if number % 4 == 0 else Image.Exif())
    for c in range(CLASSES):
        (folder / "made" / f"class {c}").mkdir(parents=True)
    for i in range(count):
        os.link(originals[i % 20], folder / "made" / f"class {i % CLASSES}" / f"{i:06}.jpg")


def held(process):
    """Bytes that a process and its descendants hold alone, and those that they map from files."""
    sizes = {"Pss_Anon": 0, "Pss_File": 0}
    for member in [process, *process.children(recursive=True)]:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{member.pid}/smaps_rollup").read_text().splitlines():
                name, _, value = line.partition(":")
                if name in sizes:
                    sizes[name] += 1024 * int(value.split()[0])
    return tuple(sizes.values())


def measured(what, words, root):
    """Run a command in the project `root`, and say what it took."""
    begun, peaks = time.monotonic(), (0, 0)
    child = subprocess.Popen([str(word) for word in words], cwd=root)
    while child.poll() is None:
        peaks = tuple(map(max, peaks, held(psutil.Process(child.pid))))
        time.sleep(0.5)
    private, mapped = (peak / 1e9 for peak in peaks)
    seconds = time.monotonic() - begun
    print(
        f"{what}: exit code {child.returncode}, {seconds:.0f} s, peak {private:.2f} GB, besides"
        f" {mapped:.2f} GB mapped from files",
        flush=True,
    )
    return child.returncode


def project(root):
    """A project folder without runs, so that what is measured stays out of reports/."""
    for name in ("notebooks", "params", "pyproject.toml"):
        (root / name).symlink_to(ROOT / name)
    (root / "reports").mkdir()
    return root


def main():
    words = sys.argv[1:]
    if words[:1] == ["--photographs"]:
        count = int(words[1]) if words[1:] else 10_000
        with tempfile.TemporaryDirectory() as temporary:
            root = project(Path(temporary))
            make_photographs(root, count)
            packing = (
                "from fashion_gan.data.pack import pack_dataset;"
                " from fashion_gan.data.preparation import Preparation;"
                " pack_dataset('made', 'data', print, False, Preparation((64, 64)))"
            )
            return measured(f"packing {count:,} photographs", [sys.executable, "-c", packing], root)
    count = int(words[0]) if words else COUNT
    with tempfile.TemporaryDirectory() as temporary:
        root = project(Path(temporary))
        make(root / "made", count)
        packing = (
            "from fashion_gan.data.pack import pack_dataset;"
            " pack_dataset('made', 'data', print, False)"
        )
        run = [sys.executable, "-m", "fashion_gan", "run", "params/smoke.yaml"]
        for override in ("dataset=made", f"subset={count}", "epochs=1", "channels=8"):
            run += ["-p", override]
        commands = {
            f"packing {count:,} images": [sys.executable, "-c", packing],
            "feature networks": [*run[:3], "data", "--dataset", root / "made"],
            "a run over all of them": run,
        }
        return max(measured(what, words, root) for what, words in commands.items())


if __name__ == "__main__":
    sys.exit(main())
