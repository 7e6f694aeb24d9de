"""The latent explorer's state as a short code, the picture that a code stands for, and the widget. explorer.js does the same in the page."""

import binascii
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fashion_gan import latent
from fashion_gan.data import CLASSES, to_uint8
from fashion_gan.errors import UserError
from fashion_gan.model import Model

LETTERS, LONGEST, STEP = "0123456789ABCDEFGHJKMNPQRSTVWXYZ", 60, 1e-2  # Crockford's base 32; characters; length of a step on the plane
SCRIPT = Path(__file__).parent / "static" / "explorer.js"


@dataclass(frozen=True)
class State:
    """Class and seed; truncation in hundredths; place on the seed's plane; class, seed, place and share (hundredths) of a second
    garment; directions in tenths of a sigma."""

    c: int
    s: int
    t: int = 100
    x: int = 0
    y: int = 0
    mix: tuple[int, int, int, int, int] | None = None
    d: tuple[int, ...] = (0,) * 8


def model_bits(found: Model) -> int:
    """The 16 bits of a model's digest that its codes carry."""
    return int(found.digest[:4], 16)


def encode(state: State, model: int) -> str:
    """A state as F1-...: packed, with a CRC-16, in base 32."""
    walk, moved = bool(state.x or state.y), any(state.d)
    packed = struct.pack(">HBIB", model, state.c | 16 * walk | 32 * bool(state.mix) | 64 * moved, state.s, state.t)
    packed += struct.pack(">hh", state.x, state.y) if walk else b""
    packed += struct.pack(">BIhhB", *state.mix) if state.mix else b""
    packed += struct.pack(">8b", *state.d) if moved else b""
    packed += struct.pack(">H", binascii.crc_hqx(packed, 0))
    count = -(-8 * len(packed) // 5)
    number = int.from_bytes(packed) << (5 * count - 8 * len(packed))
    return "F1-" + "".join(LETTERS[number >> 5 * i & 31] for i in reversed(range(count)))


def decode(code: str, model: int) -> State:
    """The state of a code. Raises UserError, in one sentence, where it is none, or another model's."""
    text = code.strip().upper()
    if not text.startswith("F1-"):
        raise UserError("this is no code of the explorer; one begins with F1-")
    if len(text) > LONGEST:
        raise UserError(f"the code has {len(text)} characters; the longest has {LONGEST}")
    letters = text[3:].translate(str.maketrans("OIL", "011"))
    if strange := next((letter for letter in letters if letter not in LETTERS), ""):
        raise UserError(f"the code holds {strange}, which no code has")
    number, size, rest = 0, len(letters) * 5 // 8, len(letters) * 5 % 8
    for letter in letters:
        number = number * 32 + LETTERS.index(letter)
    packed = (number >> rest).to_bytes(size)
    wrong = UserError("the code is mistyped or cut off; its checksum does not fit")
    if size < 10 or rest > 4 or number & ((1 << rest) - 1) or binascii.crc_hqx(packed[:-2], 0) != int.from_bytes(packed[-2:]):
        raise wrong
    found, flags, seed, truncation = struct.unpack(">HBIB", packed[:8])
    if found != model:
        raise UserError(f"the code belongs to another model ({found:04x}); this one is {model:04x}")
    parts, at = [], 8
    for bit, form in ((16, ">hh"), (32, ">BIhhB"), (64, ">8b")):
        here = at + struct.calcsize(form) * bool(flags & bit)
        if here > size - 2:
            raise wrong
        parts.append(struct.unpack(form, packed[at:here]) if here > at else None)
        at = here
    walk, mix, moved = parts
    if at != size - 2 or flags & 15 > 9 or truncation > 200 or (mix and (mix[0] > 9 or mix[4] > 100)):
        raise wrong
    return State(flags & 15, seed, truncation, *(walk or (0, 0)), mix, moved or (0,) * 8)


def _place(seed: int, x: int, y: int, size: int) -> np.ndarray:
    z, across, down = (latent.seeded(seed, size, stream) for stream in range(3))
    u, v = x * STEP, y * STEP
    return (z + u * across + v * down) / np.sqrt(1 + u * u + v * v)


@torch.no_grad()
def draw(state: State, found: Model, moves: np.ndarray | None = None) -> torch.Tensor:
    """The picture uint8 (1, 28, 28) of a state. `moves`: latent.directions of the generator, where they are at hand."""
    generator = found.generator.cpu()
    z, shares = _place(state.s, state.x, state.y, generator.latent_dim), torch.zeros(1, len(CLASSES))
    share = state.mix[4] / 100 if state.mix else 0.0
    shares[0, state.c] = 1 - share
    if state.mix:
        c, seed, x, y, _ = state.mix
        shares[0, c] += share
        ends = [torch.from_numpy(part) for part in (z, _place(seed, x, y, generator.latent_dim))]
        z = latent.spherical(*ends, share)[0].numpy()
    if any(state.d):
        moves = latent.directions(generator) if moves is None else moves
        z = z + np.array(state.d[: len(moves)]) / 10 @ moves
    z = torch.from_numpy(z * state.t / 100).float()[None]
    hidden = generator.project(torch.cat([z, shares], dim=1) if generator.conditional else z)
    return to_uint8(generator.layers(hidden.view(1, -1, 7, 7)))[0]


def widget(info: dict[str, Any], numbers: bytes, code: str = "") -> Any:
    """The explorer as an ipywidget, of what export.payload gave. The page draws by itself; it tells `code` when a step is done."""
    import anywidget
    import traitlets

    class Explorer(anywidget.AnyWidget):
        _esm = SCRIPT
        info, numbers = traitlets.Dict().tag(sync=True), traitlets.Bytes().tag(sync=True)
        code, page = traitlets.Unicode().tag(sync=True), traitlets.Bool(False).tag(sync=True)

    return Explorer(info=info, numbers=numbers, code=code)
