import pickle
import shutil
import subprocess
import sys

import pytest
import torch

from fashion_gan import UserError
from fashion_gan.files import digest
from fashion_gan.training.checkpoints import (
    OtherVersionError,
    assert_resumable,
    list_checkpoints,
    load_checkpoint,
    load_latest,
    rewind,
    save_checkpoint,
)

PARAMS = {"seed": 0, "epochs": 3}


def write(folder, images, best=False, keep=3):
    return save_checkpoint(
        folder, {"x": torch.full((10,), float(images))}, PARAMS, images, keep, best
    )


@pytest.mark.fast
def test_the_last_few_and_the_best_are_kept(tmp_path):
    for images in (10, 20, 30, 40):
        write(tmp_path, images, best=images == 20)
    assert [load_checkpoint(p)["images"] for p in list_checkpoints(tmp_path, "last")] == [
        40,
        30,
        20,
    ]
    assert [load_checkpoint(p)["images"] for p in list_checkpoints(tmp_path, "best")] == [20]
    assert load_latest(tmp_path)["images"] == 40


@pytest.mark.fast
def test_one_best_is_kept(tmp_path):
    write(tmp_path, 10, best=True)
    write(tmp_path, 20, best=True)
    assert [load_checkpoint(p)["images"] for p in list_checkpoints(tmp_path, "best")] == [20]
    assert [p.name[:5] for p in sorted(tmp_path.iterdir())] == ["best-", "last-", "last-"]


@pytest.mark.fast
def test_by_images_seen_then_by_time(tmp_path):
    old = write(tmp_path, 30)
    # other weights at the same image
    again = save_checkpoint(tmp_path, {"x": torch.ones(3)}, PARAMS, 30, 3)
    write(tmp_path, 20)
    assert [p.name for p in list_checkpoints(tmp_path, "last")][:2] == [again.name, old.name]
    assert load_checkpoint(again)["params"] == PARAMS
    (tmp_path / "last-30-abc.pt").write_text("no name of ours")
    assert len(list_checkpoints(tmp_path, "last")) == 3


@pytest.mark.fast
def test_one_of_another_version_is_never_passed_over(tmp_path):
    """An older one would be loaded in its stead, and what it holds be lost."""
    write(tmp_path, 10)
    torch.save({"schema": 99, "params": {}, "state": {}, "images": 20}, tmp_path / "new")
    (tmp_path / "new").rename(tmp_path / f"last-{20:010d}-{digest(tmp_path / 'new')[:12]}.pt")
    with pytest.raises(OtherVersionError, match="version 99, not 2"):
        load_latest(tmp_path)


@pytest.mark.fast
@pytest.mark.parametrize("harm", ["truncate", "flip", "empty"])
def test_a_damaged_newest_one_is_said_and_passed_over(tmp_path, harm):
    write(tmp_path, 10)
    path = write(tmp_path, 20)
    content = path.read_bytes()
    path.write_bytes({"truncate": content[:100], "flip": content[:-1] + b"?", "empty": b""}[harm])
    said = []
    assert load_latest(tmp_path, said.append)["images"] == 10
    assert "damaged" in said[0]


@pytest.mark.fast
def test_all_damaged_is_an_error_and_none_is_none(tmp_path):
    assert load_latest(tmp_path) is None
    write(tmp_path, 10).write_bytes(b"")
    with pytest.raises(UserError, match="none of the 1 checkpoints"):
        load_latest(tmp_path, lambda _: None)


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


def bad_files(folder):
    good = write(folder / "c", 10)
    shutil.copy(good, folder / "truncated.pt")
    (folder / "truncated.pt").write_bytes(good.read_bytes()[:200])
    torch.save({"schema": 99, "params": {}, "state": {}, "images": 0}, folder / "version.pt")
    torch.save([1, 2], folder / "list.pt")
    torch.save({"schema": 1, "params": {}, "state": Evil(), "images": 0}, folder / "code.pt")
    (folder / "plain.pt").write_bytes(pickle.dumps(Evil()))
    (folder / "text.pt").write_text("hello")
    words = {
        "truncated": "damaged or no checkpoint",
        "version": "version 99",
        "list": "no checkpoint",
        "code": "holds code",
    }
    return words | {"plain": "", "text": "no checkpoint", "absent": "no checkpoint"}


@pytest.mark.fast
def test_foreign_files_are_refused_in_one_line_and_no_code_runs(tmp_path, capsys):
    for name, words in bad_files(tmp_path).items():
        with pytest.raises(UserError) as error:
            load_checkpoint(tmp_path / f"{name}.pt")
        assert words in str(error.value), name
        assert "\n" not in str(error.value)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.fast
def test_a_damaged_best_is_passed_over(tmp_path):
    write(tmp_path, 10, best=True)
    list_checkpoints(tmp_path, "best")[0].write_bytes(b"")
    assert load_latest(tmp_path, lambda _: None, kind="best") is None


@pytest.mark.fast
def test_a_folders_name_is_no_version(tmp_path):
    write(tmp_path / "version", 10)
    write(tmp_path / "version", 20).write_bytes(b"")
    assert load_latest(tmp_path / "version", lambda _: None)["images"] == 10


def test_a_full_disk_keeps_the_old_checkpoint(tmp_path):
    """A real limit on file size: the write fails as on a full disk."""
    write(tmp_path, 10)
    code = f"""
import resource, signal, torch
from pathlib import Path
from fashion_gan import UserError
from fashion_gan.training.checkpoints import save_checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    save_checkpoint(Path({str(tmp_path)!r}), {{"x": torch.zeros(100_000)}}, {{}}, 20, 3)
except UserError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "checkpoint not written" in said.stdout, said.stderr
    assert "\n" not in said.stdout.strip()
    assert [p.name for p in tmp_path.iterdir()] == [list_checkpoints(tmp_path, "last")[0].name]
    assert load_latest(tmp_path)["images"] == 10


@pytest.mark.fast
def test_rewind_makes_an_older_one_the_newest_and_keeps_the_rest(tmp_path):
    paths = [write(tmp_path / "c", images, best=images == 30) for images in (10, 20, 30)]
    rewind(tmp_path / "c", paths[0])
    assert load_latest(tmp_path / "c")["images"] == 10
    assert sorted(p.name[:10] for p in (tmp_path / "c").glob("aside-*")) == [
        "aside-best",
        "aside-last",
        "aside-last",
    ]
    best = write(tmp_path / "b", 10, best=True)
    write(tmp_path / "b", 20)
    rewind(tmp_path / "b", best)
    # it is still the best there was
    assert [p.name[:4] for p in list_checkpoints(tmp_path / "b", "best")] == ["best"]
    write(tmp_path / "elsewhere", 20).rename(tmp_path / "mine.pt")
    rewind(tmp_path / "c", tmp_path / "mine.pt")
    assert load_latest(tmp_path / "c")["images"] == 20


@pytest.mark.fast
def test_frozen_parameters_are_held():
    assert_resumable({"seed": 0, "epochs": 3}, {"seed": 0, "epochs": 9})
    with pytest.raises(UserError, match="seed 0 -> 1"):
        assert_resumable({"seed": 0}, {"seed": 1})
