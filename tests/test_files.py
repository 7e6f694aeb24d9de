import json
import os
import subprocess
import sys

import pytest

from fashion_gan import UserError
from fashion_gan.files import Lock, replacing, write_json


@pytest.mark.fast
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="No space"), replacing(path) as temporary:
        temporary.write_text("half")
        raise OSError("No space left on device")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.fast
def test_json_refuses_what_json_cannot_say(tmp_path):
    write_json(tmp_path / "x.json", {"b": 1, "a": [1.5]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1.5], "b": 1}
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert json.loads((tmp_path / "x.json").read_text())["b"] == 1


def test_a_lock_is_freed_when_its_holder_is_killed(tmp_path):
    lock = Lock(tmp_path / "lock")
    code = (
        "from fashion_gan.files import Lock; from pathlib import Path; l ="
        f" Lock(Path({str(lock.path)!r})); l.acquire(); print('held', flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    assert not lock.is_free()
    with pytest.raises(UserError, match="busy"):
        lock.acquire("busy")
    holder.kill()
    holder.wait()
    assert lock.is_free()
    assert lock.acquire()
