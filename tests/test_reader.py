"""The one reader of pictures: packing, measuring and the explorer's photo see the same; what is
left out is said, and so is what looks wrong."""

import io
import tarfile
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, fashion_gan_here
from PIL import Image, ImageCms
from test_pack import contents, make_folder, make_npz, noise, quiet, unpacked

from fashion_gan import UserError
from fashion_gan.catalog.datasets import prepare_dataset
from fashion_gan.config.params import Params
from fashion_gan.data import limits, listing, pack, pictures, readers, sources
from fashion_gan.data.datasets import dataset_info
from fashion_gan.data.pack import pack_dataset
from fashion_gan.data.preparation import Preparation
from fashion_gan.explorer.backend import Backend
from fashion_gan.explorer.inversion import prepare_photo
from fashion_gan.files import read_json

pytestmark = pytest.mark.fast

RAMP = np.linspace(250, 5, 16 * 16).astype(np.uint8).reshape(16, 16)  # light above
COLOURS = np.stack([RAMP, RAMP.T, 255 - RAMP], axis=2)


def saved(image, kind="png", **how):
    stream = io.BytesIO()
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    picture.save(stream, kind, **how)
    return stream.getvalue()


def tag(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile():
    """Where red and green are each other's."""
    words = {b"rXYZ": b"gXYZ", b"gXYZ": b"rXYZ", b"rTRC": b"gTRC", b"gTRC": b"rTRC"}
    content = bytearray(SRGB.replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be")))
    for start in range(132, 132 + 12 * int.from_bytes(SRGB[128:132], "big"), 12):
        name = bytes(content[start : start + 4])
        content[start : start + 4] = words.get(name, name)
    return bytes(content)


def transparent(image, where):
    alpha = np.where(where, 0, 255).astype(np.uint8)
    picture = Image.fromarray(image).convert("RGB")
    picture.putalpha(Image.fromarray(alpha))
    return picture


# the name of a file, its content, what is seen
KINDS = {
    "turned to the right": ("a.png", saved(np.rot90(RAMP).copy(), exif=tag(6)), RAMP),
    "turned to the left": ("a.png", saved(np.rot90(RAMP, 3).copy(), exif=tag(8)), RAMP),
    "upside down": (
        "a.webp",
        saved(RAMP[::-1, ::-1].copy(), "webp", lossless=True, exif=tag(3)),
        RAMP,
    ),
    "mirrored": ("a.png", saved(RAMP[:, ::-1].copy(), exif=tag(2)), RAMP),
    "a broken tag": ("a.png", saved(RAMP, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x63 no more"), RAMP),
    "grey as RGB": ("a.png", saved(np.repeat(RAMP[..., None], 3, 2)), RAMP),
    "grey with alpha": ("a.png", saved(transparent(RAMP, RAMP < 0)), RAMP),
    "16 bits": ("a.png", saved(RAMP.astype(np.uint16) * 257), RAMP),
    "a palette": ("a.gif", saved(Image.fromarray(RAMP).quantize(256), "gif"), RAMP),
    "a film": (
        "a.gif",
        saved(RAMP, "gif", save_all=True, append_images=[Image.fromarray(255 - RAMP)]),
        RAMP,
    ),
    "a suffix in capitals": ("a.PNG", saved(RAMP), RAMP),
    "a suffix that lies": ("a.jpg", saved(RAMP), RAMP),
    "TIFF": ("a.tif", saved(RAMP, "tiff"), RAMP),
    "transparent": ("a.png", saved(transparent(RAMP, RAMP < 100)), np.where(RAMP < 100, 0, RAMP)),
    "a broken profile": ("a.png", saved(RAMP, icc_profile=b"no profile"), RAMP),
    "a profile of sRGB": ("a.png", saved(COLOURS, icc_profile=SRGB), COLOURS),
    "colours": ("a.bmp", saved(COLOURS, "bmp"), COLOURS),
}


@pytest.fixture(scope="module")
def packed_kinds(tmp_path_factory):
    """All of them among 256 coloured images: the data set, and what is in it."""
    folder = tmp_path_factory.mktemp("kinds")
    make_folder(folder / "x", noise(256, 16, 16, 3), ())
    for i, (name, content, _) in enumerate(KINDS.values()):
        (folder / "x" / f"{i}{name}").write_bytes(content)
    packed = pack_dataset(str(folder / "x"), folder, **quiet)
    images = np.concatenate([images for images, _ in unpacked(packed).values()])
    assert len(images) == 256 + len(KINDS)
    return dataset_info(packed), {image.tobytes() for image in images}


@pytest.mark.parametrize("kind", KINDS)
def test_all_readers_see_the_same(tmp_path, packed_kinds, monkeypatch, kind):
    name, content, seen = KINDS[kind]
    info, packed = packed_kinds
    expected = np.broadcast_to(seen.reshape(16, 16, -1), (16, 16, 3)).astype(np.uint8)
    assert np.moveaxis(expected, 2, 0).tobytes() in packed
    photo = prepare_photo(content, shape=info.shape, preparation=info.preparation)
    assert np.array_equal(photo.image, expected)
    monkeypatch.setattr(readers, "FEWEST", 1)
    (tmp_path / name).write_bytes(content)
    held = readers.from_images(tmp_path, info)
    assert np.array_equal(held.images[0], np.moveaxis(expected, 2, 0))


def test_colours_of_another_profile_are_brought_to_srgb():
    """As a browser shows them; grey stays grey."""
    red = np.full((16, 16, 3), (200, 0, 0), np.uint8)
    profile = swapped_profile()
    shown = pictures.read_pixels(io.BytesIO(saved(red, icc_profile=profile)), Preparation())
    assert np.abs(shown[:, 0, 0] - np.array([0, 200, 0])).max() <= 2
    for grey in (RAMP, np.repeat(RAMP[..., None], 3, 2)):
        content = saved(grey, icc_profile=profile)
        shown = pictures.read_pixels(io.BytesIO(content), Preparation())
        assert shown.shape == (1, 16, 16)
        assert np.abs(shown[0].astype(int) - RAMP).max() <= 2


def test_sizes_are_those_after_turning(tmp_path):
    folder = make_folder(tmp_path / "x", noise(256, 24, 16), ())
    for i in range(100):
        Image.fromarray(noise(1, 16, 24, seed=i)[0]).save(folder / f"{i:05}.png", exif=tag(6))
    packed = pack_dataset(str(folder), tmp_path, **quiet)
    assert read_json(packed / "dataset.json")["shape"] == [1, 24, 16]


def names(folder, *some):
    for name in some:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


LITTER = (
    ".DS_Store",
    "cat/._00000.png",
    "@eaDir/cat/thumb.jpg",
    "cat/Thumbs.db",
    "dog/.ipynb_checkpoints/00001-checkpoint.png",
    "cat/a.heic",
    "cat/b.HEIC",
    "README",
)


def test_what_is_left_out_is_said_and_kept(tmp_path):
    folder = names(make_folder(tmp_path / "pets", noise(300, 16, 16)), *LITTER)
    files = listing.list_images(folder)
    assert files.summary == (
        "300 images in 2 classes; left out: 5 hidden (.DS_Store), 1 without suffix (README),"
        " 2 .heic (cat/a.heic)"
    )
    record = read_json(pack_dataset(str(folder), tmp_path, **quiet) / "dataset.json")
    assert record["left_out"][".heic"] == [2, "cat/a.heic"]
    assert (sum(record["counts"].values()), record["classes"]) == (300, ["cat", "dog"])


def test_where_nothing_is_left_it_is_said_what_was_left_out(tmp_path):
    folder = names(tmp_path / "x", "a.heic", "b.heic", "c.pdf")
    for read in (
        lambda: pack_dataset(str(folder), tmp_path, **quiet),
        lambda: readers.from_images(folder, dataset_info(tmp_path)),
    ):
        with pytest.raises(UserError, match=r"no images; left out: 2 \.heic \(a\.heic\), 1 \.pdf"):
            read()


def classes_of(path):
    files = listing.list_images(path)
    return {name: int(n) for name, n in zip(files.classes, np.bincount(files.labels), strict=True)}


NESTED = {
    "folders in a class": (
        ["cat/1.png", "cat/2023/2.png", "cat/2023/may/3.png", "dog/a/1.png"],
        {"cat": 3, "dog": 1},
    ),
    "a folder in a folder": (["pets/cat/1.png", "pets/dog/1.png"], {"cat": 1, "dog": 1}),
    "three deep": (["a/b/c/cat/1.png", "a/b/c/dog/1.png"], {"cat": 1, "dog": 1}),
    "unpacked into its own name": (["x/1.png", "x/2.png"], {}),
    "one class": (["cat/1.png", "cat/2.png"], {"cat": 2}),
    "an empty class": (["cat/1.png", "dog/.keep"], {"cat": 1, "dog": 0}),
    "a train among cars": (["car/1.png", "train/1.png"], {"car": 1, "train": 1}),
    "images beside other folders": (["1.png", "notes/a.txt"], {}),
}


@pytest.mark.parametrize("case", NESTED)
def test_folders_in_folders(tmp_path, case):
    some, expected = NESTED[case]
    files = listing.list_images(names(tmp_path / "x", *some))
    counts = np.bincount(files.labels, minlength=len(files.classes)).tolist()
    assert dict(zip(files.classes, counts, strict=False)) == expected
    assert len(files.names) == sum(name.endswith(".png") for name in some)


def test_a_link_that_leads_back_ends(tmp_path):
    folder = names(tmp_path / "x", "cat/1.png", "dog/1.png")
    (folder / "cat" / "up").symlink_to(folder)
    assert classes_of(folder) == {"cat": 1, "dog": 1}
    assert listing.list_images(folder).left_out == {"without suffix": (1, "cat/up")}


SPLITS = {
    "all three": ("train", "val", "test"),
    "long names in capitals": ("Training", "Validation", "TESTING"),
    "without a test": ("train", "valid"),
}


@pytest.mark.parametrize("case", SPLITS)
def test_splits_by_folders(tmp_path, case):
    every = noise(420, 16, 16)
    parts = dict(zip(SPLITS[case], np.split(every, [300, 360]), strict=False))
    for name, images in parts.items():
        make_folder(tmp_path / "x" / name, images)
    packed = unpacked(pack_dataset(str(tmp_path / "x"), tmp_path, **quiet))
    found = [{image.tobytes() for image in images} for images, _ in packed.values()]
    sets = [{image.tobytes() for image in images} for images in parts.values()]
    by_split = dict(zip(packed, found, strict=True))
    assert by_split["validation"] == sets[1]
    assert by_split["train"] | by_split["test"] == set.union(*sets) - sets[1]
    assert (by_split["train"] == sets[0]) == (len(parts) == 3)
    assert np.bincount(packed["train"][1][:60], minlength=2).min() > 10  # both classes are first


@pytest.mark.parametrize(
    ("some", "words"),
    [
        (["train/cat/1.png", "train/dog/1.png", "test/1.png"], "and test/1.png without"),
        (["train/1.png", "val/cat/1.png"], "and train/1.png without"),
        (["train/1.png", "train/cat/1.png", "val/1.png"], "not clear whether there are classes"),
        (["train/1.png", "test/1.png", "extra/1.png"], "extra, so it is not clear whether they"),
    ],
)
def test_splits_that_do_not_fit_together(tmp_path, some, words):
    with pytest.raises(UserError, match=words):
        listing.list_images(names(tmp_path / "x", *some))


def test_a_class_that_is_not_in_training_is_refused(tmp_path):
    make_folder(tmp_path / "x" / "train", noise(300, 16, 16))
    make_folder(tmp_path / "x" / "val", noise(60, 16, 16), ("cat", "emu"))
    with pytest.raises(UserError, match="train: no image of class emu"):
        pack_dataset(str(tmp_path / "x"), tmp_path, **quiet)


def archived(folder, path):
    """The folder as it is, with litter of macOS."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for each in [folder, *folder.rglob("*")]:
                file.write(each, each.relative_to(folder.parent))
            file.writestr("__MACOSX/pets/._00000.png", b"")
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as file:
        file.add(folder, folder.name if path.suffix == ".gz" else ".")
    return path


@pytest.mark.parametrize("name", ["pets.zip", "pets.tar", "pets.tar.gz", "no suffix"])
def test_an_archive_is_read_as_it_is(tmp_path, monkeypatch, name):
    monkeypatch.setattr(sources, "BATCH", 100)
    folder = make_folder(tmp_path / "pets", noise(300, 16, 16), ("cat", "dog", "emu"))
    path = archived(folder, tmp_path / ("pets.zip" if name == "no suffix" else name))
    path = path.rename(tmp_path / name)
    whole = unpacked(pack_dataset(str(folder), tmp_path / "a", **quiet))
    packed = pack_dataset(str(path), tmp_path / "b", **quiet)
    assert read_json(packed / "dataset.json")["source"] == str(path)
    for split, (images, labels) in unpacked(packed).items():
        expected = {(i.tobytes(), int(c)) for i, c in zip(*whole[split], strict=True)}
        assert {(i.tobytes(), int(c)) for i, c in zip(images, labels, strict=True)} == expected
    monkeypatch.setattr(readers, "FEWEST", 1)
    held = readers.from_images(path, dataset_info(packed))
    assert torch.bincount(held.labels).tolist() == [100, 100, 100]
    assert {each.name for each in tmp_path.iterdir()} == {"pets", "a", "b", name}


def with_member(tmp_path, name, content=b"", others=1):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for i in range(others):
            file.writestr(f"{i}.png", saved(noise(1, 16, 16, seed=i)[0]))
        file.writestr(name, content)
    return path


def encrypted(tmp_path):
    path = with_member(tmp_path, "secret.png")
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    return path


def bomb(tmp_path):
    path = tmp_path / "x.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        member = tarfile.TarInfo("big.bin")
        member.size = 3_000_000
        file.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def climbing_tar(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as file:
        file.addfile(tarfile.TarInfo("/etc/1.png"))
    return tmp_path / "x.tar"


def damaged_zip(tmp_path):
    path = with_member(tmp_path, "a.png")
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02")] ^= 1
    path.write_bytes(content)
    return path


HOSTILE = {
    "climbs out": (lambda tmp_path: with_member(tmp_path, "../a.png"), "climbs out"),
    "climbs out on Windows": (lambda tmp_path: with_member(tmp_path, "..\\a.png"), "climbs out"),
    "a drive": (lambda tmp_path: with_member(tmp_path, "C:/a.png"), "climbs out"),
    "an absolute name": (climbing_tar, "climbs out"),
    "encrypted": (encrypted, "secret.png is encrypted"),
    "unpacks to much": (
        lambda tmp_path: with_member(tmp_path, "a.png", bytes(41_000_000), 256),
        "a.png cannot be read (it is larger than 40,000,000 bytes)",
    ),
    "unpacks to very much": (bomb, "big.bin is behind more than 1,000,000 bytes"),
    "nothing but an archive": (
        lambda tmp_path: archived(names(tmp_path / "y", "inner.zip"), tmp_path / "x.zip"),
        "holds no images; left out: 1 hidden (__MACOSX/pets/._00000.png), 1 .zip (y/inner.zip)",
    ),
    "damaged": (damaged_zip, "damaged"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_archives_that_are_refused(tmp_path, monkeypatch, case):
    monkeypatch.setattr(limits, "MOST_ARRAY_BYTES", 1_000_000)
    make, words = HOSTILE[case]
    path = make(tmp_path)
    done = fashion_gan_here(
        "data", "--folder", str(tmp_path / "d"), "--dataset", str(path), cwd=ROOT
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr
    assert str(path) in done.stderr


def photo(i, width, height):
    """A large one, of four fields of colour."""
    image = np.zeros((2, 2, 3), np.uint8)
    image[:] = noise(1, 2, 2, 3, seed=i)[0]
    return Image.fromarray(image).resize((width, height), 0)


def test_photos_of_any_size_are_made_of_one(tmp_path):
    (tmp_path / "x").mkdir()
    for i in range(256):
        photo(i, 90 + i % 7, 60 + i % 5).save(tmp_path / "x" / f"{i:03}.jpg", quality=95)
    with pytest.raises(UserError, match=r"is 90×60 pixels.*resized with -p image_size=60 "):
        pack_dataset(str(tmp_path / "x"), tmp_path, **quiet)
    packed = {
        (size, fit): pack_dataset(
            str(tmp_path / "x"), tmp_path, preparation=Preparation(size, fit), **quiet
        )
        for size, fit in (((16, 16), "crop"), ((16, 16), "pad"), ((32, 16), "squeeze"))
    }
    assert len(set(packed.values())) == 3
    for (size, fit), folder in packed.items():
        record = read_json(folder / "dataset.json")
        assert record["shape"] == [3, *size]
        assert record["preparation"] == {"size": list(size), "fit": fit, "ground": "black"}
        images = unpacked(folder)["train"][0].astype(int)
        has_ground = (images[:, :, 0].max(axis=(1, 2)) < 12).mean() > 0.9
        assert has_ground == (fit == "pad")
        corner, inside = images[:, :, size[0] // 2 - 3, 1], images[:, :, size[0] // 2 - 3, 6]
        assert np.abs(corner - inside).mean() < 8  # one field: nothing is stretched over another


@pytest.mark.parametrize(
    ("shape", "words"),
    [((12, 16), "image_size=16 "), ((100, 200), "image_size=64 "), ((30, 50), "image_size=28 ")],
)
def test_the_line_says_which_call_resizes(tmp_path, shape, words):
    folder = make_folder(tmp_path / "x", noise(256, *shape), ())
    for source in (folder, make_npz(tmp_path / "x.npz", images=noise(256, *shape))):
        with pytest.raises(UserError, match=words):
            pack_dataset(str(source), tmp_path, **quiet)
        size = Preparation((16, 20), "squeeze")
        packed = pack_dataset(str(source), tmp_path, preparation=size, **quiet)
        assert read_json(packed / "dataset.json")["shape"] == [1, 16, 20]


def test_shrinking_is_antialiased():
    stripes = np.tile(np.array([0, 255], np.uint8), (64, 32))
    for fit in ("crop", "pad", "squeeze"):
        small = pictures.read_pixels(io.BytesIO(saved(stripes)), Preparation((16, 16), fit))
        assert np.abs(small[0, 1:-1, 1:-1].astype(int) - 128).max() < 12


def test_a_large_photo_is_decoded_at_a_fraction(monkeypatch):
    """And a turned one by its sides as they are seen."""
    sizes = []
    exif_transpose = pictures.ImageOps.exif_transpose
    monkeypatch.setattr(
        pictures.ImageOps,
        "exif_transpose",
        lambda image, **how: sizes.append(image.size) or exif_transpose(image, **how),
    )
    content = saved(photo(0, 1600, 1200), "jpeg", exif=tag(6))
    pixels = pictures.read_pixels(io.BytesIO(content), Preparation((64, 48), "squeeze"))
    assert (pixels.shape, sizes) == ((3, 64, 48), [(200, 150)])


def test_interrupted_packing_of_resized_transparent_images_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "BATCH", 100)
    folder = icons(tmp_path / "x", 300, (0, 0, 0))
    how = {"preparation": Preparation((16, 16)), **quiet}
    whole, append = pack_dataset(str(folder), tmp_path / "whole", **how), pack._append

    def append_once(images, source, state, *others):
        if state.done == 100:
            raise KeyboardInterrupt
        append(images, source, state, *others)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pack, "_append", append_once)
        pack_dataset(str(folder), tmp_path / "cut", **how)
    said = []
    cut = pack_dataset(str(folder), tmp_path / "cut", said.append, preparation=how["preparation"])
    assert "going on at 100" in said[0]
    assert contents(cut) == contents(whole)


def icon(i, ink):
    alpha = np.zeros((24, 24), np.uint8)
    random = np.random.default_rng(i)
    top, left = random.integers(2, 12, 2)
    alpha[top : top + random.integers(4, 10), left : left + random.integers(4, 10)] = 255
    image = np.zeros((24, 24, 4), np.uint8)
    image[..., :3], image[..., 3] = ink, alpha
    return image


def icons(folder, count, *inks):
    classes = [f"ink{k}" for k in range(len(inks))] if len(inks) > 1 else ()
    images = [icon(i, inks[i % len(inks)]) for i in range(count)]
    return make_folder(folder, images, classes)


GROUNDS = {
    "black ink": ([(0, 0, 0)], "auto", "white"),
    "white ink": ([(255, 255, 255)], "auto", "black"),
    "black and orange": ([(0, 0, 0), (250, 140, 20)], "auto", "white"),
    "a colour": ([(0, 0, 0)], "#ff8800", "#ff8800"),
}


@pytest.mark.parametrize("case", GROUNDS)
def test_drawings_can_be_seen_on_their_ground(tmp_path, case):
    inks, asked, expected = GROUNDS[case]
    folder = icons(tmp_path / "x", 260, *inks)
    packed = pack_dataset(str(folder), tmp_path, preparation=Preparation(ground=asked), **quiet)
    record, info = read_json(packed / "dataset.json"), dataset_info(packed)
    assert record["preparation"]["ground"] == info.preparation.ground == expected
    images = np.concatenate([images for images, _ in unpacked(packed).values()])
    ground = np.array(Image.new("RGB", (1, 1), expected).getpixel((0, 0)))[: len(images[0])]
    assert (images[:, :, 0, 0] == ground).all()
    assert (images.max(axis=(1, 2, 3)) - images.min(axis=(1, 2, 3)).astype(int) > 40).all()
    photo = prepare_photo(saved(icon(8, inks[0])), None, info.shape, info.preparation)
    seen = np.moveaxis(photo.image.reshape(24, 24, -1), 2, 0)
    assert any(np.array_equal(seen, image) for image in images)
    assert photo.notes == f"What is transparent is taken for {expected} ground."


def test_a_photo_is_made_as_the_set_was():
    content = saved(photo(3, 300, 200))
    shown = prepare_photo(content, None, (3, 16, 16), Preparation((16, 16), "pad", "white"))
    assert [words for words, _ in shown.steps] == ["as it is", "16×16 pixels"]
    assert (shown.image[0] == 255).all()
    turned = prepare_photo(content, True, (3, 16, 16), Preparation((16, 16), "pad", "white"))
    assert np.array_equal(turned.image, 255 - shown.image)
    grey = prepare_photo(saved(RAMP), None, (1, 16, 16), Preparation(None, "crop", "black"))
    assert np.array_equal(grey.image, RAMP)


def test_the_kernel_makes_a_photo_as_the_set_was(tmp_path):
    images = np.zeros((256, 16, 16, 4), np.uint8)
    images[:, 4:, :, 3] = noise(256, 12, 16)
    how = Preparation(ground="#0080ff")
    folder = make_folder(tmp_path / "x", images, ())
    packed = pack_dataset(str(folder), tmp_path, preparation=how, **quiet)
    generator = SimpleNamespace(shape=(3, 16, 16))
    kernel = Backend(SimpleNamespace(generator=generator), None, None, packed)
    answer = kernel.prepare(saved(images[0]), None)
    assert answer["steps"][-1]["levels"][:3] == [0, 128, 255]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["--dataset", "mnist", "-p", "epochs=3"],
            "-p epochs is no parameter of packing; allowed: fit",
        ),
        (
            ["--dataset", "x", "-p", "image_size=70"],
            "image_size is '70'; allowed: 0, a number from 16",
        ),
        (["--dataset", "mnist", "-p", "ground=white"], "mnist is taken as it is"),
        (["-p", "fit=pad"], "-p belongs to --dataset"),
    ],
)
def test_the_data_command_takes_what_belongs_to_packing(tmp_path, words, expected):
    done = fashion_gan_here("data", "--folder", str(tmp_path), *words, cwd=ROOT)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert expected in done.stderr


def test_images_to_be_measured_are_made_as_the_set_was(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "FEWEST", 1)
    folder = tmp_path / "x"
    folder.mkdir()
    for i in range(256):
        photo(i, 40 + i % 3, 30).save(folder / f"{i:03}.png")
    how = Preparation((16, 20), "pad", "white")
    packed = pack_dataset(str(folder), tmp_path, preparation=how, **quiet)
    known = {image.tobytes() for images, _ in unpacked(packed).values() for image in images}
    held = readers.from_images(folder, dataset_info(packed))
    assert {image.numpy().tobytes() for image in held.images} == known
    arrays = np.asarray(Image.open(folder / "000.png"))[None]
    held = readers.from_npz(make_npz(tmp_path / "x.npz", images=arrays), dataset_info(packed))
    assert held.images.shape == (1, 3, 16, 20)


def test_data_dir_of_another_size_is_refused(bare_project, tmp_path):
    path = make_npz(tmp_path / "x.npz", images=noise(256, 32, 32))
    packed = pack_dataset(str(path), tmp_path / "data", preparation=Preparation((16, 16)), **quiet)
    values = {"dataset": str(path), "data_dir": str(packed)}
    with pytest.raises(UserError, match="another image_size, fit or ground; leave data_dir out"):
        prepare_dataset(Params.checked(values | {"image_size": "20"}))
    for dataset in ("fashion-mnist", "mnist"):
        with pytest.raises(UserError, match=f"{dataset} is taken as it is"):
            prepare_dataset(Params.checked({"dataset": dataset, "image_size": "20"}))


def look(tmp_path, images, **more):
    path = make_npz(tmp_path / "x.npz", images=images, **more)
    return read_json(pack_dataset(str(path), tmp_path, **quiet) / "dataset.json")["warnings"]


def squares(count, ground=0, ink=250):
    images = np.full((count, 16, 16), ground, np.uint8)
    for i, image in enumerate(images):
        image[4:12, 4:12] = ink - i % 2
        image[4 + i % 8, 4 + i // 8 % 8] = i // 64
    return images


def test_what_looks_wrong_is_said(tmp_path):
    assert look(tmp_path, squares(300)) == []
    assert look(tmp_path, noise(300, 16, 16)) == []
    (words,) = look(tmp_path, noise(300, 16, 16) // 8)
    assert words == "levels go from 0 to 31 only, of 0 to 255"
    images = squares(300)
    images[:3], images[3] = 0, 99
    (words,) = look(tmp_path, images)
    assert words == "4 images have one level only (3 are wholly black)"
    images[:4] = 255 - squares(310)[-4:]
    (words,) = look(tmp_path, images)
    assert words == "4 images stand on light ground, 296 on dark: they may be inverted"
    (words,) = look(tmp_path, squares(300), labels=np.arange(300) // 290)
    assert words == "0: 290 of 300 images are of this class"
    images = squares(300)
    images[:40] = images[:1]
    (words,) = look(tmp_path, images, labels=np.arange(300) // 150, classes=["cat", "dog"])
    assert words == "cat: 39 of 150 images are copies of others"


def test_copies_across_given_splits_are_said(tmp_path):
    parts = {"train": squares(300), "val": squares(20), "test": squares(310)[300:]}
    for name, images in parts.items():
        make_folder(tmp_path / "x" / name, images, ())
    packed = pack_dataset(str(tmp_path / "x"), tmp_path, **quiet)
    assert read_json(packed / "dataset.json")["warnings"] == [
        "images: 20 of 330 images are copies of others",
        "20 images of validation and test lie among the training images too",
    ]


ONES = (noise(300, 16, 16) > 127).astype(np.uint8)


@pytest.mark.parametrize(
    "make",
    [
        lambda tmp_path: make_npz(tmp_path / "x.npz", images=ONES),
        lambda tmp_path: make_folder(tmp_path / "x", ONES),
        lambda tmp_path: archived(make_folder(tmp_path / "y", ONES), tmp_path / "x.zip"),
    ],
    ids=["npz", "folder", "zip"],
)
def test_levels_of_0_and_1_are_refused(tmp_path, monkeypatch, make):
    source = make(tmp_path)
    with pytest.raises(UserError, match="no grey level is over 1; allowed: uint8 from 0"):
        pack_dataset(str(source), tmp_path / "data", **quiet)
    monkeypatch.setattr(readers, "FEWEST", 1)
    packed = pack_dataset(
        str(make_npz(tmp_path / "good.npz", images=255 * ONES)), tmp_path / "data", **quiet
    )
    read = readers.from_npz if source.suffix == ".npz" else readers.from_images
    (tmp_path / "labels.txt").write_text("0\n" * 300)
    with pytest.raises(UserError, match="no grey level is over 1; allowed: uint8 from 0"):
        read(source, dataset_info(packed), str(tmp_path / "labels.txt"))


def test_a_choice_holds_every_class_in_proportion_whatever_the_order():
    labels = torch.tensor([0] * 600 + [1] * 390 + [2] * 9 + [3])
    chosen = readers.choose(1000, 100, labels)
    counts = torch.bincount(labels[chosen]).tolist()
    assert (len(set(chosen.tolist())), counts[2:]) == (100, [1, 1])
    assert counts[0] == pytest.approx(60, abs=1)
    assert np.array_equal(chosen, readers.choose(1000, 100, labels))
    assert np.array_equal(readers.choose(50, 100), np.arange(50))
    files = [f"{i:04}.png" for i in range(1000)]
    once = {files[i] for i in readers.choose(1000, 100, labels, files)}
    turned = {files[::-1][i] for i in readers.choose(1000, 100, labels.flip(0), files[::-1])}
    assert once == turned
    assert np.ptp(np.histogram(readers.choose(100_000, 1000), 10)[0]) < 60


@pytest.mark.parametrize(
    "form", ["folder", "npz", "npz by columns", "npz compressed", "labels file"]
)
def test_of_more_images_than_are_measured_some_of_each_class_are(tmp_path, monkeypatch, form):
    monkeypatch.setattr(readers, "FEWEST", 1)
    monkeypatch.setattr(readers, "CHUNK", 100)
    images, labels = noise(400, 16, 16), np.arange(400) // 200
    packed = pack_dataset(
        str(make_npz(tmp_path / "set.npz", images=images, labels=labels)), tmp_path, **quiet
    )
    where = {image.tobytes(): label for image, label in zip(images, labels.tolist(), strict=True)}
    more = {"labels": labels}
    labels_file = ""
    if form == "labels file":
        (tmp_path / "l.txt").write_text("\n".join(map(str, labels.tolist())))
        more, labels_file = {}, str(tmp_path / "l.txt")
    if form == "folder":
        order = np.argsort(np.arange(400) % 200, kind="stable")
        path, read = make_folder(tmp_path / "x", images[order], ("0", "1")), readers.from_images
    else:
        save = np.savez_compressed if "compressed" in form else np.savez
        stored = np.asfortranarray(images) if "columns" in form else images
        save(tmp_path / "x.npz", images=stored, **more)
        path, read = tmp_path / "x.npz", readers.from_npz
    held = read(path, dataset_info(packed), labels_file, 60)
    assert (held.count, len(held.images)) == (400, 60)
    assert torch.bincount(held.labels).tolist() == [30, 30]
    assert [where[image.numpy().tobytes()] for image in held.images] == held.labels.tolist()
