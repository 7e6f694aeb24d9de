"""Errors meant for a person, and the project folder that commands work on."""

import os
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
        if (folder / "notebooks").is_dir() and (folder / "params").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    raise UserError(f"{here} is in no fashion-gan project; change into the cloned folder (it holds notebooks/ and params/)")
