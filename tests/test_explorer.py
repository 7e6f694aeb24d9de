"""The explorer: JavaScript in Node against Python, the page in Chromium from disk."""

import binascii
import contextlib
import functools
import io
import json
import random
import re
import shutil
import struct
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from browsers import IDLE, needs_browser, run_all_cells
from conftest import ROOT, TINY, command, fashion_gan_here, packed_folder, wait_until
from PIL import Image
from ports import free_port

from benchmarks import page as page_benchmark
from fashion_gan.catalog.generators import SHIPPED
from fashion_gan.config.params import Params
from fashion_gan.data.datasets import Split, load_split
from fashion_gan.errors import UserError
from fashion_gan.explorer import codec, export
from fashion_gan.explorer.widget import SCRIPT
from fashion_gan.metrics.neighbours import knn
from fashion_gan.models.feature_network import extract_features, load_feature_network
from fashion_gan.models.latent_space import find_directions, latent_from_seed
from fashion_gan.models.latents import balanced_labels, generate_images, sample_latents
from fashion_gan.models.networks import Generator
from fashion_gan.models.serialization import GENERATOR_PARAMS, Model, load_generator, save_network
from fashion_gan.pipeline import runner
from fashion_gan.report import pages
from fashion_gan.report.render import export_static_explorer
from fashion_gan.runs.create import create_run
from fashion_gan.runs.run import Run

NODE = shutil.which("node")
SLACK = 3  # on a machine that does other things as well; the printed figures are what counts
needs_node = pytest.mark.skipif(NODE is None, reason="no node on this machine (Debian: nodejs)")


def in_node(script: str, folder, **files) -> object:
    """Run JavaScript with `core` there, and `files` in the folder; returns what it gives back,
    through JSON."""
    shutil.copy(SCRIPT, folder / "explorer.mjs")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    head = 'import fs from "fs"; import page from "./explorer.mjs"; const core = page.core();'
    (folder / "run.mjs").write_text(
        f"{head}\nconst work = async () => {{ {script} }};\nconsole.log(JSON.stringify(await"
        " work()));"
    )
    done = subprocess.run(
        [NODE, "run.mjs"], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def some_states(count: int, size: int = 64, classes: int = 10) -> list[codec.ExplorerState]:
    dice = random.Random(0)

    def end():
        return (
            dice.randrange(classes),
            dice.randrange(2**32),
            dice.randint(-300, 300),
            dice.randint(-300, 300),
        )

    def own():
        return tuple(dice.randint(-127, 127) for _ in range(size)) if dice.random() < 0.2 else None

    states = [
        codec.ExplorerState(0, 0),
        codec.ExplorerState(classes - 1, 2**32 - 1, 200, -32768, 32767),
    ]
    while len(states) < count:
        c, s, x, y = end()
        blend = codec.Blend(*end(), dice.randrange(101)) if dice.random() < 0.5 else None
        d = tuple(dice.randint(-30, 30) for _ in range(8)) if dice.random() < 0.5 else (0,) * 8
        truncation, x = dice.randint(30, 130), x * dice.randrange(2)
        latent = own()
        blend = blend and replace(blend, latent=own())
        states.append(codec.ExplorerState(c, s, truncation, x, y, blend, d, latent))
    return states


@needs_node
def test_latents_have_the_same_bits(tmp_path):
    seeds = [0, 1, 7, 12345, 2**31, 2**32 - 1]
    theirs = in_node(
        f"return {seeds}.map((s) => [0, 1, 2].map((k) => [...core.seeded(s, 64, k)]));", tmp_path
    )
    assert theirs == [[latent_from_seed(s, 64, k).tolist() for k in range(3)] for s in seeds]


def test_latents_are_normal_and_independent():
    z = torch.tensor([latent_from_seed(s, 64, k).tolist() for s in range(500) for k in range(3)])
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01
    off = torch.corrcoef(z.T) - torch.eye(64)
    assert off.abs().max() < 5 / len(z) ** 0.5
    rows = torch.corrcoef(z[:300]) - torch.eye(300)
    assert rows.abs().max() < 6 / 64**0.5


def test_a_wide_generator_leaves_room_for_fewer_real_images(data_dir, tmp_path):
    torch.manual_seed(0)
    save_network(
        tmp_path / "g.safetensors",
        Generator(64, 40, True, True),
        dict(zip(GENERATOR_PARAMS, (64, 40, True, True), strict=True)),
    )
    wide, train = (
        load_generator(tmp_path / "g.safetensors"),
        load_split(data_dir, "train", 20_000),
    )
    info, numbers = export.payload(wide, train, load_split(data_dir, "validation", 100))
    assert len(info["tile_classes"]) < 2000
    assert len(numbers) * 4 / 3 + len(info["sprite"]) < export.ROOM


HUNDRED = tuple(f"class {i} of $ and 日本語" + " very" * (i % 25) for i in range(100))
SIXTEEN = tuple("abcdefghijklmnop")
MODELS = {  # sizes of the generator; of other images than Fashion-MNIST's their shape and classes
    "shipped": (),
    "plain": ((8, 8, False, False),),
    "wide": ((100, 12, True, False),),
    "tiny": ((3, 4, False, True),),
    "colour": ((16, 8, True, True), (3, 48, 32), ("a", "b", "c")),
    "colour without classes": ((16, 8, False, False), (3, 48, 32), ()),
    "conditional of one class": ((8, 8, True, False), (3, 20, 36), ("<b>",)),
    "small": ((8, 8, False, True), (1, 16, 16), ("a", "b", "c")),
    "hundred classes": ((8, 8, True, False), (1, 16, 16), HUNDRED),
    "sixteen classes": ((8, 8, True, False), (1, 16, 64), SIXTEEN),
}


@dataclass
class World:
    """A model, and its data."""

    found: Model
    folder: Path
    train: Split
    fresh: Split

    @functools.cached_property
    def payload(self):
        return export.payload(self.found, self.train, self.fresh, self.folder)

    @property
    def read(self):
        return lambda code: codec.decode(
            code,
            codec.model_bits(self.found),
            self.found.generator.latent_dim,
            len(self.found.classes),
        )


def world_of(name: str, folder: Path, data_dir: Path) -> World:
    """The shipped model, or a small one with batch norms that do something."""
    if not MODELS[name]:
        found = load_generator(ROOT / SHIPPED)
    else:
        sizes, *others = MODELS[name]
        about = dict(zip(GENERATOR_PARAMS, sizes, strict=True))
        if others:
            data_dir = packed_folder(folder / "packed", *others)
            about |= {
                "shape": others[0],
                "classes": others[1] or ("images",),
                "data_dir": str(data_dir),
            }
        found = saved_generator(folder / "g.safetensors", about)
    return World(
        found,
        data_dir,
        load_split(data_dir, "train", 256),
        load_split(data_dir, "validation", 1000),
    )


def saved_generator(path: Path, about: dict) -> Model:
    torch.manual_seed(0)
    generator = Generator(
        **{name: about[name] for name in GENERATOR_PARAMS},
        **(
            {"shape": about["shape"], "class_count": len(about["classes"])}
            if "shape" in about
            else {}
        ),
    )
    norms = [module for module in generator.layers if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # the statistics of this one batch
    # in training mode
    generator.grown(generator.project(torch.randn(64, generator.project.in_features)))
    for norm in norms:
        torch.nn.init.normal_(norm.bias, 0, 0.3)
    generator.layers[-2].weight.data *= 10  # pictures with contrast
    save_network(path, generator, about)
    return load_generator(path)


# the others differ less
OFTEN = ("shipped", "wide", "colour", "colour without classes")


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.slow] * (name not in OFTEN)) for name in MODELS],
    scope="module",
)
def world(request, tmp_path_factory, data_dir):
    return world_of(request.param, tmp_path_factory.mktemp("world"), data_dir)


