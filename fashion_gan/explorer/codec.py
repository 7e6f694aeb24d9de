"""The latent explorer's state as a short code, and the picture of a code, as explorer.js does."""

import base64
import binascii
import io
import struct
from dataclasses import dataclass, replace

import numpy as np
import torch

from fashion_gan.data.batches import to_uint8
from fashion_gan.errors import UserError
from fashion_gan.explorer import inversion
from fashion_gan.models.latent_space import find_directions, latent_from_seed, slerp
from fashion_gan.models.networks import CLASS_COUNT
from fashion_gan.models.serialization import Model

LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32
STANDARD_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"  # those of RFC 4648
MISTYPED = "the code is mistyped or cut off; its checksum does not fit"
STEP = 1e-2  # length of a step on a seed's plane
HEADER = ">HBIB"  # of a code: bits of the model, flags and class, seed, truncation
WALK, BLEND, MOVED, LATENT = 16, 32, 64, 128  # flags beside the class's lowest 4 bits
LOW = 15  # bits of a class; what is above them stands at the end, where a class has more
MOST_TRUNCATION, MOST_SHARE = 200, 100


@dataclass(frozen=True)
class Blend:
    """A second picture that the first is blended with: class, seed, place on the seed's plane,
    share in hundredths; its latent as ExplorerState has it."""

    class_id: int
    seed: int
    x: int
    y: int
    share: int
    latent: tuple[int, ...] | None = None


@dataclass(frozen=True)
class ExplorerState:
    """What the explorer shows. `truncation` in hundredths; `x`, `y`: place on the seed's plane;
    `directions` in tenths of a sigma; `latent` (in 1/32 sigma) where it is no seed's, but was found
    for a photo."""

    class_id: int
    seed: int
    truncation: int = 100
    x: int = 0
    y: int = 0
    blend: Blend | None = None
    directions: tuple[int, ...] = (0,) * 8
    latent: tuple[int, ...] | None = None


def model_bits(model: Model) -> int:
    """The 16 bits of a model's digest that its codes carry."""
    return int(model.digest[:4], 16)


def encode(state: ExplorerState, model: int) -> str:
    """A state as F1-...: packed, with a CRC-16, in base 32."""
    blend = state.blend
    flags = state.class_id & LOW
    body = b""
    if state.x or state.y:
        flags |= WALK
        body += struct.pack(">hh", state.x, state.y)
    if blend:
        flags |= BLEND
        second = blend.class_id & LOW | (16 if blend.latent else 0)
        body += struct.pack(">BIhhB", second, blend.seed, blend.x, blend.y, blend.share)
    if any(state.directions):
        flags |= MOVED
        body += struct.pack(">8b", *state.directions)
    if state.latent:
        flags |= LATENT
        body += struct.pack(f">{len(state.latent)}b", *state.latent)
    if blend and blend.latent:
        body += struct.pack(f">{len(blend.latent)}b", *blend.latent)
    high = [state.class_id >> 4, blend.class_id >> 4 if blend else 0]
    if any(high):
        body += bytes(high)
    packed = struct.pack(HEADER, model, flags, state.seed, state.truncation) + body
    return "F1-" + _letters(packed + struct.pack(">H", binascii.crc_hqx(packed, 0)))


def _letters(packed: bytes) -> str:
    standard = base64.b32encode(packed).decode().rstrip("=")
    return standard.translate(str.maketrans(STANDARD_LETTERS, LETTERS))


