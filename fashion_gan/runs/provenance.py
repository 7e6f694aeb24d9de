"""Where a run came from."""

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from fashion_gan.files import digest

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "mlflow",
    "papermill",
    "matplotlib",
    "scikit-learn",
    "safetensors",
    "pydantic",
    "pyyaml",
    "filelock",
)


def hardware() -> str:
    """Cores, processor, threads that torch uses, and the GPU where there is one."""
    import torch

    path = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.+)", path.read_text("utf-8")) if path.exists() else []
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{os.cpu_count()} cores ({names[0] if names else platform.machine()}), torch threads:"
        f" {torch.get_num_threads()}, {gpu}"
    )


def provenance(
    root: Path, profile: str, notebooks: tuple[str, ...], command: str
) -> dict[str, str]:
    """Tags that say where a run came from: commit, tree, notebooks with digests, versions, the
    command to run it again."""

    def git(*words: str) -> str:
        try:
            return subprocess.run(
                ["git", *words], cwd=root, capture_output=True, text=True, timeout=10
            ).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            return ""

    tags = {
        "profile": profile,
        "command": command,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    tags["hardware"] = hardware()
    tags["git_commit"] = git("rev-parse", "HEAD") or "unknown"
    tags["git_dirty"] = str(bool(git("status", "--porcelain"))).lower()
    for name in notebooks:
        tags[f"notebook.{name}"] = digest(root / "notebooks" / f"{name}.ipynb")[:16]
    return tags | {f"version.{package}": version(package) for package in PACKAGES}