OPEN = """const info = JSON.parse(fs.readFileSync("info"));
const net = await core.open(info, fs.readFileSync("numbers")), count = info.classes.length;
const decoded = (code) => core.decode(code, info.model, info.latent_dim, count);
const drawn = (code) =>
  net.draw(core.inputs(decoded(code), info.latent_dim, net.directions, count));"""


def pixelwise(image: torch.Tensor) -> torch.Tensor:
    """The levels of an image (C, H, W) in the page's order."""
    return image.permute(1, 2, 0).flatten()


@needs_node
@pytest.mark.parametrize("count", [24, pytest.param(64, marks=pytest.mark.slow)])
def test_the_pages_pictures_are_pytorchs(world, count, tmp_path):
    (info, numbers), found = world.payload, world.found
    states = some_states(count, found.generator.latent_dim, len(found.classes))
    codes = [codec.encode(state, codec.model_bits(found)) for state in states]
    script = f"{OPEN} return {codes}.map((code) => [...drawn(code)]);"
    theirs = torch.tensor(
        in_node(script, tmp_path, info=json.dumps(info).encode(), numbers=numbers)
    )
    images = torch.stack([codec.draw_state(world.read(code), found) for code in codes])
    assert images.shape[1:] == found.generator.shape == world.train.images.shape[1:]
    ours = torch.stack([*map(pixelwise, images)]).int()
    apart = (theirs - ours).abs()
    print(f"levels apart: at most {apart.max()}, mean {apart.double().mean():.4f}")
    assert apart.max() <= 2
    assert ours.double().std(dim=0).mean() > 1  # they do differ from each other


@needs_node
def test_the_page_sees_what_the_feature_network_sees(world, tmp_path):
    (info, numbers), network = world.payload, load_feature_network("dev", folder=world.folder)
    images = world.fresh.images[:20]
    looked = (
        f"{OPEN} return {[pixelwise(image).tolist() for image in images]}.map((image) =>"
        " net.look(image));"
    )
    theirs = in_node(looked, tmp_path, info=json.dumps(info).encode(), numbers=numbers)
    shares = network(images.float() / 127.5 - 1).softmax(dim=1)
    assert torch.allclose(
        torch.tensor([each["shares"] for each in theirs]).float(), shares, atol=0.02
    )
    tiles = extract_features(network, world.train.images[info["tile_numbers"]])[0]
    known = knn(extract_features(network, images)[0], tiles, 6)[0]
    assert torch.allclose(
        torch.tensor([[d for d, _ in each["near"]] for each in theirs]).double(),
        known,
        rtol=0.03,
        atol=1e-3,
    )


