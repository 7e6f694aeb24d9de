"""A project, or a run folder, that was moved, renamed or copied: what is written goes to where it
is now, and to nobody else's."""

import contextlib
import os
import re
import shlex
import shutil
import sqlite3
from contextlib import closing

import pytest
from conftest import fashion_gan_here
from test_sync import fill, find

from fashion_gan import UserError
from fashion_gan.catalog.generators import find_generator
from fashion_gan.catalog.runs import find_run
from fashion_gan.config.params import Params
from fashion_gan.config.stores import shown_uri
from fashion_gan.errors import warn_once
from fashion_gan.runs.create import create_run
from fashion_gan.runs.run import Run
from fashion_gan.tracking import local_store, mlflow_sync, storage, storage_sync
from fashion_gan.tracking.client import make_client, short_message
from fashion_gan.tracking.sync_loop import SupersededError

CHAMPION = "models:/fashion-gan@champion"


def finished(name, model=False):
    run = create_run(Params(), name=name)
    if model:
        fill(run, 1.5)
    run.finish()
    return run


def addresses(project):
    """All that the store says of where artifacts lie."""
    with closing(sqlite3.connect(project / "mlflow.db")) as store:
        rows = store.execute(
            "SELECT artifact_location FROM experiments WHERE name = 'fashion-gan'"
            " UNION ALL SELECT artifact_uri FROM runs"
        )
        return [row[0] for row in rows]


def check_all_here(project):
    """Every address is of this folder, and so is the file that is behind each."""
    assert find_generator(CHAMPION).source == CHAMPION
    stored = addresses(project)
    assert len(stored) > 1
    beginning = (project / "mlartifacts").as_uri()
    assert all(address.startswith(beginning) for address in stored)


def move(project, to, monkeypatch, how=os.rename):
    from mlflow.tracking._tracking_service import utils

    monkeypatch.chdir(project.parent)
    how(project, to)
    utils._artifact_repos_cache.clear()  # as in another process
    monkeypatch.chdir(to)
    return to


def test_a_project_is_moved_and_moved_back(project, monkeypatch):
    finished("r1", model=True)
    mlflow_sync.sync(find_run("r1"))
    command = find_run("r1").mlflow_url
    parent = project.parent
    # a path of another alphabet, and of letters that mean something in addresses
    first = move(project, parent / "new ü #2 50%", monkeypatch)
    finding = fashion_gan_here("doctor", cwd=first).stdout
    old = (project / "mlartifacts").as_uri()
    assert f"mlflow.db was moved, and still names {old}; run: fashion-gan doctor --fix" in finding
    assert addresses(first)[0] == old  # looking changes nothing
    fixed = fashion_gan_here("doctor", "--fix", cwd=first)
    assert "was moved" not in fixed.stdout
    assert "mlflow.db was moved: its artifacts are now those of mlartifacts" in fixed.stderr
    check_all_here(first)
    assert (first / "mlflow.db.before-move").exists()
    mlflow_sync.sync(find_run("r1"))
    mlflow_sync.sync(finished("r2"))
    assert len(addresses(first)) == 3
    check_all_here(first)
    url = find_run("r1").mlflow_url
    assert url != command
    assert shlex.split(url.partition(" (after: ")[2][:-1])[-1] == shown_uri()
    again = move(first, project, monkeypatch)
    check_all_here(again)
    client, found = find(find_run("r2"))
    names = {f.path for f in client.list_artifacts(found.info.run_id)}
    assert "run.json" in names
    left = {p.name for p in parent.iterdir()}
    assert left == {"project"}  # neither place was made again, and nothing beside it


def test_a_copy_of_a_project_leaves_the_first_one_alone(project, monkeypatch):
    mlflow_sync.sync(finished("r1", model=True))
    before, there = addresses(project), sorted((project / "mlartifacts").rglob("*"))
    copy = move(project, project.parent / "copy", monkeypatch, shutil.copytree)
    project.chmod(0o500)
    mlflow_sync.sync(finished("r2"))
    check_all_here(copy)
    assert (addresses(project), sorted((project / "mlartifacts").rglob("*"))) == (before, there)
    project.chmod(0o700)


