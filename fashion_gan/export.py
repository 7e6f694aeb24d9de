"""A generator for the page: its weights with batch norms folded, its directions, the classifier that looks at the pictures, and
real images to compare with, as one description and one block of float16 numbers. explorer.js reads them."""

import base64
import io
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from fashion_gan import features, latent
from fashion_gan.data import CLASSES, Split
from fashion_gan.explorer import model_bits
from fashion_gan.model import Model
from fashion_gan.networks import Generator

TILES, MEASURED = 200, 1000  # training images of each class in the page; samples on which a direction is measured


def folded(layers: nn.Sequential) -> list[dict[str, Any]]:
    """Convolutions with the batch norm after them folded in: kind, act, weight (taps, cin, cout), bias (cout,)."""
    found, acts = [], {nn.ReLU: "relu", nn.Tanh: "tanh", nn.SiLU: "silu"}
    for module in layers:
        if isinstance(module, (nn.ConvTranspose2d, nn.Conv2d)):
            up = isinstance(module, nn.ConvTranspose2d)  # its weight is (cin, cout, y, x), the other's (cout, cin, y, x)
            weight = module.weight.permute(2, 3, 0, 1) if up else module.weight.permute(2, 3, 1, 0)
            bias = module.bias if module.bias is not None else torch.zeros(weight.shape[3])
            found.append({"kind": "up" if up else "same", "weight": weight.flatten(0, 1), "bias": bias})
        elif isinstance(module, nn.BatchNorm2d) and found:
            scale, shift = latent.affine(module)
            found[-1] |= {"weight": found[-1]["weight"] * scale, "bias": found[-1]["bias"] * scale + shift}
        elif type(module) in acts and found:
            found[-1].setdefault("act", acts[type(module)])
    return found


def payload(found: Model, train: Split) -> tuple[dict[str, Any], bytes]:
    """The description (JSON) and the numbers (float16) that the page needs for a model; `train` gives the real images."""
    generator, network = found.generator.cpu(), features.load("dev")
    scale, shift = latent.affine(generator.layers[0])
    project = generator.project.weight.T.unflatten(1, (-1, 49)).transpose(1, 2) * scale  # (inputs, 49, 4C): pixel by pixel
    hidden = network.body[-2].weight.T.unflatten(0, (-1, 9)).transpose(0, 1)  # as there
    chosen = torch.cat([(train.labels == c).nonzero().flatten()[:TILES] for c in range(len(CLASSES))])
    real, _ = features.extract(network, train.images[chosen])
    tensors = {
        "project": project, "project_bias": shift.repeat(49), "hidden": hidden, "hidden_bias": network.body[-2].bias,
        "head": network.head.weight.T, "head_bias": network.head.bias, "tiles": real, "directions": torch.from_numpy(latent.directions(generator)),
    }  # fmt: skip
    parts = {"generator": folded(generator.layers), "classifier": folded(network.body)}
    for name, layers in parts.items():
        for i, layer in enumerate(layers):
            layer["cin"], layer["cout"] = layer["weight"].shape[1:]
            for part in ("weight", "bias"):
                tensors[f"{name}{i}.{part}"], layer[part] = layer[part], f"{name}{i}.{part}"
    starts = np.cumsum([0, *(t.numel() for t in tensors.values())]).tolist()
    info = parts | {
        "model": model_bits(found), "source": found.source, "latent_dim": generator.latent_dim, "conditional": generator.conditional,
        "scale": float(network.scale), "classes": CLASSES, "directions": named(generator), "sprite": sprite(train.images[chosen]),
        "tile_classes": train.labels[chosen].tolist(), "tile_numbers": chosen.tolist(),
        "real_distance": float(torch.cdist(real, real).fill_diagonal_(torch.inf).min(dim=1).values.median()),
        "tensors": {name: (start, t.numel()) for (name, t), start in zip(tensors.items(), starts, strict=False)},
    }  # fmt: skip
    return info, b"".join(t.detach().contiguous().numpy().astype("<f2").tobytes() for t in tensors.values())


def sprite(images: torch.Tensor, columns: int = 50) -> str:
    """Images uint8 (N, 1, 28, 28) as one PNG, `columns` a row, as the source of an <img>."""
    images = torch.cat([images, images.new_zeros(-len(images) % columns, 1, 28, 28)])
    sheet = images.reshape(-1, columns, 28, 28).permute(0, 2, 1, 3).reshape(-1, columns * 28)
    stream = io.BytesIO()
    Image.fromarray(sheet.numpy()).save(stream, format="png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def traits(images: torch.Tensor) -> dict[tuple[str, str], torch.Tensor]:
    """What can be measured on garments uint8 (N, 1, 28, 28), each a figure an image (N,), by the words for less and more."""
    x = images.squeeze(1).double() / 255
    ink, garment = x.sum(dim=(1, 2)).clamp(min=1e-9), x > 0.1
    size, rows = garment.sum(dim=(1, 2)).clamp(min=1), torch.arange(28.0)
    steps = (x[:, :, 1:] - x[:, :, :-1]).abs() * (garment[:, :, 1:] & garment[:, :, :-1])
    return {
        ("darker", "brighter"): (x * garment).sum(dim=(1, 2)) / size,
        ("narrower", "wider"): (x.amax(dim=1) > 0.2).sum(dim=1).double(),
        ("shorter", "taller"): (x.amax(dim=2) > 0.2).sum(dim=1).double(),
        ("less sleeve", "more sleeve"): (x[:, :, :7].sum(dim=(1, 2)) + x[:, :, 21:].sum(dim=(1, 2))) / ink,
        ("plainer", "patterned"): steps.sum(dim=(1, 2)) / size,
        ("heavier above", "heavier below"): (x.sum(dim=2) * rows).sum(dim=1) / ink,
        ("symmetric", "lopsided"): (x - x.flip(2)).abs().sum(dim=(1, 2)) / ink,
    }


def named(generator: Generator, sigma: float = 2.0, clear: float = 0.4) -> list[dict[str, Any]]:
    """The directions' names: the words for the trait that changes most where MEASURED samples are moved by `sigma`, in standard
    deviations of that trait within a class; the clearest gets a trait first, a second one gets it with a number. A number alone where no change is `clear`."""
    z, labels = latent.draw(MEASURED, generator.latent_dim, 1), latent.balanced_labels(MEASURED)
    before, found = traits(latent.generate(generator, z, labels)), []
    spread = {words: float(values.view(-1, len(CLASSES)).var(dim=0).mean().sqrt()) + 1e-9 for words, values in before.items()}
    for direction in torch.from_numpy(latent.directions(generator)):
        after = traits(latent.generate(generator, z + sigma * direction, labels))
        found.append({words: float(after[words].mean() - before[words].mean()) / spread[words] for words in before})
    told: dict[int, dict[str, Any]] = {}
    ranked = sorted(((e, i, words) for i, effects in enumerate(found) for words, e in effects.items()), key=lambda t: -abs(t[0]))
    for again in (False, True):  # a trait names a second direction where nothing else is clear of that one
        for effect, number, words in ranked:
            count = 1 + sum(words[1] == t["measured"] for t in told.values())
            if number not in told and abs(effect) >= clear and (again or count == 1):
                less, more = words if count == 1 else (f"{w} ({count})" for w in words)
                means = {"before": float(before[words].mean()), "after": float(before[words].mean()) + effect * spread[words]}
                told[number] = {"less": less, "more": more, "measured": words[1], "effect": effect} | means
    return [told.get(i, {"less": "", "more": f"direction {i + 1}", "measured": "nothing", "effect": 0.0}) for i in range(len(found))]