@pytest.mark.parametrize(
    ("classes", "each"),
    [(10, [200, 100, 50]), (1, [2000, 1000, 500]), (3, [666, 333, 166]), (16, [125, 62, 31])],
)
def test_some_two_thousand_real_images_are_tried_whatever_the_classes(classes, each):
    assert [count // classes for count in export.TILES] == each


def test_pictures_that_are_no_clothes_have_no_sleeves(tmp_path, data_dir):
    world = world_of("colour", tmp_path, data_dir)
    info, _ = world.payload
    assert (info["shape"], info["classes"], info["thing"]) == (
        (3, 48, 32),
        ("a", "b", "c"),
        "picture",
    )
    assert len(info["tile_classes"]) == len(world.train)
    assert "sleeve" not in str(info["directions"])
    grey = torch.zeros(2, 1, 48, 32, dtype=torch.uint8)
    grey[0, :, 12:24, :8], grey[1, :, 30:40, 12:20] = 200, 200
    plain, coloured = (
        export.traits(grey, export.SIDES),
        export.traits(grey.expand(2, 3, 48, 32), export.SIDES),
    )
    assert all(torch.allclose(plain[words], coloured[words]) for words in plain)
    assert plain[export.SIDES].tolist() == pytest.approx([1, 0])
    assert plain["higher", "lower"].tolist() == pytest.approx([17.5, 34.5])
    assert plain["narrower", "wider"].tolist() == [8, 8]


def test_a_model_of_other_pictures_is_refused(tmp_path, data_dir, splits):
    world = world_of("colour", tmp_path, data_dir)
    with pytest.raises(UserError, match="makes other pictures than those in"):
        export.payload(world.found, *splits)


@needs_node
@pytest.mark.parametrize("shape", [(1, 28, 28), (1, 16, 24), (3, 48, 32)])
def test_a_gif_shows_what_it_was_given(shape, tmp_path):
    colours, height, width = shape
    frames = torch.randint(
        0, 256, (3, height, width, colours), generator=torch.Generator().manual_seed(0)
    )
    given = json.dumps(frames.flatten(1).tolist())
    told = in_node(f"return [...core.gif({given}, 2, 7, {list(shape)})];", tmp_path)
    film = Image.open(io.BytesIO(bytes(told)))
    assert (film.size, film.n_frames) == ((2 * width, 2 * height), 3)
    for number, frame in enumerate(frames):
        film.seek(number)
        seen = torch.from_numpy(
            np.array(film.convert("L" if colours == 1 else "RGB"))[1::2, 1::2].astype(int)
        ).view_as(frame)
        assert (
            (seen - frame)
            .abs()
            .amax(dim=(0, 1))
            .le(torch.tensor([0] if colours == 1 else [26, 22, 26]))
            .all()
        )


@needs_node
def test_codes_are_the_same_in_both_languages(tmp_path):
    states, bits = some_states(200, classes=16), 0xBEEF
    assert {state.class_id for state in states} == set(range(16))
    codes = [codec.encode(state, bits) for state in states]
    assert [codec.decode(code, bits, 64, 16) for code in codes] == states
    assert (
        codec.decode("f1-" + codes[5][3:].lower().replace("0", "o").replace("1", "l"), bits, 64, 16)
        == states[5]
    )
    script = (
        f"return {codes}.map((c) => [core.decode(c, {bits}, 64, 16), core.encode(core.decode(c,"
        f" {bits}, 64, 16), {bits})]);"
    )
    theirs = in_node(script, tmp_path)
    assert [again for _, again in theirs] == codes
    for state, (read, _) in zip(states, theirs, strict=True):
        blend = None
        if mix := read["mix"]:
            blend = codec.Blend(*(mix[name] for name in "csxym"), latent(mix["z"]))
        values = (*(read[name] for name in "cstxy"), blend, tuple(read["d"]), latent(read["z"]))
        assert codec.ExplorerState(*values) == state


def latent(numbers):
    return tuple(numbers) if numbers else None


GOOD = codec.encode(codec.ExplorerState(9, 7), 0xBEEF)
BAD = {
    "": "this is no code of the explorer; one begins with F1-",
    "hello": "this is no code of the explorer; one begins with F1-",
    "F1-": "the code is mistyped or cut off; its checksum does not fit",
    GOOD[:-1]: "the code is mistyped or cut off; its checksum does not fit",
    GOOD + "0": "the code is mistyped or cut off; its checksum does not fit",
    GOOD + "A" * 300: f"the code has {len(GOOD) + 300} characters; the longest has 261",
    "F1-U" + GOOD[4:]: "the code holds U, which no code has",
    codec.encode(
        codec.ExplorerState(9, 7), 1
    ): "the code belongs to another model (0001); this one is beef",
}


@pytest.mark.parametrize(
    ("state", "enough"),
    [
        (codec.ExplorerState(9, 7), 10),
        (codec.ExplorerState(0, 7, blend=codec.Blend(12, 3, 0, 0, 50)), 13),
        (codec.ExplorerState(15, 7), 16),
    ],
)
def test_a_class_that_the_model_has_not_is_refused(state, enough, tmp_path):
    code = codec.encode(state, 0xBEEF)
    assert codec.decode(code, 0xBEEF, 64, enough) == state
    for count in (1, 3, enough - 1):
        with pytest.raises(UserError, match="mistyped"):
            codec.decode(code, 0xBEEF, 64, count)
    if NODE:
        tried = (
            f"[{enough}, {enough - 1}].map((n) => {{ try {{ return core.decode('{code}', 0xbeef,"
            " 64, n).c; } catch { return -1; } })"
        )
        assert in_node(f"return {tried};", tmp_path) == [state.class_id, -1]


def test_bad_codes_get_one_sentence(tmp_path):
    for code, words in BAD.items():
        with pytest.raises(UserError) as told:
            codec.decode(code, 0xBEEF, 64)
        assert str(told.value) == words
    for i in range(3, len(GOOD)):  # every wrong letter is found
        for letter in codec.LETTERS.replace(GOOD[i], ""):
            with pytest.raises(UserError):
                codec.decode(GOOD[:i] + letter + GOOD[i + 1 :], 0xBEEF, 64)
    if NODE:
        script = (
            f"return {list(BAD)}.map((code) => {{ try {{ core.decode(code, 0xbeef, 64); }} catch"
            " (error) { return error.message; } });"
        )
        assert in_node(script, tmp_path) == list(BAD.values())


def test_the_command_draws_a_code(tmp_path):
    found = load_generator(ROOT / SHIPPED)
    state = codec.ExplorerState(
        8, 12345, 90, 40, -20, codec.Blend(0, 3, 0, 0, 30), (0, 0, 15, 0, 0, 0, 0, -5)
    )
    code = codec.encode(state, codec.model_bits(found))
    done = fashion_gan_here(
        "sample", "--model", str(ROOT / SHIPPED), "--code", code, "--out", str(tmp_path / "x.png")
    )
    assert done.returncode == 0, done.stderr
    assert np.array_equal(
        np.asarray(Image.open(tmp_path / "x.png")), codec.draw_state(state, found)[0].numpy()
    )
    done = fashion_gan_here(
        "sample",
        "--model",
        str(ROOT / SHIPPED),
        "--code",
        code[:-1],
        "--out",
        str(tmp_path / "y.png"),
    )
    assert (done.returncode, done.stderr) == (
        2,
        "error: the code is mistyped or cut off; its checksum does not fit\n",
    )
    assert not (tmp_path / "y.png").exists()


def test_directions_are_at_right_angles_and_do_what_they_say():
    found = load_generator(ROOT / SHIPPED)
    moves = torch.from_numpy(find_directions(found.generator))
    assert (moves @ moves.T - torch.eye(len(moves))).abs().max() < 2e-3
    named = export.name_directions(found.generator)
    assert sum(bool(d["less"]) for d in named) >= 3
    # other samples than it was named on
    z, labels = sample_latents(1000, found.generator.latent_dim, 99), balanced_labels(1000)
    before = export.traits(generate_images(found.generator, z, labels))
    for direction, move in zip(named, moves, strict=True):
        if direction["less"]:
            after = export.traits(generate_images(found.generator, z + 2 * move, labels))
            words = next(w for w in before if w[1] == direction["measured"])
            change = float((after[words] - before[words]).mean())
            print(
                f"{direction['less']} to {direction['more']}: {float(before[words].mean()):.3f} to"
                f" {float(after[words].mean()):.3f}"
            )
            assert change * direction["effect"] > 0


@pytest.fixture(scope="module")
def shipped():
    return load_generator(ROOT / SHIPPED)


@pytest.fixture(scope="module")
def twin(data_dir, tmp_path_factory):
    """The report of the shipped model, on disk."""
    return page_benchmark.write_page(tmp_path_factory.mktemp("twin") / "showcase")


PIXELS = (
    "() => [...document.querySelector('canvas.stage').getContext('2d').getImageData(0, 0, 28,"
    " 28).data].filter((_, i) => i % 4 === 0)"
)


class Explorer:
    """The explorer as a person handles it, in a page or in a frame of one."""

    def __init__(self, page, thing: str = "garment"):
        self.page, self.stage, self.field = (
            page,
            page.locator("canvas.stage"),
            page.get_by_label(f"code of this {thing}"),
        )

    def shows(self, code: str) -> list[int]:
        """Wait for the picture of a code; its grey levels."""
        self.page.wait_for_function(
            "code => document.querySelector('canvas.stage').dataset.code === code", arg=code
        )
        return self.page.evaluate(PIXELS)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def go(self, code: str) -> list[int]:
        self.field.fill(code)
        self.field.press("Enter")
        return self.shows(code)

    @property
    def alert(self) -> str:
        return self.page.locator(".alert").inner_text()

    def saved(self, name: str):
        with self.page.expect_download() as download:
            self.press(name)
        return download.value


@pytest.fixture(scope="module")
def opened(twin, browser):
    """The report opened from disk, its explorer drawn; what it asked for and complained of, and how
    long it took."""
    context = browser.new_context(
        viewport={"width": 1100, "height": 1000}, permissions=["clipboard-read", "clipboard-write"]
    )
    page, asked, said = context.new_page(), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: message.type == "error" and said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    began = time.monotonic()
    page.goto(page_benchmark.playable(twin).as_uri())
    page.wait_for_selector("canvas.stage[data-code]")
    page.opened = time.monotonic() - began
    page.evaluate("document.querySelectorAll('.fgx details').forEach((d) => (d.open = true))")
    yield Explorer(page), asked, said
    context.close()


@needs_browser
@pytest.mark.slow
def test_it_draws_soon_and_follows_the_slider(opened):
    """It depends on the machine's speed."""
    explorer_page, _, _ = opened
    times = explorer_page.page.evaluate(page_benchmark.TIMES, 60)
    opened_in = explorer_page.page.opened
    print(
        f"opened in {opened_in:.2f} s; a slider's change is on screen in {times[30]:.0f} ms"
        f" (median), {times[57]:.0f} ms (95 %)"
    )
    assert opened_in < 1.5 * SLACK
    assert times[30] < 50 * SLACK
    assert times[57] < 100 * SLACK


@needs_browser
def test_a_pasted_code_draws_pytorchs_picture_and_undo_brings_back_what_was_there(opened, shipped):
    it, bits = opened[0], codec.model_bits(shipped)
    for state in some_states(8)[2:]:
        before, code = it.field.input_value(), codec.encode(state, bits)
        there = torch.tensor(it.go(code))
        assert (there - codec.draw_state(state, shipped).flatten()).abs().max() <= 2
        assert it.page.url.endswith("#" + code)
        it.stage.focus()
        it.page.keyboard.press("Control+z")
        it.shows(before)
        it.page.keyboard.press("Control+Shift+Z")
        assert torch.equal(torch.tensor(it.shows(code)), there)
    for bad, words in (
        (code[:-1], "mistyped"),
        (codec.encode(codec.ExplorerState(1, 1), bits ^ 1), "another model"),
        ("x" * 9, "begins with F1-"),
    ):
        it.field.fill(bad)
        it.press("Go to code")
        assert words in it.alert


@needs_browser
def test_by_keyboard(opened, shipped):
    it, bits = opened[0], codec.model_bits(shipped)
    it.go(codec.encode(codec.ExplorerState(9, 5), bits))
    it.stage.focus()
    it.page.keyboard.press("1")
    it.shows(codec.encode(codec.ExplorerState(1, 5), bits))
    it.page.keyboard.press("ArrowRight")
    it.shows(codec.encode(codec.ExplorerState(1, 5, x=10), bits))
    it.page.get_by_label("truncation").press("ArrowLeft")
    it.shows(codec.encode(codec.ExplorerState(1, 5, truncation=99, x=10), bits))
    assert it.page.get_by_label("truncation").get_attribute("aria-valuetext") == "0.99"
    it.page.get_by_role("button", name="8 Bag").press("Enter")
    it.shows(codec.encode(codec.ExplorerState(8, 5, truncation=99, x=10), bits))
    it.page.wait_for_function(
        "() => /Bag, \\d+ %"
        " sure/.test(document.querySelector('canvas.stage').getAttribute('aria-label'))"
    )
    assert "Unseen real images lie" in it.page.locator(".fgx").inner_text()
    it.press("Reset")
    it.shows(codec.encode(codec.ExplorerState(8, 5), bits))
    it.page.get_by_label("seed").fill("4294967296")
    it.page.get_by_label("seed").press("Enter")
    assert it.alert == "A seed is a whole number from 0 to 4294967295."


@needs_browser
def test_dragging_on_the_picture_walks_and_is_one_step_back(opened, shipped):
    it, bits = opened[0], codec.model_bits(shipped)
    before, walked = (
        it.go(codec.encode(codec.ExplorerState(3, 11), bits)),
        codec.ExplorerState(3, 11, x=40, y=20),
    )
    it.stage.scroll_into_view_if_needed()
    box = it.stage.bounding_box()
    it.page.mouse.move(box["x"] + 60, box["y"] + 60)
    it.page.mouse.down()
    for k in range(1, 11):
        it.page.mouse.move(box["x"] + 60 + 4 * k, box["y"] + 60 + 2 * k)
    it.page.mouse.up()
    after = it.shows(codec.encode(walked, bits))
    assert after != before
    assert (torch.tensor(after) - codec.draw_state(walked, shipped).flatten()).abs().max() <= 2
    it.press("Undo")
    assert it.shows(codec.encode(codec.ExplorerState(3, 11), bits)) == before


@needs_browser
def test_pins_are_mixed_and_played_and_taken_along(opened, shipped):
    it, bits = opened[0], codec.model_bits(shipped)
    ends = [codec.ExplorerState(1, 21), codec.ExplorerState(8, 22)]
    for state in ends:
        it.go(codec.encode(state, bits))
        it.press("Pin")
    half = codec.ExplorerState(1, 21, blend=codec.Blend(8, 22, 0, 0, 50))
    it.page.get_by_label("mix A").fill("50")
    pixels = it.shows(codec.encode(half, bits))
    assert (torch.tensor(pixels) - codec.draw_state(half, shipped).flatten()).abs().max() <= 2
    it.press("Pin")  # a mixture can be shown again, not mixed again
    it.page.get_by_label("pin B").select_option("2")
    it.page.get_by_label("mix A").fill("20")
    assert it.alert == "A mixture cannot be mixed again; pin two plain garments."
    it.page.get_by_label("pin B").select_option("1")
    it.press("show 1")
    it.shows(codec.encode(ends[0], bits))

    it.press("Play A → B")
    it.page.get_by_role("button", name="Stop", exact=True).wait_for()
    # it ends at B, by itself
    it.shows(codec.encode(replace(half, blend=codec.Blend(8, 22, 0, 0, 100)), bits))
    it.page.get_by_role("button", name="Play A → B", exact=True).wait_for()
    it.press("Undo")  # the whole film is one step
    it.shows(codec.encode(ends[0], bits))

    film = Image.open(it.saved("Save GIF").path())
    assert (film.format, film.size, film.n_frames, film.info["loop"]) == ("GIF", (112, 112), 60, 0)
    for frame, state in ((0, ends[0]), (15, half), (30, ends[1])):
        film.seek(frame)
        levels = np.asarray(film.convert("L"))[2::4, 2::4].astype(int)
        assert np.abs(levels - codec.draw_state(state, shipped)[0].numpy().astype(int)).max() <= 2
    strip = Image.open(it.saved("Save strip").path()).convert("L")
    assert strip.size == (11 * 224, 224)
    levels = np.asarray(strip)[4::8, 5 * 224 + 4 : 6 * 224 : 8].astype(int)
    assert np.abs(levels - codec.draw_state(half, shipped)[0].numpy().astype(int)).max() <= 2
    for number in (3, 2, 1):
        it.press(f"remove pin {number}")
    # without pins: the ten classes
    assert Image.open(it.saved("Save strip").path()).size == (2240, 224)


@needs_browser
def test_picture_and_code_are_copied_and_saved(opened, shipped):
    it, bits = opened[0], codec.model_bits(shipped)
    state = codec.ExplorerState(6, 33)
    code = codec.encode(state, bits)
    it.go(code)
    saved = it.saved("Save PNG")
    assert saved.suggested_filename == f"{code}.png"
    levels = np.asarray(Image.open(saved.path()).convert("L"))[4::8, 4::8].astype(int)
    assert np.abs(levels - codec.draw_state(state, shipped)[0].numpy().astype(int)).max() <= 2
    it.press("Copy code")
    it.page.wait_for_function(
        "() => document.querySelector('.alert').textContent === 'The code is copied.'"
    )
    assert it.page.evaluate("navigator.clipboard.readText()") == code
    it.press("Copy PNG")
    it.page.wait_for_function(
        "() => document.querySelector('.alert').textContent !== 'The code is copied.'"
    )
    assert it.alert == "The picture is copied."
    assert it.page.evaluate("navigator.clipboard.read().then((all) => all[0].types)") == [
        "image/png"
    ]


@needs_browser
def test_what_needs_a_kernel_is_off_and_says_why(opened):
    it = opened[0]
    for name in ("Search all of them", "Find it in the latent space"):
        assert it.page.get_by_role("button", name=name).is_disabled()
    assert it.page.get_by_label("picture of a garment").is_disabled()
    assert it.page.get_by_text("needs a kernel: open notebooks/05_explorer.ipynb").count() == 2


@needs_browser
def test_it_asked_nobody_and_complained_of_nothing(opened, twin):
    _, asked, said = opened
    assert {url.split("#")[0] for url in asked if not url.startswith(("data:", "blob:"))} == {
        page_benchmark.playable(twin).as_uri()
    }
    assert said == []
    assert twin.stat().st_size <= pages.LARGEST


COLOURS = """() => {
  const stage = document.querySelector('canvas.stage');
  const { data } = stage.getContext('2d').getImageData(0, 0, stage.width, stage.height);
  return [...data].filter((_, i) => i % 4 < 3);
}"""


def visited(browser, world: World, folder: Path):
    """The explorer of a world's model in a page from disk, all of it open; what it complained
    of."""
    shutil.copytree(ROOT / "reports" / "showcase", folder)
    export_static_explorer(Run(folder), *world.payload)
    page, said = browser.new_page(viewport={"width": 1100, "height": 1000}), []
    page.on("console", lambda message: message.type == "error" and said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(page_benchmark.playable(pages.write_report(Run(folder))).as_uri())
    page.wait_for_selector("canvas.stage[data-code]")
    page.evaluate("document.querySelectorAll('.fgx details').forEach((d) => (d.open = true))")
    page.wait_for_function(
        "() => document.querySelector('.fgx details').innerText.includes('Unseen real images lie')"
    )
    return Explorer(page, "picture"), said


@needs_browser
def test_a_page_of_other_pictures_in_colour(browser, tmp_path, data_dir):
    world = world_of("colour", tmp_path, data_dir)
    it, said = visited(browser, world, tmp_path / "run")
    first = it.field.input_value()
    before = it.page.evaluate(COLOURS)
    ours = pixelwise(codec.draw_state(world.read(first), world.found)).int()
    assert world.read(first) == codec.ExplorerState(0, 7)
    assert (torch.tensor(before) - ours).abs().max() <= 2
    assert it.stage.evaluate("s => [s.width, s.height]") == [32, 48]
    box = it.stage.bounding_box()
    assert box["height"] / box["width"] == pytest.approx(1.5, abs=0.02)
    it.page.locator("label.slider input").first.press("ArrowRight")
    it.page.wait_for_function(
        "code => document.querySelector('canvas.stage').dataset.code !== code", arg=first
    )
    assert it.page.evaluate(COLOURS) != before
    it.stage.focus()
    it.page.keyboard.press("Control+z")
    it.shows(first)
    assert it.page.evaluate(COLOURS) == before
    it.page.keyboard.press("5")  # there is no such class
    it.page.keyboard.press("2")
    it.shows(codec.encode(codec.ExplorerState(2, 7), codec.model_bits(world.found)))
    assert it.page.locator(".fgx .classes button").all_inner_texts() == ["0 a", "1 b", "2 c"]
    assert "garment" not in it.page.locator(".fgx").inner_text()
    for _ in range(2):
        it.press("Pin")
        it.page.locator("label.slider input").first.press("ArrowRight")
    assert Image.open(it.saved("Save strip").path()).size == (11 * 256, 384)
    film = Image.open(it.saved("Save GIF").path())
    assert (film.size, film.n_frames) == ((128, 192), 60)
    it.page.screenshot(path=str(tmp_path / "colour.png"), full_page=True)
    assert said == []
    it.page.close()


@needs_browser
def test_a_page_of_pictures_without_labels_has_no_word_on_classes(browser, tmp_path, data_dir):
    it, said = visited(
        browser, world_of("colour without classes", tmp_path, data_dir), tmp_path / "run"
    )
    it.press("Pin")
    words = it.page.locator(".fgx").inner_text()
    assert it.page.locator(".fgx .classes").count() == 0
    assert re.findall(r"\b(class|classes|garments?|images,)\b", words) == []
    assert "A classifier sees" not in words
    assert Image.open(it.saved("Save strip").path()).size == (256, 384)
    it.page.screenshot(path=str(tmp_path / "one.png"), full_page=True)
    assert said == []
    it.page.close()


@needs_browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1100), ("dark", 1100), ("dark", 390)])
def test_nothing_in_the_report_keeps_anybody_out(twin, browser, scheme, width):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="no axe-core here (pip install axe-playwright-python)",
    )
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(page_benchmark.playable(twin).as_uri())
    page.wait_for_selector("canvas.stage[data-code]")
    page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    page.get_by_role("button", name="Pin", exact=True).click()
    page.wait_for_function(
        "() => document.querySelector('.fgx details').innerText.includes('Unseen real images lie')"
    )
    found = axe.Axe().run(page).response
    told = {
        f"{v['id']}: {v['help']}": [n["html"][:120] for n in v["nodes"]][:3]
        for v in found["violations"]
    }
    print(f"{scheme}, {width} px: {len(found['passes'])} rules pass; findings: {told or 'none'}")
    assert [v["id"] for v in found["violations"] if v["impact"] in ("serious", "critical")] == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.close()


