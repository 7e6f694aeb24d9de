"""A generator for the page: its weights with batch norms folded, its directions, the classifier
that looks at the pictures, and real images to compare with, as one description and one block of
numbers. explorer.js reads them."""

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
from torchvision.utils import make_grid

from fashion_gan.data.classes import spread_classes
from fashion_gan.data.datasets import CLASSES, Split
from fashion_gan.errors import UserError
from fashion_gan.explorer import codec
from fashion_gan.metrics.neighbours import knn
from fashion_gan.models.feature_network import (
    ROLES,
    WEIGHTS,
    FeatureNetwork,
    extract_features,
    load_feature_network,
)
from fashion_gan.models.latent_space import batch_norm_affine, find_directions
from fashion_gan.models.latents import balanced_labels, generate_images, sample_latents
from fashion_gan.models.networks import Generator
from fashion_gan.models.serialization import Model

# training images in the page, of all classes; characters that all of it takes in the page
TILES, ROOM = (2000, 1000, 500), 2_450_000
MEASURED = 1000  # samples on which a direction is measured
# the same figure, of clothes and of other pictures
SLEEVES, SIDES = ("less sleeve", "more sleeve"), ("darker sides", "brighter sides")

Record = dict[str, Any]  # for the page, as JSON
Tensors = dict[str, torch.Tensor]  # by name


def fold_batch_norms(layers: nn.Sequential) -> list[Record]:
    """Convolutions with the batch norm after them folded in: kind, act, weight (taps, cin, cout),
    bias (cout,)."""
    acts = {nn.ReLU: "relu", nn.Tanh: "tanh", nn.SiLU: "silu"}
    folded: list[Record] = []
    for module in layers:
        if isinstance(module, (nn.ConvTranspose2d, nn.Conv2d)):
            folded.append(_convolution(module))
        elif isinstance(module, nn.BatchNorm2d) and folded:
            last = folded[-1]
            scale, shift = batch_norm_affine(module)
            last["weight"] = last["weight"] * scale
            last["bias"] = last["bias"] * scale + shift
        elif type(module) in acts and folded:
            folded[-1].setdefault("act", acts[type(module)])
    return folded


def _convolution(module: nn.ConvTranspose2d | nn.Conv2d) -> Record:
    if isinstance(module, nn.ConvTranspose2d):  # its weight is (cin, cout, y, x)
        kind = "up"
        weight = module.weight.permute(2, 3, 0, 1)
    else:  # (cout, cin, y, x)
        kind = ("same", "half")[module.stride[0] - 1]
        weight = module.weight.permute(2, 3, 1, 0)
    bias = module.bias if module.bias is not None else torch.zeros(weight.shape[3])
    return {"kind": kind, "weight": weight.flatten(0, 1), "bias": bias}


