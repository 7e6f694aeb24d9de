"""A generator for the page: its weights with batch norms folded, its directions, the classifier that looks at the pictures, and
real images to compare with, as one description and one block of numbers. explorer.js reads them."""

import base64
import io
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from fashion_gan import features, latent, metrics
from fashion_gan.data import CLASSES, Split
from fashion_gan.errors import UserError
from fashion_gan.explorer import model_bits
from fashion_gan.model import Model
from fashion_gan.networks import Generator

TILES, ROOM = (
    (2000, 1000, 500),
    2_450_000,
)  # training images in the page, of all classes; characters that all of it takes in the page
MEASURED = 1000  # samples on which a direction is measured
SLEEVES, SIDES = (
    ("less sleeve", "more sleeve"),
    ("darker sides", "brighter sides"),
)  # the same figure, of clothes and of other pictures


def folded(layers: nn.Sequential) -> list[dict[str, Any]]:
    """Convolutions with the batch norm after them folded in: kind, act, weight (taps, cin, cout), bias (cout,)."""
    found, acts = [], {nn.ReLU: "relu", nn.Tanh: "tanh", nn.SiLU: "silu"}
    for module in layers:
        if isinstance(module, (nn.ConvTranspose2d, nn.Conv2d)):
            up = isinstance(
                module, nn.ConvTranspose2d
            )  # its weight is (cin, cout, y, x), the other's (cout, cin, y, x)
            weight = module.weight.permute(2, 3, 0, 1) if up else module.weight.permute(2, 3, 1, 0)
            bias = module.bias if module.bias is not None else torch.zeros(weight.shape[3])
            found.append(
                {
                    "kind": "up" if up else ("same", "half")[module.stride[0] - 1],
                    "weight": weight.flatten(0, 1),
                    "bias": bias,
                }
            )
        elif isinstance(module, nn.BatchNorm2d) and found:
            scale, shift = latent.affine(module)
            found[-1] |= {
                "weight": found[-1]["weight"] * scale,
                "bias": found[-1]["bias"] * scale + shift,
            }
        elif type(module) in acts and found:
            found[-1].setdefault("act", acts[type(module)])
    return found