@needs_browser
def test_a_class_of_many_is_searched_and_chosen_by_keyboard(browser, tmp_path, data_dir):
    world = world_of("hundred classes", tmp_path, data_dir)
    bits = codec.model_bits(world.found)
    it, said = visited(browser, world, tmp_path / "run")
    search, chooser = it.page.get_by_label("search for a class"), it.page.locator("select[size]")
    search.fill("CLASS 9")
    assert chooser.locator("option").count() == 11
    assert it.page.locator(".chooser p").inner_text() == "11 of 100 classes"
    search.fill("class 87 ")
    search.press("Enter")
    it.shows(codec.encode(codec.ExplorerState(87, 7), bits))
    search.fill("")
    chooser.press("ArrowUp")
    shown = codec.ExplorerState(86, 7)
    it.shows(codec.encode(shown, bits))
    ours = pixelwise(codec.draw_state(shown, world.found)).int().repeat_interleave(3)
    assert (torch.tensor(it.page.evaluate(COLOURS)) - ours).abs().max() <= 2
    it.press("Pin")
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    for width in (1280, 390):
        it.page.set_viewport_size({"width": width, "height": 900})
        assert [v["id"] for v in axe.Axe().run(it.page).response["violations"]] == []
        assert it.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        it.page.screenshot(path=str(tmp_path / f"{width}.png"), full_page=True)
    assert said == []
    it.page.close()