def payload(
    model: Model, train: Split, fresh: Split, folder: Path = WEIGHTS
) -> tuple[Record, bytes]:
    """The description (JSON) and the packed numbers that the page needs for a model; `train` gives
    the real images, `fresh` the unseen ones that say how near to those a real image lies; `folder`
    is theirs. Beside a wide generator there is ROOM for fewer real images. Raises UserError where
    the model's pictures are other ones."""
    generator = model.generator.cpu()
    if (generator.shape, model.classes) != (tuple(train.images.shape[1:]), train.classes):
        raise UserError(
            f"the model ({model.source}) makes other pictures than those in {folder}; set data_dir,"
            " or another model"
        )
    network = load_feature_network("dev", folder=folder)
    layers, weights = export_layers(generator, network)
    for count in TILES:
        per_class = max(1, count // generator.class_count)
        tiles, scales, features = export_tiles(network, train, fresh, per_class)
        tensors = weights | scales
        numbers = pack_numbers(tensors, features)
        if len(numbers) * 4 / 3 + len(tiles["sprite"]) < ROOM:
            break
    is_clothes = model.classes == CLASSES
    info = {
        "model": codec.model_bits(model),
        "source": model.source,
        "latent_dim": generator.latent_dim,
        "conditional": generator.conditional,
        "shape": generator.shape,
        "classes": model.classes,
        "thing": "garment" if is_clothes else "picture",
        "train": len(train),
        "scale": float(network.scale),
        "directions": name_directions(generator, SLEEVES if is_clothes else SIDES),
    }
    return layers | tiles | info | _positions(tensors), numbers


def _positions(tensors: Tensors) -> Record:
    """How many numbers the page reads, and where each tensor begins in them, and its size."""
    start = 0
    positions = {}
    for name, tensor in tensors.items():
        positions[name] = (start, tensor.numel())
        start += tensor.numel()
    return {"numbers": start, "tensors": positions}


def export_layers(generator: Generator, network: FeatureNetwork) -> tuple[Record, Tensors]:
    """The layers of both networks, their weights by name, and those weights."""
    scale, shift = batch_norm_affine(generator.layers[0])
    positions = math.prod(generator.plan)
    hidden = network.body[-2]
    hidden_positions = hidden.in_features // ROLES["dev"].widths[-1]
    # both (inputs, positions, channels) on one side: pixel by pixel
    project = generator.project.weight.T.unflatten(1, (-1, positions)).transpose(1, 2) * scale
    tensors = {
        "project": project,
        "project_bias": shift.repeat(positions),
        "hidden": hidden.weight.T.unflatten(0, (-1, hidden_positions)).transpose(0, 1),
        "hidden_bias": hidden.bias,
        "head": network.head.weight.T,
        "head_bias": network.head.bias,
        "directions": torch.from_numpy(find_directions(generator)),
    }
    networks = {
        "generator": fold_batch_norms(generator.layers),
        "classifier": fold_batch_norms(network.body),
    }
    for name, layers in networks.items():
        for i, layer in enumerate(layers):
            layer["cin"], layer["cout"] = layer["weight"].shape[1:]
            for part in ("weight", "bias"):
                key = f"{name}{i}.{part}"
                tensors[key] = layer[part]
                layer[part] = key
    return networks, tensors


def export_tiles(
    network: FeatureNetwork, train: Split, fresh: Split, count: int
) -> tuple[Record, Tensors, torch.Tensor]:
    """`count` training images of each class: what the page shows of them, the scales of their
    features, and those as uint8."""
    by_class = [(train.labels == c).nonzero().flatten()[:count] for c in range(len(train.classes))]
    index = torch.cat(by_class)
    real, _ = extract_features(network, train.images[index])
    unseen, _ = extract_features(network, fresh.images)
    least = real.min(dim=0).values
    step = (real.max(dim=0).values - least).clamp(min=1e-6) / 255
    tiles = {
        "sprite": sprite(train.images[index]),
        "tile_classes": train.labels[index].tolist(),
        "tile_numbers": index.tolist(),
        "real_distance": knn(unseen, real)[0].median().item(),
    }
    features = ((real - least) / step).round().to(torch.uint8)
    return tiles, {"tile_least": least, "tile_step": step}, features


def pack_numbers(tensors: Tensors, features: torch.Tensor) -> bytes:
    """All numbers as float16, all high bytes before all low ones, then the tiles' features uint8,
    deflated: the high bytes repeat themselves, which saves a seventh."""
    halves = [t.detach().contiguous().numpy().astype("<f2").reshape(-1) for t in tensors.values()]
    octets = np.concatenate(halves).view(np.uint8)
    content = octets[1::2].tobytes() + octets[::2].tobytes() + features.numpy().tobytes()
    return zlib.compress(content, 9)


def sprite(images: torch.Tensor, columns: int = 50) -> str:
    """Images uint8 (N, C, H, W) as one picture, `columns` a row, as the source of an <img>. WebP at
    quality 60 shows what they are at a third of a PNG's size; distances are taken from the images
    themselves."""
    colours, height, width = images.shape[1:]
    images = torch.cat([images, images.new_zeros(-len(images) % columns, colours, height, width)])
    sheet = make_grid(images, columns, padding=0)[:colours].permute(1, 2, 0)
    stream = io.BytesIO()
    Image.fromarray(sheet.squeeze(2).numpy()).save(stream, format="webp", quality=60, method=6)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def traits(
    images: torch.Tensor, sides: tuple[str, str] = SLEEVES
) -> dict[tuple[str, str], torch.Tensor]:
    """What can be measured on images uint8 (N, C, H, W), each a figure an image (N,), by the words
    for less and more; `sides`: those for the share of brightness in the outer quarters. Of colours
    the mean counts."""
    x = images.double().mean(dim=1) / 255
    ink = x.sum(dim=(1, 2)).clamp(min=1e-9)
    lit = x > 0.1
    size = lit.sum(dim=(1, 2)).clamp(min=1)
    quarter = images.shape[3] // 4
    rows = torch.arange(float(images.shape[2]))
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


def name_directions(
    generator: Generator, sides: tuple[str, str] = SLEEVES, sigma: float = 2.0, clear: float = 0.25
) -> list[Record]:
    """The directions' names: the words for the trait that changes most where some MEASURED samples
    are moved by `sigma`, in standard deviations of that trait within a class; the clearest gets a
    trait first. A number where no change is `clear`, some eight times the standard error."""
    directions = find_directions(generator)
    means, spreads, effects = _measure_directions(generator, directions, sides, sigma)
    named = {}
    free = list(means)  # the traits that no direction has yet
    for effect, number, words in sorted(effects, key=lambda item: -abs(item[0])):
        if not abs(effect) >= clear or number in named or words not in free:
            continue
        free.remove(words)
        named[number] = {
            "less": words[0],
            "more": words[1],
            "measured": words[1],
            "effect": effect,
            "before": means[words],
            "after": means[words] + effect * spreads[words],
        }
    for i in range(len(directions)):
        unnamed = {"less": "", "more": f"direction {i + 1}", "measured": "nothing", "effect": 0.0}
        named.setdefault(i, unnamed)
    return [named[i] for i in range(len(directions))]


def _measure_directions(
    generator: Generator, directions: np.ndarray, sides: tuple[str, str], sigma: float
) -> tuple[dict, dict, list]:
    """The samples' mean of each trait and its standard deviation within a class; how each direction
    changes each trait: (effect in those deviations, the direction's number, the trait)."""
    classes = spread_classes(generator.class_count, 50)
    labels = balanced_labels(MEASURED // len(classes) * len(classes), classes)
    z = sample_latents(len(labels), generator.latent_dim, 1)
    before = traits(generate_images(generator, z, labels), sides)
    means, spreads, effects = {}, {}, []
    for words, values in before.items():
        means[words] = float(values.mean())
        within = values.view(-1, len(classes)).var(dim=0).mean()
        spreads[words] = float(within.sqrt()) + 1e-9
    for number, direction in enumerate(torch.from_numpy(directions)):
        after = traits(generate_images(generator, z + sigma * direction, labels), sides)
        for words, spread in spreads.items():
            if spread > 1e-6:
                effect = float(after[words].mean() - before[words].mean()) / spread
                effects.append((effect, number, words))
    return means, spreads, effects
