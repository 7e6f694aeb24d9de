"""What a person sees while a run goes on."""

import os
import shutil
import sys
import threading
from typing import Any

from fashion_gan import clock
from fashion_gan.files import file_stamp, read_json
from fashion_gan.runs.run import Run
from fashion_gan.text import duration


class Progress:
    """One line that a person can follow: redrawn on a terminal, a new line for each event in a
    plain log."""

    def __init__(self, run: Run, out: Any = None):
        self.run, self.out = run, out or sys.stdout
        self.live = self.out.isatty() and not os.environ.get("CI")
        self.title, self.position, self.started = "", "", clock.running()
        self.file, self.stale = run.folder / "progress.json", ""
        self.told_epoch, self.done = -1, threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Progress":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def begin(self, title: str) -> None:
        self.title = title
        self.position = ""
        self.started = clock.running()
        self.stale = self._stamp()  # what an earlier notebook or attempt left
        self.told_epoch = -1
        if not self.live:
            self._print(f"{title}: started")

    def cell(self, index: int, count: int) -> None:
        self.position = f"cell {index + 1}/{count}"

    def end(self, words: str) -> None:
        self._print(f"{self.title}: {words}, {duration(clock.running() - self.started)}")
        self.title = ""

    def write(self, text: str) -> None:
        """Show the warnings in what a notebook writes to its standard error."""
        for line in text.splitlines():
            if line.startswith("warning: "):
                self._print(f"{self.title}: {line}")

    def flush(self) -> None:
        """Each line is shown when it is written."""

    def _stamp(self) -> str:
        return file_stamp(self.file) if self.file.exists() else ""

    def _print(self, line: str) -> None:
        print(("\r\x1b[K" if self.live else "") + line, file=self.out, flush=True)

    def _watch(self) -> None:
        while not self.done.wait(0.5):
            if not self.title:
                continue
            training = self._training()
            if self.live:
                line = (
                    f"{self.title}  {self.position}  {duration(clock.running() - self.started)} "
                    f" {training}"
                )
                print(
                    "\r\x1b[K" + line[: shutil.get_terminal_size().columns - 1],
                    end="",
                    file=self.out,
                    flush=True,
                )
            elif training and self._epoch != self.told_epoch:
                self.told_epoch = self._epoch
                self._print(f"{self.title}: {training}")

    def _training(self) -> str:
        """Where the training stands, from the file that it keeps; empty when none runs."""
        if self._stamp() == self.stale:
            return ""
        p = read_json(self.file)
        self._epoch = p["epoch"]
        words = [f"epoch {p['epoch']}/{p['epochs']}"]
        if "loss_d" in p:  # not before the first step
            words.append(f"loss D {p['loss_d']:.3f} G {p['loss_g']:.3f}")
        words.append(f"{p['images_per_s']:,.0f} images/s")
        words.append(f"{duration(p['seconds_left'])} left")
        return "  ".join(words)