@needs_node
def test_a_code_holds_any_of_a_thousand_classes(tmp_path):
    states = some_states(64, 64, 1000)
    codes = [codec.encode(state, 0xBEEF) for state in states]
    assert [codec.decode(code, 0xBEEF, 64, 1000) for code in codes] == states
    low = codec.ExplorerState(3, 7)
    body = struct.pack(codec.HEADER, 0xBEEF, 3, 7, 100)
    zeros = body + bytes(2)  # more than is needed
    alone = body + bytes([1, 1])  # a second class where nothing is blended
    wrong = [
        "F1-" + codec._letters(packed + struct.pack(">H", binascii.crc_hqx(packed, 0)))
        for packed in (zeros, alone, body + bytes(1), body + bytes(3))
    ]
    assert codec.decode(codec.encode(low, 0xBEEF), 0xBEEF, 64, 1000) == low
    for code in wrong:
        with pytest.raises(UserError, match="mistyped"):
            codec.decode(code, 0xBEEF, 64, 1000)
    again = f"""const again = (code) => {{ try {{
      return core.encode(core.decode(code, 0xBEEF, 64, 1000), 0xBEEF);
    }} catch (error) {{ return error.message; }} }};
    return {json.dumps(codes + wrong)}.map(again);"""
    theirs = in_node(again, tmp_path)
    assert theirs[: len(codes)] == codes
    assert all("mistyped" in words for words in theirs[len(codes) :])


