"""Errors meant for a person; the project folder that commands work on, and its settings; asking a command."""

import os
import subprocess
import sys
from pathlib import Path


class UserError(Exception):
    """One line that says what is wrong, what is allowed and what to do. The command line prints it and exits with 2."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))

    def _render_traceback_(self) -> list[str]:
        # IPython shows these lines in place of a traceback.
        return [f"error: {self}"]


def project_root(start: Path | None = None) -> Path:
    """The project folder that `start` (default: the working folder) stands in. Raises UserError where there is none.
    FASHION_GAN_ROOT, when set, names it outright."""
    here = Path(os.environ.get("FASHION_GAN_ROOT") or start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (
            (folder / "notebooks").is_dir()
            and (folder / "params").is_dir()
            and (folder / "pyproject.toml").is_file()
        ):
            return folder
    raise UserError(
        f"{here} is in no fashion-gan project; change into the cloned folder (it holds notebooks/ and params/)"
    )


def settings(only_files: bool = False) -> dict[str, str]:
    """The environment over .env.local over .env, both in the project folder; what is empty is left out."""
    from dotenv import dotenv_values

    read = (
        dotenv_values(project_root() / ".env")
        | dotenv_values(project_root() / ".env.local")
        | ({} if only_files else os.environ)
    )
    return {name: value.strip() for name, value in read.items() if value and value.strip()}


def asked(script: str, *words: str) -> str:
    """What a script of scripts/ prints at its end, for what only it can do. Raises UserError in its words."""
    command = [
        sys.executable,
        str(Path(__file__).resolve().parents[1] / "scripts" / script),
        *words,
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UserError(
            (done.stderr.splitlines() or [f"{script} ended with {done.returncode}"])[
                -1
            ].removeprefix("error: ")
        )
    return done.stdout
