"""The latent explorer's state as a short code, the picture that a code stands for, and the widget. explorer.js does the same in the page."""

import binascii
import functools
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fashion_gan import features, latent, metrics, photo
from fashion_gan.data import Split, to_uint8
from fashion_gan.errors import UserError
from fashion_gan.model import Model
from fashion_gan.networks import CLASS_COUNT
from fashion_gan.photo import GRID

LETTERS, STEP = (
    "0123456789ABCDEFGHJKMNPQRSTVWXYZ",
    1e-2,
)  # Crockford's base 32; length of a step on the plane
SCRIPT = Path(__file__).parent / "static" / "explorer.js"


@dataclass(frozen=True)
class State:
    """Class and seed; truncation in hundredths; place on the seed's plane; class, seed, place and share (hundredths) of a second
    garment; directions in tenths of a sigma; the latents of the first and the second garment (in 1/32 sigma) where they are no
    seed's, but were found for a photo."""

    c: int
    s: int
    t: int = 100
    x: int = 0
    y: int = 0
    mix: tuple[int, int, int, int, int] | None = None
    d: tuple[int, ...] = (0,) * 8
    z: tuple[int, ...] | None = None
    mix_z: tuple[int, ...] | None = None


def model_bits(found: Model) -> int:
    """The 16 bits of a model's digest that its codes carry."""
    return int(found.digest[:4], 16)


