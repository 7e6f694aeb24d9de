"""An own photo: made as the data is, found in the latent space; files that are no photo get one
sentence."""

import io
import struct
import zlib

import pytest
import torch
from conftest import ROOT, packed_folder
from PIL import Image, ImageDraw

from fashion_gan import UserError
from fashion_gan.catalog.generators import SHIPPED
from fashion_gan.data.datasets import Split, load_split
from fashion_gan.explorer import codec, inversion
from fashion_gan.explorer.backend import Backend
from fashion_gan.models.feature_network import extract_features, load_feature_network
from fashion_gan.models.networks import Generator
from fashion_gan.models.serialization import Model, load_generator


def shirt(mode: str = "RGB", ground="white", colour="navy", size=(300, 400)) -> Image.Image:
    image = Image.new(mode, size, ground)
    ImageDraw.Draw(image).polygon(
        [
            (60, 120),
            (240, 120),
            (260, 200),
            (210, 200),
            (210, 320),
            (90, 320),
            (90, 200),
            (40, 200),
        ],
        fill=colour,
    )
    return image


def packed(image: Image.Image, kind: str = "png", **more) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=kind, **more)
    return stream.getvalue()


def claiming(width: int, height: int) -> bytes:
    """A PNG whose header says that it is this large."""
    content = bytearray(packed(Image.new("L", (8, 8))))
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


@pytest.mark.fast
def test_a_photo_is_cut_out_light_on_black():
    photo = inversion.prepare_photo(packed(shirt()))
    assert photo.negative
    assert photo.notes == ""
    assert [words for words, _ in photo.steps] == [
        "as it is",
        "light on black",
        "cut out",
        "28×28 pixels",
    ]
    assert photo.image.shape == (28, 28)
    assert photo.image[0, 0] == 0
    across, down = photo.image.max(axis=0) > 100, photo.image.max(axis=1) > 100
    assert across.all()  # the longer side fills it
    assert 22 <= down.sum() <= 27  # 220 to 200
    assert not down[0]
    assert not down[-1]


@pytest.mark.fast
@pytest.mark.parametrize(
    ("content", "negative", "said"),
    [
        (packed(shirt(), "jpeg"), True, ""),
        (packed(shirt(ground="black", colour="white")), False, ""),
        (
            packed(shirt("RGBA", (0, 0, 0, 0), (20, 20, 90, 255))),
            True,
            "What is transparent is taken for white ground.",
        ),
        (
            packed(shirt("CMYK", (0, 0, 0, 0), (90, 80, 10, 100)), "jpeg"),
            True,
            "It is in printing colours (CMYK): its greys are about right.",
        ),
        (
            packed(shirt(), "gif", save_all=True, append_images=[shirt(colour="red")]),
            True,
            "It moves: its first picture is taken.",
        ),
        (
            packed(shirt(), "webp", save_all=True, append_images=[shirt(colour="red")]),
            True,
            "It moves: its first picture is taken.",
        ),
    ],
    ids=["jpeg", "light on black", "transparent", "CMYK", "animated GIF", "animated WebP"],
)
def test_what_a_file_is_like_is_said_and_the_garment_is_the_same(content, negative, said):
    photo, plain = inversion.prepare_photo(content), inversion.prepare_photo(packed(shirt()))
    assert (photo.negative, photo.notes) == (negative, said)
    assert ((photo.image > 100) == (plain.image > 100)).mean() > 0.95


TOO_LARGE = (
    "this picture is too large; at most 60 million pixels are read, of a WebP half as many; make it"
    " smaller"
)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "this file is empty; choose a picture"),
        (
            b"a letter to a friend",
            (
                "this file is no picture that can be read, or it is damaged; PNG, JPEG, WEBP, GIF,"
                " BMP, TIFF can be"
            ),
        ),
        (
            packed(shirt())[:200],
            (
                "this file is no picture that can be read, or it is damaged; PNG, JPEG, WEBP, GIF,"
                " BMP, TIFF can be"
            ),
        ),
        (bytes(50_000_000), "this file has 50 MB; at most 8 MB are read"),
        (claiming(30_000, 30_000), TOO_LARGE),
        (claiming(10_000, 10_000), TOO_LARGE),
        (
            packed(Image.new("L", (50, 50), 200)),
            "nothing in this picture is darker than its ground; try the other way round",
        ),
    ],
    ids=["empty", "text", "cut off", "50 MB", "900 million pixels", "100 million", "one grey"],
)
def test_a_bad_file_gets_one_sentence(content, words):
    with pytest.raises(UserError) as error:
        inversion.prepare_photo(content)
    assert str(error.value) == words


@pytest.mark.fast
def test_the_other_way_round():
    with pytest.raises(UserError, match="nothing in this picture is lighter"):
        inversion.prepare_photo(packed(shirt()), negative=False)


