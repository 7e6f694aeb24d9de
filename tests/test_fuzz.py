"""What others made may hold anything: it is read, or refused in one line, never with a traceback,
never with more than 500 MB or 10 s. Each property is tried on 50 inputs, always the same; on 2,000
others by hand:

    FUZZ_EXAMPLES=2000 .venv/bin/python -m pytest -n0 tests/test_fuzz.py --timeout=7200
"""

import contextlib
import io
import json
import math
import os
import resource
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, configuration, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load, save

from fashion_gan import UserError
from fashion_gan.config.params import Params
from fashion_gan.config.profiles import read_profile
from fashion_gan.data import readers, sources
from fashion_gan.data.datasets import DatasetInfo
from fashion_gan.data.preparation import Preparation
from fashion_gan.explorer import codec, inversion
from fashion_gan.models.serialization import load_generator, make_generator, save_network
from fashion_gan.runs import points
from fashion_gan.runs.record import RunInfo
from fashion_gan.tracking import fetch
from fashion_gan.tracking.storage import OWNER, RunStorage
from fashion_gan.training.checkpoints import load_checkpoint
from fashion_gan.training.state import TrainingState

configuration.set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "hypothesis")
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "50"))
MOST_KILOBYTES = 500_000
SMALL = {"channels": 4, "latent_dim": 2, "subset": 256, "batch_size": 16}
PETS = DatasetInfo("pets", (1, 16, 16), ("cat", "dog"), is_packed=True)


