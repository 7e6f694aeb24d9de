"""The explorer as a page of its own: Voilà runs 05_explorer, shows no code, and stops a kernel soon
after its page was closed."""

import os
import sys

from command import guarded, parser_of
from lab import checked_port

from fashion_gan.errors import UserError, project_root

# Voilà's template links a style sheet elsewhere; a page that is for this machine asks nobody else.
OWN = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"


def main() -> int:
    parser = parser_of("app")
    parser.add_argument("--port", type=int, default=8866)
    parser.add_argument("--no-browser", action="store_true", help="only serve")
    parser.add_argument(
        "--idle",
        type=int,
        default=60,
        help="seconds that a kernel lives on without its page (default: 60)",
    )
    args = parser.parse_args()
    port = checked_port(args.port, "app")
    if not 1 <= args.idle <= 86_400:
        raise UserError(f"--idle is {args.idle}; allowed: 1 to 86,400 seconds")
    options = {
        "Voila.ip": "127.0.0.1",
        "port": port,
        "VoilaConfiguration.strip_sources": True,
        "VoilaConfiguration.show_tracebacks": False,
        "Voila.tornado_settings": repr({"headers": {"Content-Security-Policy": OWN}}),
        "MappingKernelManager.cull_idle_timeout": args.idle,  # only of kernels whose page is gone
        "MappingKernelManager.cull_interval": max(1, args.idle // 4),
    }
    command = [
        sys.executable,
        "-m",
        "voila",
        "notebooks/05_explorer.ipynb",
        *(f"--{name}={value}" for name, value in options.items()),
    ]
    os.chdir(project_root())
    print(f"the explorer: http://127.0.0.1:{port} (ready in some seconds; Ctrl-C stops it)")
    sys.stdout.flush()
    os.execv(sys.executable, [*command, *(["--no-browser"] if args.no_browser else [])])


if __name__ == "__main__":
    sys.exit(guarded(main))