def test_where_the_explorer_does_not_fit_in_it_is_a_page_of_its_own(twin, monkeypatch):
    monkeypatch.setattr(pages, "LARGEST", 1_000_000)
    before, there = twin.read_text(), page_benchmark.playable(twin)
    try:
        assert pages.write_report(Run(twin.parent)).stat().st_size < 1_000_000
        assert 'href="explorer.html"' in twin.read_text()
        assert 'id="twin"' in (twin.parent / "explorer.html").read_text()
    finally:
        twin.write_text(before)
        if there == twin:
            (twin.parent / "explorer.html").unlink()


def test_the_explorer_of_a_run_of_ten_epochs_fits_in(twin, tmp_path):
    folder = shutil.copytree(page_benchmark.playable(twin).parent, tmp_path / "ten")
    (folder / "explorer.html").unlink(missing_ok=True)
    shown = sorted((folder / "images").glob("epoch_*.png"))[-1].read_bytes()
    for epoch in range(1, 11):
        (folder / "images" / f"epoch_{epoch:04d}.png").write_bytes(shown)
    page = pages.write_report(Run(folder))
    assert 'id="twin"' in page.read_text()
    assert page.stat().st_size <= pages.LARGEST


def test_a_run_leaves_the_page(project):
    found = load_generator(ROOT / SHIPPED)
    code = codec.encode(codec.ExplorerState(3, 5), codec.model_bits(found))
    run = create_run(
        Params.checked(TINY | {"code": code}), name="r", profile="tiny", notebooks=("05_explorer",)
    )
    assert runner.run_all(run, print) == 0
    assert f'"code":"{code}"' in (run.folder / "index.html").read_text()
    assert (run.folder / "index.html").stat().st_size <= pages.LARGEST
    # no weights of the widget in it
    assert (run.folder / "notebooks" / "05_explorer.ipynb").stat().st_size < 500_000
    assert "<script" not in (run.folder / "05_explorer.html").read_text()


