"""fashion-gan sample: images of a generator into x.npz (images and labels) or x.png (a grid)."""

from pathlib import Path

import click
import numpy as np
from PIL import Image

from fashion_gan.catalog.generators import find_generator
from fashion_gan.cli import make_command, number_option, text_option
from fashion_gan.data.readers import class_indices
from fashion_gan.device import measuring_device
from fashion_gan.errors import UserError
from fashion_gan.explorer import codec
from fashion_gan.files import replacing
from fashion_gan.models.latents import balanced_labels, sample_images
from fashion_gan.report import plots
from fashion_gan.text import writable_text

MOST = 1_000_000  # images in one file: 784 MB of Fashion-MNIST's size before compression
MOST_IN_GRID = 10_000


def check_target(out: Path, allowed: tuple[str, ...], words: str) -> None:
    if out.suffix not in allowed:
        raise UserError(f"--out {out} ends in {out.suffix or 'nothing'}; {words}")
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}; make it first")


def sample_to_file(
    where: str, count: int, seed: int, classes: str, truncation: float, out: Path
) -> str:
    """Write `count` images to x.npz (images, labels) or x.png (a grid). Returns what was done.
    Raises UserError before anything is written."""
    most = MOST_IN_GRID if out.suffix == ".png" else MOST
    if not 1 <= count <= most:
        raise UserError(f"--n is {count}; allowed: 1 to {most:,}")
    check_target(out, (".npz", ".png"), "allowed: .npz, .png")
    model = find_generator(where)
    indices = range(len(model.classes))
    if classes:
        indices = class_indices(writable_text(classes), model.classes)
        if not model.is_conditional:
            raise UserError(
                f"the model ({model.source}) knows no classes: it cannot be asked for a class;"
                " leave --classes out"
            )
    labels = balanced_labels(count, indices)
    generator = model.generator.to(measuring_device())
    images = sample_images(generator, count, seed, labels, truncation)
    with replacing(out) as temporary:
        if out.suffix == ".png":
            columns = min(count, 10 if count <= 1000 else 50)
            temporary.write_bytes(plots.grid(images, columns, "").png)
        else:
            arrays = {"images": images.movedim(1, -1).squeeze(-1).numpy()}
            if model.is_conditional:
                arrays["labels"] = labels.numpy()
            with temporary.open("wb") as stream:
                np.savez_compressed(stream, **arrays)
    return f"{count:,} images from {model.source} (seed {seed}) are in {out}"


def code_to_file(where: str, code: str, out: Path) -> str:
    """Write the picture of an explorer's code to x.png, at its own pixels. Returns what was done.
    Raises UserError before anything is written."""
    check_target(out, (".png",), "a code's picture goes to .png")
    model = find_generator(where)
    generator = model.generator
    bits = codec.model_bits(model)
    state = codec.decode(code, bits, generator.latent_dim, generator.class_count)
    pixels = codec.draw_state(state, model).permute(1, 2, 0)
    with replacing(out) as temporary:
        # grey has no third axis in a picture
        Image.fromarray(pixels.squeeze(2).numpy()).save(temporary, format="png")
    return f"the picture {code} from {model.source} is in {out}"


@make_command("sample")
@text_option("--model", "a run, a file, models:/fashion-gan@champion, or auto", "WHERE", "auto")
@number_option("--n", 100, 1, MOST, "how many images (1 to 1,000,000)")
@number_option("--seed", 0, 0, 2**63 - 1)
@text_option(
    "--classes",
    "names or numbers with commas between; a name with a comma in double quotes; default: all",
)
@number_option(
    "--truncation", 1.0, 0, 2, "spread of the latents, 0 to 2; below 1: safer, less varied"
)
@text_option(
    "--code", "the one picture of an explorer's code; only --model and --out count", "F1-..."
)
@click.option(
    "--out", required=True, metavar="FILE", help="x.npz (images and labels) or x.png (a grid)"
)
def command(
    model: str, n: int, seed: int, classes: str, truncation: float, code: str, out: str
) -> None:
    if code:
        print(code_to_file(model, code, Path(out)))
    else:
        print(sample_to_file(model, n, seed, classes, truncation, Path(out)))
