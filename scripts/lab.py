"""JupyterLab on the notebooks, on this machine's own address."""

import os
import socket
import sys

from command import guarded, parser_of

from fashion_gan.errors import UserError, project_root


def checked_port(port: int, target: str) -> int:
    """The port, if it can be listened on. Raises UserError that names the make target to call
    again."""
    if not 1 <= port <= 65_535:
        raise UserError(f"--port is {port}; allowed: 1 to 65,535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise UserError(
                f"port {port} is in use; choose another one: make {target} PORT={port + 1}"
            ) from None
    return port


def main() -> int:
    parser = parser_of("lab")
    parser.add_argument("--port", type=int, default=8888)
    parser.add_argument(
        "--notebook", default="01_explore", metavar="NAME", help="the notebook to open"
    )
    args, root = parser.parse_args(), project_root()
    if not (root / "notebooks" / f"{args.notebook}.ipynb").exists():
        names = ", ".join(sorted(path.stem for path in (root / "notebooks").glob("*.ipynb")))
        raise UserError(f"no notebook {args.notebook!r}; there are: {names}")
    port = checked_port(args.port, "explore" if args.notebook == "05_explorer" else "lab")
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--port",
        str(port),
        "--ServerApp.port_retries=0",
        "--ServerApp.ip=127.0.0.1",
    ]
    # in a container there is often nobody else
    command += ["--allow-root"] if os.geteuid() == 0 else []
    os.chdir(root)
    os.execv(
        sys.executable,
        [*command, f"--LabApp.default_url=/lab/tree/notebooks/{args.notebook}.ipynb"],
    )


if __name__ == "__main__":
    sys.exit(guarded(main))