def encode(state: State, model: int) -> str:
    """A state as F1-...: packed, with a CRC-16, in base 32."""
    walk, moved = bool(state.x or state.y), any(state.d)
    packed = struct.pack(
        ">HBIB",
        model,
        state.c | 16 * walk | 32 * bool(state.mix) | 64 * moved | 128 * bool(state.z),
        state.s,
        state.t,
    )
    packed += struct.pack(">hh", state.x, state.y) if walk else b""
    packed += (
        struct.pack(">BIhhB", state.mix[0] | 16 * bool(state.mix_z), *state.mix[1:])
        if state.mix
        else b""
    )
    packed += struct.pack(">8b", *state.d) if moved else b""
    packed += b"".join(struct.pack(f">{len(z)}b", *z) for z in (state.z, state.mix_z) if z)
    packed += struct.pack(">H", binascii.crc_hqx(packed, 0))
    count = -(-8 * len(packed) // 5)
    number = int.from_bytes(packed) << (5 * count - 8 * len(packed))
    return "F1-" + "".join(LETTERS[number >> 5 * i & 31] for i in reversed(range(count)))


def decode(code: str, model: int, latent_dim: int, class_count: int = CLASS_COUNT) -> State:
    """The state of a code. Raises UserError, in one sentence, where it is none, or another model's, or of a class that this has not."""
    longest = 56 - (-16 * latent_dim // 5)
    text = code.strip().upper()
    if not text.startswith("F1-"):
        raise UserError("this is no code of the explorer; one begins with F1-")
    if len(text) > longest:
        raise UserError(f"the code has {len(text)} characters; the longest has {longest}")
    letters = text[3:].translate(str.maketrans("OIL", "011"))
    if strange := next((letter for letter in letters if letter not in LETTERS), ""):
        raise UserError(f"the code holds {strange}, which no code has")
    number, (size, rest) = (
        sum(LETTERS.index(letter) << 5 * i for i, letter in enumerate(reversed(letters))),
        divmod(5 * len(letters), 8),
    )
    packed = (number >> rest).to_bytes(size)
    wrong = UserError("the code is mistyped or cut off; its checksum does not fit")
    if (
        size < 10
        or rest > 4
        or number & ((1 << rest) - 1)
        or binascii.crc_hqx(packed[:-2], 0) != int.from_bytes(packed[-2:])
    ):
        raise wrong
    found, flags, seed, truncation = struct.unpack(">HBIB", packed[:8])
    if found != model:
        raise UserError(f"the code belongs to another model ({found:04x}); this one is {model:04x}")
    at = 8

    def taken(there: bool, form: str) -> tuple | None:
        nonlocal at
        start, at = at, at + struct.calcsize(form) * there
        if at > size - 2:
            raise wrong
        return struct.unpack(form, packed[start:at]) if there else None

    walk, mix, moved = (
        taken(flags & bit > 0, form) for bit, form in ((16, ">hh"), (32, ">BIhhB"), (64, ">8b"))
    )
    z, mix_z = (
        taken(there, f">{latent_dim}b") for there in (flags & 128 > 0, bool(mix and mix[0] & 16))
    )
    mix = (mix[0] & ~16, *mix[1:]) if mix else None
    if (
        at != size - 2
        or flags & 15 >= class_count
        or truncation > 200
        or (mix and (mix[0] >= class_count or mix[4] > 100))
    ):
        raise wrong
    return State(flags & 15, seed, truncation, *(walk or (0, 0)), mix, moved or (0,) * 8, z, mix_z)


def _place(seed: int, x: int, y: int, own: tuple[int, ...] | None, size: int) -> np.ndarray:
    z, across, down = (latent.seeded(seed, size, stream) for stream in range(3))
    z = np.array(own) / GRID if own else z
    u, v = x * STEP, y * STEP
    return (z + u * across + v * down) / np.sqrt(1 + u * u + v * v)


@torch.no_grad()
def draw(state: State, found: Model, moves: np.ndarray | None = None) -> torch.Tensor:
    """The picture uint8 (C, H, W) of a state. `moves`: latent.directions of the generator, where they are at hand."""
    generator = found.generator.cpu()
    z, shares = (
        _place(state.s, state.x, state.y, state.z, generator.latent_dim),
        torch.zeros(1, generator.class_count),
    )
    share = state.mix[4] / 100 if state.mix else 0.0
    shares[0, state.c] = 1 - share
    if state.mix:
        c, seed, x, y, _ = state.mix
        shares[0, c] += share
        ends = [
            torch.from_numpy(part)
            for part in (z, _place(seed, x, y, state.mix_z, generator.latent_dim))
        ]
        z = latent.spherical(*ends, share)[0].numpy()
    if any(state.d):
        moves = latent.directions(generator) if moves is None else moves
        z = z + np.array(state.d[: len(moves)]) / 10 @ moves
    z = torch.from_numpy(z * state.t / 100).float()[None]
    hidden = generator.project(torch.cat([z, shares], dim=1) if generator.conditional else z)
    return to_uint8(generator.grown(hidden))[0]


@dataclass
class Kernel:
    """The kernel's answers to the page. photo: an own photo's steps. find: its picture. near: the nearest of all training images, by
    dev's features, which are kept in the data's `folder`. Levels: pixel by pixel, all colours of each. What is wrong is told as `error`,
    a sentence."""

    found: Model
    train: Split
    fresh: Split
    folder: Path
    network = property(lambda self: features.load("dev", folder=self.folder))

    @functools.cached_property
    def known(self) -> torch.Tensor:
        return features.extract_kept("dev", self.train.images, self.folder)[0]

    @functools.cached_property
    def usual(self) -> float:
        """How far unseen real images lie from their nearest training image, at the median."""
        return (
            metrics.nearest(features.extract(self.network, self.fresh.images)[0], self.known)[0]
            .median()
            .item()
        )

    def __call__(self, asked: dict[str, Any], buffers: list[Any]) -> dict[str, Any]:
        try:
            return {"what": asked["what"]} | {
                "photo": self.prepare,
                "find": self.find,
                "near": self.near,
            }[asked["what"]](asked, buffers)
        except UserError as error:
            return {"what": asked["what"], "error": f"{str(error)[:1].upper()}{str(error)[1:]}."}

    def prepare(self, asked: dict[str, Any], buffers: list[Any]) -> dict[str, Any]:
        made = photo.prepared(bytes(buffers[0]), asked["negative"], self.found.generator.shape)
        steps = [
            {"words": words, "width": x.shape[1], "height": len(x), "levels": x.flatten().tolist()}
            for words, x in made.steps
        ]
        return {"steps": steps, "negative": made.negative, "said": made.said}

    def find(self, asked: dict[str, Any], _: list[Any]) -> dict[str, Any]:
        began = time.monotonic()
        c, z, distance = photo.find(self.found.generator, self._image(asked), self.network)
        real = torch.pdist(self.known[self.train.labels == c][:500]).median().item()
        return {
            "c": c,
            "z": z,
            "distance": distance,
            "real": real,
            "seconds": time.monotonic() - began,
        }

    def near(self, asked: dict[str, Any], _: list[Any]) -> dict[str, Any]:
        distance, index = metrics.nearest(
            features.extract(self.network, self._image(asked)[None])[0], self.known, 6
        )
        near = [{"distance": d, "c": int(self.train.labels[i]), "number": i, "levels": self.train.images[i].permute(1, 2, 0).flatten().tolist()}
                for d, i in zip(distance[0].tolist(), index[0].tolist(), strict=True)]  # fmt: skip
        return {"near": near, "count": len(self.train), "real": self.usual}

    def _image(self, asked: dict[str, Any]) -> torch.Tensor:
        colours, height, width = self.found.generator.shape
        return (
            torch.tensor(asked["levels"], dtype=torch.uint8)
            .view(height, width, colours)
            .permute(2, 0, 1)
        )


def widget(
    info: dict[str, Any], numbers: bytes, code: str, answer: Callable[[dict, list], dict]
) -> Any:
    """The explorer as an ipywidget, of what export.payload gave. The page draws by itself; it tells `code` when a step is done, and
    asks for the `answer` that only a kernel has."""
    import anywidget
    import traitlets

    class Explorer(anywidget.AnyWidget):
        _esm, _css = SCRIPT, SCRIPT.with_suffix(".css")
        info, numbers = traitlets.Dict().tag(sync=True), traitlets.Bytes().tag(sync=True)
        code, page, kernel = (
            kind.tag(sync=True)
            for kind in (traitlets.Unicode(), traitlets.Bool(False), traitlets.Bool(True))
        )

    made = Explorer(info=info, numbers=numbers, code=code)
    made.on_msg(lambda _, asked, buffers: made.send(answer(asked, buffers)))
    return made
