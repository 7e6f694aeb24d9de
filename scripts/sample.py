"""Draw images from a generator into x.npz (images and labels) or x.png (a grid)."""

import sys
from pathlib import Path

import numpy as np
from command import guarded, parser_of
from images import class_index
from PIL import Image

from fashion_gan import explorer, latent, model, plots
from fashion_gan.errors import UserError
from fashion_gan.files import replacing

MOST = 1_000_000  # images in one file: 784 MB of Fashion-MNIST's size before compression


def sample_to_file(
    where: str, count: int, seed: int, classes: str, truncation: float, out: Path
) -> str:
    """Write `count` images to x.npz (images, labels) or x.png (a grid). Returns what was done.
    Raises UserError before anything is written."""
    most = 10_000 if out.suffix == ".png" else MOST
    for good, words in (
        (1 <= count <= most, f"--n is {count}; allowed: 1 to {most:,}"),
        (0 <= truncation <= 2, f"--truncation is {truncation}; allowed: 0 to 2"),
        (0 <= seed < 2**63, f"--seed is {seed}; allowed: 0 to 2^63 - 1"),
        (
            out.suffix in (".npz", ".png"),
            f"--out {out} ends in {out.suffix or 'nothing'}; allowed: .npz, .png",
        ),
        (out.parent.is_dir(), f"--out {out}: there is no folder {out.parent}; make it first"),
    ):
        if not good:
            raise UserError(words)
    found = model.find(where)
    chosen = (
        [class_index(name, found.classes) for name in classes.split(",")]
        if classes
        else range(len(found.classes))
    )
    if classes and not found.asked:
        raise UserError(
            f"the model ({found.source}) knows no classes: it cannot be asked for a class; leave"
            " --classes out"
        )
    labels = latent.balanced_labels(count, chosen)
    images = latent.sample(found.generator, count, seed, labels, truncation)
    with replacing(out) as temporary:
        if out.suffix == ".png":
            temporary.write_bytes(
                plots.grid(images, min(count, 10 if count <= 1000 else 50), "").png
            )
        else:
            named = {"labels": labels.numpy()} if found.asked else {}
            with temporary.open("wb") as stream:
                np.savez_compressed(
                    stream, images=images.movedim(1, -1).squeeze(-1).numpy(), **named
                )
    return f"{count:,} images from {found.source} (seed {seed}) are in {out}"


def code_to_file(where: str, code: str, out: Path) -> str:
    """Write the picture of an explorer's code to x.png, at its own pixels. Returns what was done.
    Raises UserError before anything is written."""
    if out.suffix != ".png":
        raise UserError(
            f"--out {out} ends in {out.suffix or 'nothing'}; a code's picture goes to .png"
        )
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}; make it first")
    found = model.find(where)
    state = explorer.decode(
        code, explorer.model_bits(found), found.generator.latent_dim, found.generator.class_count
    )
    pixels = explorer.draw(state, found).permute(1, 2, 0)  # grey has no third axis in a picture
    with replacing(out) as temporary:
        Image.fromarray(pixels.squeeze(2).numpy()).save(temporary, format="png")
    return f"the picture {code} from {found.source} is in {out}"


def main() -> None:
    parser = parser_of("sample")
    parser.add_argument(
        "--model",
        default="auto",
        metavar="WHERE",
        help="a run, a file, models:/fashion-gan@champion, or auto",
    )
    parser.add_argument("--n", type=int, default=100, help="how many images (1 to 1,000,000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--classes", default="", help="names or numbers with commas between; default: all, in turn"
    )
    parser.add_argument(
        "--truncation",
        type=float,
        default=1.0,
        help="spread of the latents, 0 to 2; below 1: safer, less varied",
    )
    parser.add_argument(
        "--code",
        default="",
        metavar="F1-...",
        help="the one picture of an explorer's code; only --model and --out count",
    )
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="x.npz (images and labels) or x.png (a grid)"
    )
    args = parser.parse_args()
    if args.code:
        print(code_to_file(args.model, args.code, Path(args.out)))
        return
    print(
        sample_to_file(args.model, args.n, args.seed, args.classes, args.truncation, Path(args.out))
    )


if __name__ == "__main__":
    sys.exit(guarded(main))