def tried(**inputs):
    def decorate(test):
        steady = settings(
            max_examples=EXAMPLES,
            derandomize=EXAMPLES == 50,
            database=None,
            deadline=10_000,
            suppress_health_check=list(HealthCheck),
        )
        return steady(given(**inputs)(test))

    return decorate


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@contextlib.contextmanager
def read_or_refused():
    """Nothing but a UserError of one line comes out, and memory does not grow."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        yield
    except UserError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 2000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KILOBYTES


NUMBERS = st.one_of(
    st.integers(-2, 300),
    st.sampled_from([2**31, 2**63, 2**64, 10**12, 10**400, -(10**12)]),
    st.floats(),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=8))
JSON = st.recursive(
    SCALARS,
    lambda some: st.one_of(
        st.lists(some, max_size=4), st.dictionaries(st.text(max_size=6), some, max_size=4)
    ),
    max_leaves=8,
)
DEEP = st.sampled_from(["[" * 100_000, '{"a":' * 100_000, "9" * 5000])


def changed(whole):
    """Strategy: a dictionary of which some values are others, or are not there."""
    names = st.dictionaries(st.sampled_from(sorted(whole)), JSON, max_size=3)
    missing = st.sets(st.sampled_from(sorted(whole)), max_size=1)
    return st.builds(
        lambda new, gone: {k: v for k, v in (whole | new).items() if k not in gone}, names, missing
    )


@st.composite
def damaged(draw, whole):
    """Bytes of which some are others, or that end early."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(0, 6))):
        content[draw(st.integers(0, min(len(content), 300) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.sampled_from([len(content), len(content) // 2, 40]))])


def small_model(path, **more):
    params = Params(**SMALL).model_dump() | more
    save_network(path, make_generator(params), params)
    return path.read_bytes(), params


@pytest.fixture(scope="module")
def model(folder):
    return small_model(folder / "whole.safetensors")


PARAMS = Params(**SMALL).model_dump() | {"shape": [1, 28, 28], "classes": ["a", "b"]}


@tried(metadata=st.one_of(changed(PARAMS).map(json.dumps), JSON.map(json.dumps), DEEP))
def test_a_models_metadata(folder, model, metadata):
    path = folder / "x.safetensors"
    path.write_bytes(save(load(model[0]), {"params": metadata}))
    with read_or_refused():
        load_generator(path)


@tried(data=st.data())
def test_a_models_bytes(folder, model, data):
    path = folder / "y.safetensors"
    path.write_bytes(data.draw(damaged(model[0])))
    with read_or_refused():
        load_generator(path)


@pytest.fixture(scope="module")
def state():
    return TrainingState(Params(**SMALL, device="cpu"))


@pytest.fixture(scope="module")
def stored(state):
    """A checkpoint after a step, so that the optimizers have moments."""
    for network, optimizer in (
        (state.generator, state.optimizer_g),
        (state.discriminator, state.optimizer_d),
    ):
        sum(parameter.sum() for parameter in network.parameters()).backward()
        optimizer.step()
    return {"schema": 2, "params": Params(**SMALL).model_dump(), "images": 64}


TENSORS = st.sampled_from([torch.zeros(3), torch.full((2, 2), torch.nan), torch.zeros(())])


@tried(
    top=st.dictionaries(
        st.sampled_from(["schema", "params", "images", "state"]), JSON | TENSORS, max_size=1
    ),
    parts=st.dictionaries(
        st.sampled_from([*TrainingState.PARTS.values(), "losses", "position"]),
        JSON | TENSORS,
        max_size=1,
    ),
    position=changed({"epoch": 1, "batch": 2, "images": 3, "seconds": 4.0, "best": 5.0}),
    moments=st.none() | TENSORS,
)
def test_a_checkpoint(folder, state, stored, top, parts, position, moments):
    content = state.state_dict()
    if moments is not None:
        optimizer = content["optimizer_g"]
        content["optimizer_g"] = optimizer | {"state": {0: {"step": 1.0, "exp_avg": moments}}}
    content |= {"position": position} | parts
    path = folder / "x.pt"
    torch.save(stored | {"state": content} | top, path)
    with read_or_refused():
        state.load_state_dict(load_checkpoint(path)["state"])


@tried(data=st.data())
def test_a_checkpoints_bytes(folder, data):
    whole = io.BytesIO()
    torch.save({"schema": 2, "params": {}, "images": 1, "state": {"x": torch.ones(9)}}, whole)
    path = folder / "y.pt"
    path.write_bytes(data.draw(damaged(whole.getvalue())))
    with read_or_refused():
        load_checkpoint(path)


SIZES = st.one_of(st.sampled_from([0, 1, 3, 16, 256, 1000, 10**12, 2**62, -1]), st.integers(0, 40))
SHAPES = st.lists(SIZES, max_size=4).map(tuple) | st.just((1000, 16, 16))
TYPES = st.sampled_from(["|u1", "<i8", "<f4", "<U9", "<U0", "|S1", "|O", "|V0", "<U999999", "%"])


@st.composite
def arrays(draw):
    """An .npy that may not hold what it says."""
    if draw(st.booleans()):
        return draw(damaged(_npy("|u1", False, (1000, 16, 16), 256_000)))
    shape = draw(SHAPES)
    size = draw(st.sampled_from([0, 1000, 256_000, 1_000_000]))
    return _npy(draw(TYPES), draw(st.booleans()), shape, size)


def _npy(kind, by_columns, shape, size):
    header = repr({"descr": kind, "fortran_order": by_columns, "shape": shape}).encode() + b"\n"
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    return start + np.arange(size).astype(np.uint8).tobytes()


@tried(
    members=st.dictionaries(
        st.sampled_from(["images.npy", "labels.npy", "classes.npy"]), arrays(), min_size=1
    ),
    how=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA]),
    flips=st.lists(st.tuples(st.integers(1, 400), st.integers(0, 255)), max_size=3),
)
def test_an_npz(folder, members, how, flips):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", how) as file:
        for name, content in members.items():
            file.writestr(name, content)
    content = bytearray(whole.getvalue())
    for where, value in flips:  # from the end, where the list of its members is
        content[-min(where, len(content))] = value
    path = folder / "x.npz"
    path.write_bytes(content)
    with read_or_refused():
        held = readers.from_npz(path, PETS)
        assert held.images.shape == (min(held.count, 10_000), 1, 16, 16)
        assert held.labels is None or len(held.labels) == len(held.images)
    with read_or_refused():
        source = sources.from_npz(path, Preparation())
        assert sum(map(len, source.batches(0))) == len(source.labels)


def _pictures():
    """Whole files of each kind."""
    levels = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
    for kind in ("png", "jpeg", "gif", "bmp", "webp", "tiff"):
        for mode in ("L", "RGB"):
            file = io.BytesIO()
            Image.fromarray(levels).convert(mode).save(file, kind)
            yield file.getvalue()


@tried(content=st.sampled_from(list(_pictures())).flatmap(damaged))
def test_a_picture(folder, content):
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / "pictures" / "x.png").write_bytes(content)
    with read_or_refused():
        readers.from_images(folder / "pictures", PETS)
    with read_or_refused():
        sources.on_chosen_ground(sources.from_images(folder / "pictures", Preparation()))
    with read_or_refused():
        inversion.prepare_photo(content)


WHOLE = codec.encode(codec.ExplorerState(3, 7, 100, 1, 2, codec.Blend(1, 2, 3, 4, 50)), 1)


@tried(
    code=st.one_of(
        st.text(),
        st.text(codec.LETTERS + "OILU-").map("F1-".__add__),
        st.builds(
            lambda where, letter: WHOLE[:where] + letter + WHOLE[where + 1 :],
            st.integers(0, len(WHOLE)),
            st.text(max_size=2),
        ),
        st.binary(max_size=60).map(
            lambda body: (
                "F1-"
                + codec._letters(
                    b"\0\1" + body + codec.binascii.crc_hqx(b"\0\1" + body, 0).to_bytes(2)
                )
            )
        ),
    )
)
def test_a_code(folder, model, code):
    (folder / "whole.safetensors").write_bytes(model[0])
    found = load_generator(folder / "whole.safetensors")
    with read_or_refused():
        picture = codec.draw_state(codec.decode(code, 1, 2), found)
        assert picture.shape == (1, 28, 28)


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


@tried(
    content=st.one_of(
        st.binary(),
        st.text(alphabet="abc:-[]{}&*#'\"!?|<>% \n1", max_size=60).map(str.encode),
        st.dictionaries(st.sampled_from(sorted(Params.model_fields)), JSON).map(
            lambda values: json.dumps(values).encode()
        ),
        st.sampled_from(
            [LAUGHS.encode(), b"[" * 50_000, b"a: " * 9999, b"? " * 9999, b"-" * 10**6]
        ),
        st.integers(1, 9999).map(lambda n: "".join(f"{i}: 1\n" for i in range(n)).encode()),
    )
)
def test_a_profile(folder, content):
    (folder / "x.yaml").write_bytes(content)
    with read_or_refused():
        read_profile(folder / "x.yaml")


RECORD = {
    "schema": 1,
    "name": "r",
    "uuid": "u",
    "notebooks": ["02_train"],
    "params": {"seed": 1, "run": "x", "run_name": "y"},
    "status": "RUNNING",
    "created": 1.0,
    "ended": 2.0,
    "attempts": 1,
    "tags": {"a": "b"},
    "datasets": [{}],
    "data": {},
}


@tried(
    content=st.one_of(
        st.binary(), DEEP.map(str.encode), changed(RECORD).map(lambda v: json.dumps(v).encode())
    )
)
def test_a_runs_record(folder, content):
    (folder / "run.json").write_bytes(content)
    with read_or_refused():
        info = RunInfo.read(folder / "run.json")
        assert 0 <= info.created < 10**11
        json.dumps(info.json_dict(), allow_nan=True)
        Params.checked(info.params)


POINT = {"name": "loss", "step": 1, "time": 2.0, "value": 3.0}


@tried(
    lines=st.lists(
        st.one_of(
            st.binary(),
            JSON.map(lambda value: json.dumps(value).encode()),
            DEEP.map(str.encode),
            changed(POINT).map(lambda value: json.dumps(value).encode()),
        ),
        max_size=4,
    )
)
def test_a_runs_points(folder, lines):
    path = folder / "metrics.jsonl"
    path.write_bytes(b"\n".join(lines))
    with read_or_refused():
        for point in (line.point for line in points.read(path) if line.point):
            assert all(math.isfinite(point[name]) for name in ("value", "time", "step"))
        points.append(path, [POINT])
        assert points.read(path)[-1].point == POINT


@pytest.fixture(scope="module")
def storage(folder):
    from conftest import make_project

    with pytest.MonkeyPatch.context() as patch:
        make_project(folder / "project", folder, patch)
        (folder / "shared" / "r").mkdir(parents=True)
        yield RunStorage(str(folder / "shared"))


PARTS = st.sampled_from(["..", ".", "", "a", "run.json", "ray-1", "\0", "\n", "é", "\\", "x" * 300])
OWNED = {"uuid": "u", "attempt": 1, "host": "h", "id": "i", "time": 0.0}


@tried(
    content=st.one_of(
        st.binary(), DEEP.map(str.encode), changed(OWNED).map(lambda v: json.dumps(v).encode())
    )
)
def test_who_mirrors_a_run(storage, content):
    (storage.files.root / "r" / OWNER).write_bytes(content)
    with read_or_refused():
        owner = storage.owner("r")
        assert owner.keys() == OWNED.keys()
        assert owner["host"].isprintable()


@tried(names=st.lists(st.one_of(st.text(), st.lists(PARTS, max_size=4).map("/".join))))
def test_what_a_bucket_lists(names):
    target = Path("/runs/r")
    for name in fetch.in_order(names):
        reached = os.path.normpath(target / name)
        assert reached.startswith("/runs/r/")
        assert "\0" not in reached
