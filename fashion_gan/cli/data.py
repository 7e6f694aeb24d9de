"""fashion-gan data"""

from pathlib import Path

import click

from fashion_gan.cli import make_command, overrides_option
from fashion_gan.config.params import Params
from fashion_gan.config.profiles import read_overrides
from fashion_gan.config.settings import working_root
from fashion_gan.data.preparation import Preparation
from fashion_gan.errors import UserError
from fashion_gan.files import read_json
from fashion_gan.text import listed

SHOWN = 5  # names of skipped images
OURS = {"image_size", "fit", "ground", "skip_unreadable"}  # parameters of packing


def pack_and_say(dataset: str, folder: Path, params: Params) -> None:
    from fashion_gan.data import inspection
    from fashion_gan.data.pack import pack_dataset
    from fashion_gan.data.packed import RECORD, SPLITS

    def say(line: str) -> None:
        print(line, flush=True)

    preparation = Preparation.parsed(params.image_size, params.fit, params.ground)
    packed = pack_dataset(dataset, folder, say, params.skip_unreadable, preparation)
    info = read_json(packed / RECORD)
    counts = ", ".join(f"{split} {info['counts'][split]:,}" for split in SPLITS)
    shape = "×".join(map(str, info["shape"]))
    say(f"{info['name']} is packed in {packed}")
    say(f"{counts} images of {shape}; classes: {listed(info['classes']) or 'none'}")
    inspection.report(packed, info, say)
    from fashion_gan.training.feature_networks import train_for

    train_for(packed)
    if skipped := info["skipped"]:
        names = ", ".join(skipped[:SHOWN]) + (", …" if len(skipped) > SHOWN else "")
        print(f"skipped {len(skipped)} that cannot be read: {names}")


def _params(overrides: tuple[str, ...], skip_unreadable: bool) -> Params:
    values = read_overrides(overrides)
    if others := values.keys() - OURS:
        raise UserError(
            f"-p {min(others)} is no parameter of packing; allowed: {', '.join(sorted(OURS))}"
        )
    return Params.read(values | ({"skip_unreadable": "true"} if skip_unreadable else {}))


@make_command("data")
@click.option("--folder", default="", help="where to (default: data in the project folder)")
@click.option(
    "--dataset",
    metavar="X",
    help="pack this one: fashion-mnist, mnist, kmnist, qmnist, a folder, zip or tar of images, an"
    " .npz",
)
@click.option(
    "--skip-unreadable", is_flag=True, help="leave out images that cannot be read, and list them"
)
@overrides_option
def command(
    folder: str, dataset: str | None, skip_unreadable: bool, overrides: tuple[str, ...]
) -> None:
    if (skip_unreadable or overrides) and dataset is None:
        option = "--skip-unreadable" if skip_unreadable else "-p"
        raise click.UsageError(f"{option} belongs to --dataset")
    params = _params(overrides, skip_unreadable)
    target = Path(folder) if folder else working_root() / "data"
    if dataset is not None:
        pack_and_say(dataset, target, params)
        return
    from fashion_gan.data.download import fetch  # imports torch, which packing does not need

    print(f"Fashion-MNIST is in {fetch(target)}")