def test_a_garment_of_the_generator_is_found_again_and_real_ones_are_come_near_to(splits):
    train, fresh = splits
    found, dev = load_generator(ROOT / SHIPPED), load_feature_network("dev")
    state = codec.ExplorerState(8, 5)
    image = codec.draw_state(state, found)
    c, z, distance = inversion.invert(found.generator, image, dev, starts=3, steps=60)
    assert c == 8
    assert len(z) == found.generator.latent_dim
    again = codec.draw_state(codec.ExplorerState(c, 0, latent=z), found)
    apart = extract_features(load_feature_network("dev"), torch.stack([image, again]))[0]
    # what it tells is what a code draws
    assert float((apart[0] - apart[1]).norm()) == pytest.approx(distance, abs=0.05)
    known, _ = extract_features(load_feature_network("dev"), train.images)
    bags = torch.pdist(known[train.labels == 8]).median()
    assert distance < 0.3 * bags
    # the same again
    assert (z, c) == inversion.invert(found.generator, image, dev, starts=3, steps=60)[1::-1]
    boot = fresh.images[(fresh.labels == 9).nonzero()[0, 0]]
    c, _, distance = inversion.invert(found.generator, boot, dev, starts=3, steps=60)
    assert c == 9
    assert distance < torch.pdist(known[train.labels == 9]).median()


@pytest.mark.fast
def test_an_unconditional_generator_is_searched_too(splits):
    torch.manual_seed(0)
    generator = Generator(8, 8, False).eval().requires_grad_(False)
    c, z, _ = inversion.invert(
        generator, splits[0].images[0], load_feature_network("dev"), starts=2, steps=5
    )
    assert (c, len(z)) == (0, 8)


@pytest.mark.fast
def test_the_kernels_answers(splits, tmp_path):
    train, fresh = splits
    found = load_generator(ROOT / SHIPPED)
    kernel = Backend(found, train, Split(fresh.images[:100], fresh.labels[:100]), tmp_path)
    levels = train.images[17].flatten().tolist()
    near = kernel({"what": "near", "levels": levels}, [])
    assert (near["near"][0]["number"], near["count"]) == (17, len(train))
    assert near["near"][0]["distance"] == pytest.approx(0, abs=1e-3)
    assert near["near"][0]["levels"] == levels
    assert [n["distance"] for n in near["near"]] == sorted(n["distance"] for n in near["near"])
    assert near["real"] > 0
    read = kernel({"what": "photo", "negative": None}, [memoryview(packed(shirt()))])
    assert [len(step["levels"]) for step in read["steps"]] == [112**2] * 3 + [784]
    assert kernel({"what": "photo", "negative": None}, [b""]) == {
        "what": "photo",
        "error": "This file is empty; choose a picture.",
    }


@pytest.mark.fast
@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 48, 32), (1, 16, 64)])
def test_a_photo_fits_into_grey_pictures_of_any_sides(shape):
    photo = inversion.prepare_photo(packed(shirt()), shape=shape)
    assert photo.steps[-1][0] == f"{shape[1]}×{shape[2]} pixels"
    assert photo.image.shape == shape[1:]
    across, down = photo.image.max(axis=0) > 100, photo.image.max(axis=1) > 100
    assert across.all() or down.all()
    assert {large.shape for _, large in photo.steps[:-1]} == {
        tuple(112 * side // max(shape) for side in shape[1:])
    }


@pytest.mark.fast
def test_a_photo_for_pictures_in_colour_keeps_its_colours_and_its_ground():
    photo = inversion.prepare_photo(packed(shirt(ground="beige")), shape=(3, 48, 64))
    assert [words for words, _ in photo.steps] == [
        "as it is",
        "fitted in, black around",
        "48×64 pixels",
    ]
    assert photo.image.shape == (48, 64, 3)
    assert photo.image[24, 32].tolist() == [0, 0, 128]  # navy
    assert photo.image[2, 32].tolist() == [245, 245, 220]  # beige
    assert not photo.image[:, :13].any()  # a photo of 36 pixels' width in the middle of 64
    assert not photo.negative
    said = inversion.prepare_photo(
        packed(shirt("CMYK", (0, 0, 0, 0), (90, 80, 10, 100)), "jpeg"), shape=(3, 48, 64)
    ).notes
    assert said == "It is in printing colours (CMYK): its colours are about right."


@pytest.mark.fast
@pytest.mark.parametrize(
    ("classes", "conditional"), [(("a", "b", "c"), True), ((), False), ((), True)]
)
def test_the_kernel_answers_for_other_pictures(classes, conditional, tmp_path):
    folder = packed_folder(tmp_path / "data", (3, 48, 32), classes)
    torch.manual_seed(0)
    generator = (
        Generator(8, 8, conditional, False, (3, 48, 32), max(1, len(classes)))
        .eval()
        .requires_grad_(False)
    )
    train, fresh = load_split(folder, "train"), load_split(folder, "validation")
    kernel = Backend(
        Model(generator, "", tmp_path, {}, "beef", train.classes), train, fresh, folder
    )
    levels = train.images[17].permute(1, 2, 0).flatten().tolist()
    near = kernel({"what": "near", "levels": levels}, [])
    assert (near["near"][0]["number"], near["count"], near["near"][0]["levels"]) == (
        17,
        300,
        levels,
    )
    assert len(list((folder / "features").iterdir())) == 1
    read = kernel({"what": "photo", "negative": None}, [packed(shirt())])["steps"]
    assert [len(step["levels"]) for step in read] == [
        step["width"] * step["height"] * 3 for step in read
    ]
    assert (read[-1]["width"], read[-1]["height"]) == (32, 48)
    found = kernel({"what": "find", "levels": read[-1]["levels"]}, [])
    assert (len(found["z"]), found["c"] < len(train.classes)) == (8, True)