def decode(code: str, model: int, latent_dim: int, class_count: int = CLASS_COUNT) -> ExplorerState:
    """The state of a code. Raises UserError where it is none, or of another model."""
    most = 56 if class_count <= LOW + 1 else 60
    packed = _unpacked(code, longest=most - (-16 * latent_dim // 5))
    bits, flags, seed, truncation = struct.unpack(HEADER, packed[:8])
    if bits != model:
        raise UserError(f"the code belongs to another model ({bits:04x}); this one is {model:04x}")
    try:
        state = _read_state(packed[8:], flags, seed, truncation, latent_dim)
    except struct.error:
        raise UserError(MISTYPED) from None
    blend = state.blend
    is_valid = state.class_id < class_count and truncation <= MOST_TRUNCATION
    if blend:
        is_valid = is_valid and blend.class_id < class_count and blend.share <= MOST_SHARE
    if not is_valid:
        raise UserError(MISTYPED)
    return state


def _unpacked(code: str, longest: int) -> bytes:
    """The bytes of a code without their checksum, which must fit."""
    text = code.strip().upper()
    if not text.startswith("F1-"):
        raise UserError("this is no code of the explorer; one begins with F1-")
    if len(text) > longest:
        raise UserError(f"the code has {len(text)} characters; the longest has {longest}")
    letters = text[3:].translate(str.maketrans("OIL", "011"))
    for letter in letters:
        if letter not in LETTERS:
            raise UserError(f"the code holds {letter}, which no code has")
    standard = letters.translate(str.maketrans(LETTERS, STANDARD_LETTERS))
    try:
        packed = base64.b32decode(standard + "=" * (-len(letters) % 8))
    except binascii.Error:
        raise UserError(MISTYPED) from None
    is_whole = len(packed) >= 10 and _letters(packed) == letters  # the last letter's spare bits
    if not is_whole or binascii.crc_hqx(packed[:-2], 0) != int.from_bytes(packed[-2:]):
        raise UserError(MISTYPED)
    return packed[:-2]


def _read_state(
    body: bytes, flags: int, seed: int, truncation: int, latent_dim: int
) -> ExplorerState:
    """The state of the bytes after the header. Raises struct.error at too few or too many."""
    stream = io.BytesIO(body)

    def take(form: str) -> tuple:
        return struct.unpack(form, stream.read(struct.calcsize(form)))

    x, y = take(">hh") if flags & WALK else (0, 0)
    blend = Blend(*take(">BIhhB")) if flags & BLEND else None
    directions = take(">8b") if flags & MOVED else (0,) * 8
    latent = take(f">{latent_dim}b") if flags & LATENT else None
    blend_latent = take(f">{latent_dim}b") if blend and blend.class_id & 16 else None
    high = stream.read()
    first, second = struct.unpack("BB", high or bytes(2))
    if high == bytes(2) or (second and not blend) or (blend and blend.class_id > 31):
        raise struct.error("no code is written so")
    if blend:
        blend_class = blend.class_id & LOW | second << 4
        blend = replace(blend, class_id=blend_class, latent=blend_latent)
    class_id = flags & LOW | first << 4
    return ExplorerState(class_id, seed, truncation, x, y, blend, directions, latent)


def _latent_of(state: ExplorerState | Blend, latent_dim: int) -> np.ndarray:
    """The latent (latent_dim,) at (x, y) on the plane of the state's seed, or of its latent."""
    z, across, down = (latent_from_seed(state.seed, latent_dim, stream) for stream in range(3))
    if state.latent:
        z = np.array(state.latent) / inversion.GRID
    u, v = state.x * STEP, state.y * STEP
    return (z + u * across + v * down) / np.sqrt(1 + u * u + v * v)


@torch.no_grad()
def draw_state(
    state: ExplorerState, model: Model, directions: np.ndarray | None = None
) -> torch.Tensor:
    """The picture uint8 (C, H, W) of a state. `directions`: find_directions, where at hand."""
    generator = model.generator.cpu()
    z = _latent_of(state, generator.latent_dim)
    shares = torch.zeros(1, generator.class_count)
    share = state.blend.share / 100 if state.blend else 0.0
    shares[0, state.class_id] = 1 - share
    if state.blend:
        shares[0, state.blend.class_id] += share
        second = _latent_of(state.blend, generator.latent_dim)
        z = slerp(torch.from_numpy(z), torch.from_numpy(second), share)[0].numpy()
    if any(state.directions):
        if directions is None:
            directions = find_directions(generator)
        z = z + np.array(state.directions[: len(directions)]) / 10 @ directions
    latents = torch.from_numpy(z * state.truncation / 100).float()[None]
    if generator.conditional:
        latents = torch.cat([latents, shares], dim=1)
    return to_uint8(generator.grown(generator.project(latents)))[0]
