"""fashion-gan data"""

from pathlib import Path

import click

from fashion_gan.cli import make_command
from fashion_gan.config.settings import working_root
from fashion_gan.files import read_json

SHOWN = 5  # names of skipped images


def pack_and_say(dataset: str, folder: Path, skip_unreadable: bool) -> None:
    from fashion_gan.data.pack import DONE, SPLITS, pack_dataset

    packed = pack_dataset(dataset, folder, lambda line: print(line, flush=True), skip_unreadable)
    info = read_json(packed / DONE)
    counts = ", ".join(f"{split} {info['counts'][split]:,}" for split in SPLITS)
    shape = "×".join(map(str, info["shape"]))
    print(f"{info['name']} is packed in {packed}")
    print(f"{counts} images of {shape}; classes: {', '.join(info['classes']) or 'none'}")
    from fashion_gan.training.feature_networks import train_for

    train_for(packed)
    if skipped := info["skipped"]:
        names = ", ".join(skipped[:SHOWN]) + (", …" if len(skipped) > SHOWN else "")
        print(f"skipped {len(skipped)} that cannot be read: {names}")


@make_command("data")
@click.option("--folder", default="", help="where to (default: data in the project folder)")
@click.option(
    "--dataset",
    metavar="X",
    help="pack this one: fashion-mnist, mnist, kmnist, qmnist, a folder of images, an .npz",
)
@click.option(
    "--skip-unreadable", is_flag=True, help="leave out images that cannot be read, and list them"
)
def command(folder: str, dataset: str | None, skip_unreadable: bool) -> None:
    if skip_unreadable and dataset is None:
        raise click.UsageError("--skip-unreadable belongs to --dataset")
    target = Path(folder) if folder else working_root() / "data"
    if dataset is not None:
        pack_and_say(dataset, target, skip_unreadable)
        return
    from fashion_gan.data.download import fetch  # imports torch, which packing does not need

    print(f"Fashion-MNIST is in {fetch(target)}")
