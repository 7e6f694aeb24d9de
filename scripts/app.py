"""The explorer as a page of its own: Voilà runs 05_explorer, shows no code, and stops a kernel when its page is closed."""

import os
import sys

from lab import checked_port

from fashion_gan.cli import guarded, parser_of
from fashion_gan.errors import project_root


def main() -> int:
    parser = parser_of("app")
    parser.add_argument("--port", type=int, default=8866)
    parser.add_argument("--no-browser", action="store_true", help="only serve")
    args = parser.parse_args()
    port = checked_port(args.port, "app")
    options = {
        "Voila.ip": "127.0.0.1",
        "port": port,
        "VoilaConfiguration.strip_sources": True,
        "VoilaConfiguration.show_tracebacks": False,
        # A page that is closed stops its kernel; where a browser vanished, an hour without a word does.
        "MappingKernelManager.cull_idle_timeout": 3600,
        "MappingKernelManager.cull_interval": 300,
    }
    command = [sys.executable, "-m", "voila", "notebooks/05_explorer.ipynb", *(f"--{name}={value}" for name, value in options.items())]
    os.chdir(project_root())
    print(f"the explorer: http://127.0.0.1:{port} (ready in some seconds; Ctrl-C stops it)")
    sys.stdout.flush()
    os.execv(sys.executable, [*command, *(["--no-browser"] if args.no_browser else [])])


if __name__ == "__main__":
    sys.exit(guarded(main))