@pytest.mark.parametrize("name", ["colour", "colour without classes"])
def test_a_run_on_other_pictures_leaves_the_page(project, data_dir, name, tmp_path):
    world = world_of(name, tmp_path, data_dir)
    params = Params.checked(
        TINY | {"data_dir": str(world.folder), "model": str(tmp_path / "g.safetensors")}
    )
    run = create_run(params, name="r", profile="tiny", notebooks=("05_explorer",))
    assert runner.run_all(run, print) == 0
    twin = run.read_json("twin")
    assert codec.ExplorerState(0, 7) == world.read(twin["code"])
    assert twin["info"]["shape"] == [3, 48, 32]
    assert Image.open(run.folder / "images" / "explored.png").mode == "RGB"
    assert (run.folder / "images" / "explored_classes.png").exists() == (name == "colour")


def a_photo(data_dir, number: int = 0) -> bytes:
    """A test image as somebody would photograph it: dark on white, larger, not in the middle, a
    JPEG."""
    small = Image.fromarray(255 - load_split(data_dir, "test").images[number, 0].numpy())
    whole = Image.new("L", (640, 480), 250)
    whole.paste(small.resize((280, 280), Image.Resampling.BICUBIC), (90, 120))
    stream = io.BytesIO()
    whole.save(stream, format="jpeg", quality=90)
    return stream.getvalue()