def test_what_went_to_the_former_place_is_sent_again(project, monkeypatch):
    """As it was where artifacts went on to be written to the old place."""
    mlflow_sync.sync(finished("r1", model=True))
    moved = move(project, project.parent / "moved", monkeypatch)
    shutil.rmtree(moved / "mlartifacts")
    run = find_run("r1")
    noted = run.read_json("mlflow")
    (copy,) = noted["copies"].values()
    run.log_json({"last": shown_uri(), "copies": {shown_uri(): copy}}, "mlflow")
    with pytest.raises(UserError, match=r"is registered, but its files .* its run instead: r1$"):
        find_generator(CHAMPION)
    mlflow_sync.sync(run)
    client, found = find(run)
    assert "scores.json" in {f.path for f in client.list_artifacts(found.info.run_id)}


def test_a_store_that_another_program_holds_is_not_taken_for_one_that_was_not_moved(
    project, monkeypatch
):
    monkeypatch.setattr(local_store, "PATIENCE", 0.1)
    with closing(sqlite3.connect(project / "mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match=r"is held by another program; end that one$"):
            make_client()


@pytest.mark.parametrize("address", ["s3://bucket/mlartifacts", "file:///srv/shared/artifacts"])
def test_an_address_that_a_person_chose_stays(project, address):
    make_client().create_experiment("fashion-gan", artifact_location=address)
    make_client()
    assert addresses(project) == [address]
    assert not (project / "mlflow.db.before-move").exists()


def test_a_relative_address_of_the_store(project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    mlflow_sync.sync(finished("r1"))
    assert all(a.startswith((project / "mlartifacts").as_uri()) for a in addresses(project))


def test_a_store_whose_folder_is_gone_is_not_made_again(project, monkeypatch):
    gone = project.parent / "gone"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{gone}/mlflow.db")
    sample = ["sample", "--model", CHAMPION, "--out", "x.npz"]
    for words in (["champion"], sample, ["sync", finished("r1").name]):
        done = fashion_gan_here(*words, cwd=project)
        assert done.returncode == 2
        assert f"there is no folder {gone}; unset it" in done.stderr
    assert not gone.exists()


def test_looking_leaves_nothing_behind(project):
    """Neither a model that is loaded from a folder below, nor a doctor."""
    mlflow_sync.sync(finished("r1", model=True))
    before = sorted((project / "mlartifacts").iterdir())
    for words in (["sample", "--model", CHAMPION, "--n", "2", "--out", "x.npz"], ["doctor"]):
        done = fashion_gan_here(*words, cwd=project / "notebooks")
        assert done.returncode == 0, done.stdout + done.stderr
    assert sorted((project / "mlartifacts").iterdir()) == before
    assert not list((project / "notebooks").glob("mlflow*"))
    assert [p.name for p in project.parent.iterdir()] == ["project"]


@pytest.fixture
def original(project):
    """A run that was copied to MLflow, and is where it was made."""
    run = finished("a")
    mlflow_sync.sync(run)
    return run


def copied(original, name):
    folder = original.folder.with_name(name)
    shutil.copytree(original.folder, folder)
    Run(folder).log_metrics({"loss_d": 9.0}, 9)
    return Run(folder)


def copies_itself(run):
    mlflow_sync.sync(run)


def follows(run):
    mlflow_sync.sync(run, follow=True, log=print, every=0.1)


def is_one_of_all(run):
    done = fashion_gan_here("sync", "--all", cwd=os.getcwd())
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("write", [copies_itself, follows, is_one_of_all])
def test_a_copied_run_folder_is_a_run_of_its_own(original, write, capsys):
    uuid = original.info.uuid
    copy = copied(original, "b")
    copy.update(tags=copy.info.tags | {"within": "a sweep"})
    write(copy)
    assert copy.info.uuid != uuid == original.info.uuid
    assert copy.info.name == "b"
    assert copy.info.tags["copied_from"] == f"a ({uuid})"
    assert "within" not in copy.info.tags
    client, mine = find(copy)
    theirs = find(original)[1]
    assert [m.step for m in client.get_metric_history(mine.info.run_id, "loss_d")] == [9]
    assert client.get_metric_history(theirs.info.run_id, "loss_d") == []
    assert mine.data.tags["copied_from"] == f"a ({uuid})"
    kept = copy.info.uuid
    write(copy)
    assert copy.info.uuid == kept


def test_a_resume_of_a_copy_is_a_run_of_its_own(original):
    copy = copied(original, "b")
    warn_once.cache_clear()
    done = fashion_gan_here("resume", "b", cwd=os.getcwd())
    assert "b is a copy of run a; from now on it is a run of its own" in done.stderr
    assert copy.info.uuid != original.info.uuid
    assert not (copy.folder / "mlflow.json").exists()


def test_a_renamed_run_is_the_same_run(original):
    uuid = original.info.uuid
    original.folder.rename(original.folder.with_name("renamed"))
    renamed = find_run("renamed", tracked=True)
    mlflow_sync.sync(renamed)
    assert find(renamed)[0] and renamed.info.uuid == uuid
    # beside a copy of it nothing says which one is the original
    copy = copied(renamed, "b")
    with pytest.raises(UserError, match=r"are both run a; give .*: mv reports/b reports/a$"):
        find_run("b", tracked=True)
    renamed.folder.rename(renamed.folder.with_name("a"))
    assert find_run("b", tracked=True).info.uuid != uuid
    assert find_run("a", tracked=True).info.uuid == uuid
    assert copy.info.name == "b"


def test_a_copy_outside_of_reports(original, tmp_path):
    shutil.copytree(original.folder, tmp_path / "a")
    assert find_run(str(tmp_path / "a"), tracked=True).info.uuid != original.info.uuid
    original.folder.rename(tmp_path / "only")
    uuid = Run(tmp_path / "only").info.uuid
    assert find_run(str(tmp_path / "only"), tracked=True).info.uuid == uuid


@pytest.mark.parametrize("change", [{"attempts": 2}, {"host": "another-machine"}])
def test_mlflow_keeps_what_went_on_elsewhere(original, project, change):
    """A copy on another machine, with the same server."""
    client, found = find(original)
    for name, value in change.items():
        client.set_tag(found.info.run_id, name, value)
    with pytest.raises(SupersededError, match=r"run a went on on .*: fashion-gan resume a$"):
        mlflow_sync.sync(original)
    finished("b")
    done = fashion_gan_here("sync", "--all", cwd=project)
    assert done.returncode == 0
    assert "run a went on on" in done.stdout
    assert "run b is level" in done.stdout


def test_a_copied_project_does_not_write_to_the_others_mirror(project, tmp_path, monkeypatch):
    (tmp_path / "share").mkdir()
    monkeypatch.setenv("RUNS_URI", str(tmp_path / "share"))
    first = finished("a")
    storage_sync.push(first)
    copy = move(project, tmp_path / "copy", monkeypatch, shutil.copytree)
    second = Run(copy / "reports" / "a")
    with pytest.raises(SupersededError, match=r"run a went on on .*, or remove owner.json there$"):
        storage_sync.Mirror(second, storage.open_storage()).copy()
    storage_sync.Mirror(first, storage.open_storage()).copy()
    second.update(attempts=2)  # once it has gone on it is the one that is mirrored
    storage_sync.Mirror(second, storage.open_storage()).copy()
    with pytest.raises(SupersededError):
        storage_sync.Mirror(first, storage.open_storage()).copy()


def test_a_moved_project_goes_on_with_its_mirror(project, tmp_path, monkeypatch):
    (tmp_path / "share").mkdir()
    monkeypatch.setenv("RUNS_URI", str(tmp_path / "share"))
    storage_sync.push(finished("a"))
    moved = move(project, tmp_path / "moved", monkeypatch)
    storage_sync.Mirror(Run(moved / "reports" / "a"), storage.open_storage()).copy()
    monkeypatch.setattr("platform.node", lambda: "another-machine")  # as after rsync
    with pytest.raises(SupersededError):
        storage_sync.Mirror(Run(moved / "reports" / "a"), storage.open_storage()).copy()


FAULTS = {  # what is done to the store, and what is said of it
    "damaged": "the store is damaged; bring mlflow.db back",
    "newer": "the store is of a newer MLflow; install that one",
    "older": "keep a copy of it, then run: .venv/bin/mlflow db upgrade sqlite:////.*mlflow.db",
    "deleted": r"was deleted in MLflow; bring it back: .*restore --experiment-id 1",
}


@contextlib.contextmanager
def faulty(store, fault):
    with closing(sqlite3.connect(store)) as database:
        if fault == "damaged":
            store.write_bytes(b"no database" * 1000)
        elif fault == "deleted":
            with database:
                database.execute("UPDATE experiments SET lifecycle_stage = 'deleted'")
        else:
            version = "0123456789ab" if fault == "newer" else "451aebb31d03"
            with database:
                database.execute("UPDATE alembic_version SET version_num = ?", (version,))
        yield


@pytest.mark.parametrize(("fault", "words"), FAULTS.items(), ids=list(FAULTS))
def test_a_store_at_fault_is_one_line_with_what_to_do(project, fault, words, monkeypatch):
    from mlflow.tracking._tracking_service import utils

    run = create_run(Params(), name="r")
    run.finish()
    mlflow_sync.sync(run)
    run.log_metrics({"loss_d": 1.0}, 1)
    utils._tracking_store_registry._get_store_with_resolved_uri.cache_clear()
    monkeypatch.setenv("MLFLOW_SQLALCHEMYSTORE_POOLCLASS", "NullPool")
    with faulty(project / "mlflow.db", fault):
        with pytest.raises(UserError, match=words):
            mlflow_sync.sync(run)
        doctor = fashion_gan_here("doctor", cwd=project).stdout
        assert re.search(words, doctor)
        assert "should not happen" not in doctor
        if fault != "deleted":
            done = fashion_gan_here("champion", cwd=project)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1)
            assert re.search(words, done.stderr)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("(sqlite3.OperationalError) database or disk is full\n[SQL: …]", "free some space"),
        ("(sqlite3.OperationalError) database is locked\n[SQL: …]", "another program"),
        ("[Errno 28] No space left on device: 'x'", "free some space"),
        ("[Errno 13] Permission denied: '/old/mlartifacts'", "'/old/mlartifacts'"),
        ("(sqlite3.OperationalError) attempt to write a readonly database", "look at the rights"),
        ("[Errno 2] No usable temporary directory found in ['/tmp']", "set TMPDIR"),
        ("No module named 'psycopg2'", "pip install psycopg2"),
        ("The run 0f must be in the 'active' state. Current state is deleted.", "restore it there"),
    ],
)
def test_a_librarys_words_become_what_to_do(said, words):
    message = short_message(OSError(said))
    assert words in message
    assert "\n" not in message


def test_a_run_that_was_deleted_there_is_made_again(original):
    client, found = find(original)
    client.delete_run(found.info.run_id)
    mlflow_sync.sync(original)
    again = find(original)[1]
    assert again.info.run_id != found.info.run_id
    assert "run.json" in {f.path for f in client.list_artifacts(again.info.run_id)}


@pytest.mark.parametrize("uri", ["models:/fashion-gan", "models:/fashion-gan@none", "models:/x/1"])
def test_a_model_that_is_none(original, uri):
    with pytest.raises(UserError, match=r"^no model models:/.*; models are named models:/"):
        find_generator(uri)