def payload(
    found: Model, train: Split, fresh: Split, folder: Path = features.WEIGHTS
) -> tuple[dict[str, Any], bytes]:
    """The description (JSON) and the packed numbers that the page needs for a model; `train` gives the real images, `fresh` the
    unseen ones that say how near to those a real image lies; `folder` is theirs. Beside a wide generator there is ROOM for fewer real
    images. Raises UserError where the model's pictures are other ones."""
    generator, network, clothes = (
        found.generator.cpu(),
        features.load("dev", folder=folder),
        found.classes == CLASSES,
    )
    if (generator.shape, found.classes) != (tuple(train.images.shape[1:]), train.classes):
        raise UserError(
            f"the model ({found.source}) makes other pictures than those in {folder}; set data_dir, or another model"
        )
    parts, weights = weights_of(generator, network)
    for count in TILES:
        about, scales, tiles = real_ones(network, train, fresh, count // generator.class_count)
        tensors = weights | scales
        numbers = packed(tensors, tiles)
        if len(numbers) * 4 / 3 + len(about["sprite"]) < ROOM:
            break
    starts = np.cumsum([0, *(t.numel() for t in tensors.values())]).tolist()
    about |= {
        "model": model_bits(found), "source": found.source, "latent_dim": generator.latent_dim, "conditional": generator.conditional,
        "shape": generator.shape, "classes": found.classes, "thing": "garment" if clothes else "picture", "train": len(train),
        "scale": float(network.scale), "directions": named(generator, SLEEVES if clothes else SIDES), "numbers": starts[-1],
        "tensors": {name: (start, t.numel()) for (name, t), start in zip(tensors.items(), starts, strict=False)},
    }  # fmt: skip
    return parts | about, numbers


def weights_of(
    generator: Generator, network: features.FeatureNetwork
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The layers of both networks, their weights by name, and those weights."""
    (scale, shift), plan = latent.affine(generator.layers[0]), math.prod(generator.plan)
    project = (
        generator.project.weight.T.unflatten(1, (-1, plan)).transpose(1, 2) * scale
    )  # (inputs, 49, 4C): pixel by pixel
    left = network.body[-2].in_features // features.ROLES["dev"].widths[-1]  # places
    hidden = network.body[-2].weight.T.unflatten(0, (-1, left)).transpose(0, 1)  # as there
    tensors = {
        "project": project, "project_bias": shift.repeat(plan), "hidden": hidden, "hidden_bias": network.body[-2].bias,
        "head": network.head.weight.T, "head_bias": network.head.bias, "directions": torch.from_numpy(latent.directions(generator)),
    }  # fmt: skip
    parts = {"generator": folded(generator.layers), "classifier": folded(network.body)}
    for name, layers in parts.items():
        for i, layer in enumerate(layers):
            layer["cin"], layer["cout"] = layer["weight"].shape[1:]
            for part in ("weight", "bias"):
                tensors[f"{name}{i}.{part}"], layer[part] = layer[part], f"{name}{i}.{part}"
    return parts, tensors


def real_ones(
    network: features.FeatureNetwork, train: Split, fresh: Split, count: int
) -> tuple[dict, dict, torch.Tensor]:
    """`count` training images of each class: what there is to say about them, the scales of their features, those as uint8."""
    chosen = torch.cat(
        [(train.labels == c).nonzero().flatten()[:count] for c in range(len(train.classes))]
    )
    real, unseen = (
        features.extract(network, images)[0] for images in (train.images[chosen], fresh.images)
    )
    least, step = (
        real.min(dim=0).values,
        (real.max(dim=0).values - real.min(dim=0).values).clamp(min=1e-6) / 255,
    )
    about = {
        "sprite": sprite(train.images[chosen]), "tile_classes": train.labels[chosen].tolist(), "tile_numbers": chosen.tolist(),
        "real_distance": metrics.nearest(unseen, real)[0].median().item(),
    }  # fmt: skip
    return (
        about,
        {"tile_least": least, "tile_step": step},
        ((real - least) / step).round().to(torch.uint8),
    )


def packed(tensors: dict[str, torch.Tensor], tiles: torch.Tensor) -> bytes:
    """All numbers as float16, all high bytes before all low ones, then the tiles' features uint8, deflated: the high bytes repeat
    themselves, which saves a seventh."""
    halves = np.concatenate(
        [t.detach().contiguous().numpy().astype("<f2").reshape(-1) for t in tensors.values()]
    ).view(np.uint8)
    return zlib.compress(
        halves[1::2].tobytes() + halves[::2].tobytes() + tiles.numpy().tobytes(), 9
    )


def sprite(images: torch.Tensor, columns: int = 50) -> str:
    """Images uint8 (N, C, H, W) as one picture, `columns` a row, as the source of an <img>. WebP at quality 60 shows what they are
    at a third of a PNG's size; distances are taken from the images themselves."""
    colours, height, width = images.shape[1:]
    images = torch.cat([images, images.new_zeros(-len(images) % columns, colours, height, width)])
    sheet = (
        images.unflatten(0, (-1, columns))
        .permute(0, 3, 1, 4, 2)
        .reshape(-1, columns * width, colours)
    )
    stream = io.BytesIO()
    Image.fromarray(sheet.squeeze(2).numpy()).save(stream, format="webp", quality=60, method=6)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def traits(
    images: torch.Tensor, sides: tuple[str, str] = SLEEVES
) -> dict[tuple[str, str], torch.Tensor]:
    """What can be measured on images uint8 (N, C, H, W), each a figure an image (N,), by the words for less and more; `sides`: those
    for the share of brightness in the outer quarters. Of colours the mean counts."""
    x, quarter = images.double().mean(dim=1) / 255, images.shape[3] // 4
    ink, lit = x.sum(dim=(1, 2)).clamp(min=1e-9), x > 0.1
    size, rows = lit.sum(dim=(1, 2)).clamp(min=1), torch.arange(float(images.shape[2]))
    steps = (x[:, :, 1:] - x[:, :, :-1]).abs() * (lit[:, :, 1:] & lit[:, :, :-1])
    return {
        ("darker", "brighter"): (x * lit).sum(dim=(1, 2)) / size,
        ("narrower", "wider"): (x.amax(dim=1) > 0.2).sum(dim=1).double(),
        ("shorter", "taller"): (x.amax(dim=2) > 0.2).sum(dim=1).double(),
        sides: (x[:, :, :quarter].sum(dim=(1, 2)) + x[:, :, -quarter:].sum(dim=(1, 2))) / ink,
        ("plainer", "patterned"): steps.sum(dim=(1, 2)) / size,
        ("higher", "lower"): (x.sum(dim=2) * rows).sum(dim=1) / ink,
        ("symmetric", "lopsided"): (x - x.flip(2)).abs().sum(dim=(1, 2)) / ink,
    }


def named(
    generator: Generator, sides: tuple[str, str] = SLEEVES, sigma: float = 2.0, clear: float = 0.25
) -> list[dict[str, Any]]:
    """The directions' names: the words for the trait that changes most where some MEASURED samples are moved by `sigma`, in standard
    deviations of that trait within a class; the clearest gets a trait first. A number where no change is `clear`, which is
    some eight times the standard error."""
    classes = range(generator.class_count)
    labels = latent.balanced_labels(MEASURED // len(classes) * len(classes), classes)
    z = latent.draw(len(labels), generator.latent_dim, 1)
    before, found = traits(latent.generate(generator, z, labels), sides), []
    spread = {
        words: float(values.view(-1, len(classes)).var(dim=0).mean().sqrt()) + 1e-9
        for words, values in before.items()
    }
    for direction in torch.from_numpy(latent.directions(generator)):
        after = traits(latent.generate(generator, z + sigma * direction, labels), sides)
        found.append(
            {
                words: float(after[words].mean() - before[words].mean()) / spread[words]
                for words in before
                if spread[words] > 1e-6
            }
        )
    told: dict[int, dict[str, Any]] = {}
    ranked = sorted(
        ((e, i, words) for i, effects in enumerate(found) for words, e in effects.items()),
        key=lambda t: -abs(t[0]),
    )
    for effect, number, words in ranked:
        if (
            number not in told
            and abs(effect) >= clear
            and all(words[1] != t["measured"] for t in told.values())
        ):
            mean = float(before[words].mean())
            told[number] = {
                "less": words[0],
                "more": words[1],
                "measured": words[1],
                "effect": effect,
                "before": mean,
            }
            told[number]["after"] = mean + effect * spread[words]
    return [
        told.get(
            i, {"less": "", "more": f"direction {i + 1}", "measured": "nothing", "effect": 0.0}
        )
        for i in range(len(found))
    ]