def heap(page) -> float:
    """Megabytes that the page's scripts hold, after a collection."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    return (
        next(
            m["value"]
            for m in session.send("Performance.getMetrics")["metrics"]
            if m["name"] == "JSHeapUsedSize"
        )
        / 1e6
    )


def drag(it, seconds: float) -> None:
    """Walk on the picture for some seconds, the button held down."""
    it.stage.scroll_into_view_if_needed()
    box, until, k = it.stage.bounding_box(), time.monotonic() + seconds, 0
    it.page.mouse.move(box["x"] + 50, box["y"] + 50)
    it.page.mouse.down()
    while time.monotonic() < until:
        k += 1
        it.page.mouse.move(box["x"] + 50 + k % 70, box["y"] + 50 + k % 40)
    it.page.mouse.up()


def kernel_does_its_part(it, data_dir) -> None:
    """What only a kernel can do: the nearest of all training images, an own photo found and pinned,
    a bad file refused."""
    for details in it.page.locator(".fgx details").all():
        details.evaluate("d => d.open = true")
    it.press("Search all of them")
    it.page.get_by_text("Of 50,000 training images the nearest is").wait_for(timeout=90_000)
    chooser = it.page.get_by_label("picture of a garment")
    chooser.set_input_files({"name": "empty.png", "mimeType": "image/png", "buffer": b""})
    it.page.get_by_text("This file is empty; choose a picture.").wait_for()
    chooser.set_input_files(
        {"name": "large.png", "mimeType": "image/png", "buffer": bytes(9_000_000)}
    )
    it.page.get_by_text("This file has 9 MB; at most 8 MB are read.").wait_for()
    chooser.set_input_files(
        {"name": "boot.jpg", "mimeType": "image/jpeg", "buffer": a_photo(data_dir)}
    )
    it.page.get_by_text("28×28 pixels", exact=True).wait_for()
    it.press("Find it in the latent space")
    it.page.get_by_text("It is pinned.").wait_for(timeout=90_000)
    told = it.page.get_by_text("It is pinned.").inner_text()
    distance, real = (
        float(number)
        for number in re.search(
            r"([0-9.]+) from the photo.* are ([0-9.]+) \(median\)", told
        ).groups()
    )
    print(told)
    assert "Ankle boot" in told
    assert distance < real
    assert it.page.locator(".fgx figure button", has_text="show 1").count() == 1


@needs_browser
def test_dragging_in_jupyterlab_leaves_the_kernel_alone(lab, browser, data_dir, shipped):
    root, address = lab
    page, sent = browser.new_page(viewport={"width": 1400, "height": 1000}), []
    page.on(
        "websocket",
        lambda socket: socket.on("framesent", lambda frame: sent.append((time.monotonic(), frame))),
    )
    page.goto(f"{address}/lab/tree/notebooks/05_explorer.ipynb?reset")
    run_all_cells(page)
    it = Explorer(page)
    page.locator("canvas.stage[data-code]").wait_for(timeout=120_000)
    page.wait_for_selector(IDLE, timeout=120_000)
    drag(it, 1)  # what is made once is there
    # the page says no more of it
    wait_until(lambda: page.wait_for_timeout(100) or time.monotonic() - sent[-1][0] > 3, 60)
    before, held, heard = it.stage.get_attribute("data-code"), heap(page), len(sent)
    drag(it, 10)
    while_dragging = len(sent) - heard
    page.wait_for_function(
        "code => document.querySelector('canvas.stage').dataset.code !== code", arg=before
    )
    page.wait_for_timeout(1000)
    grown = heap(page) - held
    print(
        f"messages in 10 s of dragging: {while_dragging}, after it:"
        f" {len(sent) - heard - while_dragging}; memory {held:.0f} MB, {grown:+.1f} MB"
    )
    assert while_dragging <= 1  # the one that says where it ended
    assert 0 < len(sent) - heard <= 3
    assert grown < 5
    code = codec.encode(codec.ExplorerState(4, 3), codec.model_bits(shipped))
    assert (
        torch.tensor(it.go(code)) - codec.draw_state(codec.ExplorerState(4, 3), shipped).flatten()
    ).abs().max() <= 2
    it.stage.focus()  # keys that JupyterLab has commands for
    page.keyboard.press("2")
    it.shows(codec.encode(codec.ExplorerState(2, 3), codec.model_bits(shipped)))
    page.keyboard.press("Control+z")
    it.shows(code)
    kernel_does_its_part(it, data_dir)
    page.screenshot(path=str(root / "explorer.png"))
    assert (root / "reports" / "scratch" / "explore" / "explorer.html").exists()
    page.close()


@needs_browser
def test_in_voila(project, browser, data_dir, shipped):
    port = free_port()
    words, began = (
        [command(), "app", "--no-browser", "--idle", "4", "--port", str(port)],
        time.monotonic(),
    )
    with (project / "app.log").open("w") as log:
        server = subprocess.Popen(words, cwd=project, stdout=log, stderr=log)
    try:
        wait_until(lambda: "is running at" in (project / "app.log").read_text(), 60)

        def kernels():
            found = []
            for process in psutil.Process(server.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):  # one that ends at this moment
                    found += [process] * ("ipykernel_launcher" in process.cmdline())
            return found

        places = {
            c.laddr.ip
            for c in psutil.Process(server.pid).net_connections("tcp")
            if c.status == "LISTEN"
        }
        assert places == {"127.0.0.1"}
        page, answered = browser.new_page(viewport={"width": 1100, "height": 1000}), []
        page.on("response", lambda response: answered.append(response.url))
        token = re.search(r"token=(\w+)", (project / "app.log").read_text())[1]
        page.goto(f"http://127.0.0.1:{port}/?token={token}", timeout=120_000)
        page.locator("canvas.stage[data-code]").wait_for(timeout=120_000)
        page.locator("label.slider input").first.fill("5")
        page.wait_for_function("() => document.querySelector('.fgx output').value !== '0 σ'")
        print(f"{time.monotonic() - began:.0f} s from the command to a slider that was moved")
        it, code = (
            Explorer(page),
            codec.encode(codec.ExplorerState(4, 3), codec.model_bits(shipped)),
        )
        assert (
            torch.tensor(it.go(code))
            - codec.draw_state(codec.ExplorerState(4, 3), shipped).flatten()
        ).abs().max() <= 2
        assert "from fashion_gan import" not in page.locator("body").inner_text()
        assert "The explorer" in page.locator("body").inner_text()
        kernel_does_its_part(it, data_dir)
        assert {url.split("/")[2] for url in answered if url.startswith("http")} == {
            f"127.0.0.1:{port}"
        }
        assert len(kernels()) == 1
        page.screenshot(path=str(project / "app.png"), full_page=True)
        page.close()
        wait_until(lambda: not kernels(), 30)
    finally:
        server.terminate()
        server.wait(timeout=60)
