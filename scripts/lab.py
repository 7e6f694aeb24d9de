"""JupyterLab on the notebooks, on this machine's own address."""

import os
import socket
import sys

from fashion_gan.cli import guarded, parser_of
from fashion_gan.errors import UserError, project_root


def main() -> int:
    parser = parser_of("lab")
    parser.add_argument("--port", type=int, default=8888)
    port, root = parser.parse_args().port, project_root()
    if not 1 <= port <= 65_535:
        raise UserError(f"--port is {port}; allowed: 1 to 65,535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise UserError(f"port {port} is in use; choose another one: make lab PORT={port + 1}") from None
    command = [sys.executable, "-m", "jupyterlab", "--port", str(port), "--ServerApp.port_retries=0"]
    command += ["--allow-root"] if os.geteuid() == 0 else []  # in a container there is often nobody else
    os.chdir(root)
    os.execv(sys.executable, [*command, "--LabApp.default_url=/lab/tree/notebooks/01_explore.ipynb"])


if __name__ == "__main__":
    sys.exit(guarded(main))
