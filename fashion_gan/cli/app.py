"""fashion-gan app: the explorer as a page of its own. Voilà runs 05_explorer, shows no code, and
stops a kernel soon after its page was closed."""

import os
import sys

import click

from fashion_gan.cli import make_command, number_option
from fashion_gan.cli.lab import check_port
from fashion_gan.config.settings import project_root

# Voilà's template links a style sheet elsewhere; a page that is for this machine asks nobody else.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"


@make_command("app")
@number_option("--port", 8866, 1, 65_535)
@click.option("--no-browser", is_flag=True, help="only serve")
@number_option(
    "--idle", 60, 1, 86_400, "seconds that a kernel lives on without its page (default: 60)"
)
def command(port: int, no_browser: bool, idle: int) -> None:
    check_port(port, "app")
    options = {
        "Voila.ip": "127.0.0.1",
        "port": port,
        "VoilaConfiguration.strip_sources": True,
        "VoilaConfiguration.show_tracebacks": False,
        "Voila.tornado_settings": repr({"headers": {"Content-Security-Policy": POLICY}}),
        "MappingKernelManager.cull_idle_timeout": idle,  # only of kernels whose page is gone
        "MappingKernelManager.cull_interval": max(1, idle // 4),
    }
    words = [sys.executable, "-m", "voila", "notebooks/05_explorer.ipynb"]
    words += [f"--{name}={value}" for name, value in options.items()]
    if no_browser:
        words.append("--no-browser")
    os.chdir(project_root())
    print(f"the explorer: http://127.0.0.1:{port} (ready in some seconds; Ctrl-C stops it)")
    sys.stdout.flush()
    os.execv(sys.executable, words)
