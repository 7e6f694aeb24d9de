"""fashion-gan lab: JupyterLab on the notebooks, on this machine's own address."""

import os
import socket
import sys

from fashion_gan.cli import make_command, number_option, text_option
from fashion_gan.config.settings import project_root
from fashion_gan.errors import UserError


def check_port(port: int, target: str) -> None:
    """Raises UserError, which names the make target to call again, where the port is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise UserError(
                f"port {port} is in use; choose another one: make {target} PORT={port + 1}"
            ) from None


@make_command("lab")
@number_option("--port", 8888, 1, 65_535)
@text_option("--notebook", "the notebook to open", "NAME", "01_explore")
def command(port: int, notebook: str) -> None:
    root = project_root()
    if not (root / "notebooks" / f"{notebook}.ipynb").exists():
        names = ", ".join(sorted(path.stem for path in (root / "notebooks").glob("*.ipynb")))
        raise UserError(f"no notebook {notebook!r}; there are: {names}")
    check_port(port, "explore" if notebook == "05_explorer" else "lab")
    options = [f"--port={port}", "--ServerApp.port_retries=0", "--ServerApp.ip=127.0.0.1"]
    if os.geteuid() == 0:  # in a container there is often nobody else
        options.append("--allow-root")
    kernels = "fashion_gan.pipeline.kernels.ProjectKernels"
    options.append(f"--ServerApp.kernel_spec_manager_class={kernels}")
    options.append(f"--LabApp.default_url=/lab/tree/notebooks/{notebook}.ipynb")
    os.chdir(root)
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *options])
