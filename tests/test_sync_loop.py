"""Waiting for a condition, and the loop that keeps a copy level."""

import time

import pytest

from fashion_gan.config.params import Params
from fashion_gan.errors import UserError
from fashion_gan.runs.create import create_run
from fashion_gan.tracking.sync_loop import Ledger, SupersededError, follow
from fashion_gan.waiting import wait_until


def test_it_gives_what_the_condition_gives():
    answers = iter(["", "", "third"])
    assert wait_until(lambda: next(answers), 5, every=0.01) == "third"


@pytest.mark.parametrize("seconds", [-1, 0, 0.15])
def test_it_ends_in_time_with_the_last_answer(seconds):
    begun = time.monotonic()
    assert wait_until(lambda: 0, seconds, every=10) == 0
    assert max(seconds, 0) <= time.monotonic() - begun < 2


def test_a_ledger_sends_what_changed_and_notes_only_what_was_sent():
    sent, ledger = [], Ledger({})

    def fails():
        raise OSError("the line is cut")

    with pytest.raises(OSError, match="cut"):
        ledger.send("a", "stamp", b"content", fails)
    assert not ledger.has("a", "stamp")
    ledger.send("a", "stamp", b"content", lambda: sent.append("first"))
    ledger.send("a", "touched", b"content", lambda: sent.append("touched"))
    ledger.send("a", "changed", b"other", lambda: sent.append("changed"))
    assert sent == ["first", "changed"]
    assert ledger.has("a", "changed")


class Copy:
    """A copy whose passes go as `passes` say: None is well, an error is raised."""

    def __init__(self, *passes):
        self.passes, self.closed = list(passes), 0

    def copy(self):
        if error := self.passes.pop(0):
            raise error

    def close(self):
        self.copy()
        self.closed += 1


def followed(run, target, **changes):
    """What is logged and noted while `target` is kept level; the run ends with its last pass."""
    logged, noted = [], []
    words = {
        "copy": "mirror",
        "name": "the store",
        "connect": lambda: target,
        "has_ended": lambda: len(target.passes) <= 1,
        "note_fault": noted.append,
        "log": logged.append,
        "interval": 0.01,
    }
    try:
        follow(run, **(words | changes))
    finally:
        run.lock.release()
    return logged, noted


@pytest.fixture
def run(bare_project):
    return create_run(Params(), name="r")


def test_a_fault_is_logged_once_and_its_end_too(run):
    target = Copy(None, OSError("away"), OSError("away"), None, None)
    logged, noted = followed(run, target)
    assert logged == ["the store: away", "the store is level again"]
    assert noted == ["away", "away"]
    assert target.closed == 1


def test_it_gives_up_once_the_run_has_ended_and_its_time_is_over(run, monkeypatch):
    monkeypatch.setenv("FASHION_GAN_CLOSING_SECONDS", "0")
    with pytest.raises(UserError, match=r"^away$"):
        followed(run, Copy(*[OSError("away")] * 3), has_ended=lambda: True)


def test_a_fault_that_cannot_be_noted_stops_nothing(run):
    """As on a full disk."""

    def note(_):
        raise OSError("No space left on device")

    target = Copy(OSError("No space left on device"), None, None)
    logged, _ = followed(run, target, note_fault=note)
    assert logged == [
        "the store: the disk is full; free some space, then try again",
        "the store is level again",
    ]
    assert target.closed == 1


def test_a_copy_that_is_anothers_now_is_left_at_once(run):
    target = Copy(SupersededError("the store is another's"), None, None)
    with pytest.raises(SupersededError):
        followed(run, target)
    assert len(target.passes) == 2


def test_it_waits_for_the_end_and_no_longer(run):
    """A store is asked every `interval` seconds, and at once when the run ends."""
    begun = time.monotonic()
    target = Copy(None, None)
    followed(run, target, interval=30, has_ended=lambda: time.monotonic() > begun + 0.5)
    assert target.closed == 1
    assert time.monotonic() - begun < 10


def test_a_folder_that_is_removed_ends_it(run):
    (run.folder / "run.json").unlink()
    target = Copy(None)
    followed(run, target)
    assert target.closed == 0
