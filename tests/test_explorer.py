"""The explorer: JavaScript in Node against Python, the page in Chromium from disk."""

import json
import random
import shutil
import subprocess

import pytest
import torch
from conftest import ROOT

from fashion_gan import explorer, export, latent, model
from fashion_gan.explorer import State
from fashion_gan.networks import Generator

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="no node on this machine (Debian: nodejs)")


def in_node(script: str, folder, **files) -> object:
    """Run JavaScript with `core` there, and `files` in the folder; returns what it gives back, through JSON."""
    shutil.copy(explorer.SCRIPT, folder / "explorer.mjs")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    head = 'import fs from "fs"; import page from "./explorer.mjs"; const core = page.core();'
    (folder / "run.mjs").write_text(f"{head}\nconst work = () => {{ {script} }};\nconsole.log(JSON.stringify(work()));")
    done = subprocess.run([NODE, "run.mjs"], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def some_states(count: int) -> list[State]:
    dice = random.Random(0)

    def end():
        return dice.randrange(10), dice.randrange(2**32), dice.randint(-300, 300), dice.randint(-300, 300)

    states = [State(0, 0), State(9, 2**32 - 1, 200, -32768, 32767)]
    while len(states) < count:
        c, s, x, y = end()
        mix = (*end(), dice.randrange(101)) if dice.random() < 0.5 else None
        d = tuple(dice.randint(-30, 30) for _ in range(8)) if dice.random() < 0.5 else (0,) * 8
        states.append(State(c, s, dice.randint(30, 130), x * dice.randrange(2), y, mix, d))
    return states


@needs_node
def test_latents_have_the_same_bits(tmp_path):
    seeds = [0, 1, 7, 12345, 2**31, 2**32 - 1]
    theirs = in_node(f"return {seeds}.map((s) => [0, 1, 2].map((k) => [...core.seeded(s, 64, k)]));", tmp_path)
    assert theirs == [[latent.seeded(s, 64, k).tolist() for k in range(3)] for s in seeds]


def test_latents_are_normal_and_independent():
    z = torch.tensor([latent.seeded(s, 64, k).tolist() for s in range(500) for k in range(3)])
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01
    off = torch.corrcoef(z.T) - torch.eye(64)
    assert off.abs().max() < 5 / len(z) ** 0.5
    rows = torch.corrcoef(z[:300]) - torch.eye(300)
    assert rows.abs().max() < 6 / 64**0.5


MODELS = {"shipped": None, "plain": (8, 8, False, False), "wide": (100, 12, True, False), "tiny": (3, 4, False, True)}


@pytest.fixture(params=MODELS)
def found(request, tmp_path):
    """The shipped model, and small ones of other shapes, with batch norms that do something."""
    shape = MODELS[request.param]
    if shape is None:
        return model.load_generator(ROOT / model.SHIPPED)
    torch.manual_seed(0)
    generator = Generator(*shape)
    generator.layers(generator.project(torch.randn(64, generator.project.in_features)).view(64, -1, 7, 7))  # in training mode
    for norm in generator.layers:
        if isinstance(norm, torch.nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
            torch.nn.init.normal_(norm.bias, 0, 0.3)
    generator.layers[-2].weight.data *= 40  # pictures with contrast
    params = dict(zip(model.SHAPE, shape, strict=True))
    model.save_network(tmp_path / "g.safetensors", generator, params)
    return model.load_generator(tmp_path / "g.safetensors")


@needs_node
def test_the_pages_pictures_are_pytorchs(found, splits, tmp_path):
    info, numbers = export.payload(found, splits[0])
    bits, states = explorer.model_bits(found), some_states(64)
    codes = [explorer.encode(state, bits) for state in states]
    script = f"""const info = JSON.parse(fs.readFileSync("info")), raw = fs.readFileSync("numbers");
    const net = core.open(info, raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.length));
    return {codes}.map((code) => [...net.draw(core.inputs(core.decode(code, {bits}), info.latent_dim, net.directions))]);"""
    theirs = torch.tensor(in_node(script, tmp_path, info=json.dumps(info).encode(), numbers=numbers))
    ours = torch.stack([explorer.draw(explorer.decode(code, bits), found).flatten() for code in codes]).int()
    apart = (theirs - ours).abs()
    print(f"grey levels apart: at most {apart.max()}, mean {apart.double().mean():.4f}")
    assert apart.max() <= 2
    assert ours.double().std(dim=0).mean() > 1  # they do differ from each other
