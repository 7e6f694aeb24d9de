"""fashion-gan app: the explorer as a page of its own. Voilà runs 05_explorer, shows no code, and
stops a kernel soon after its page was closed."""

import atexit
import os
import secrets
import tempfile
import threading
import webbrowser
from pathlib import Path
from typing import Any

import click
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.web import HTTPError, RequestHandler
from traitlets import Integer
from traitlets.config import Config
from voila.app import Voila

from fashion_gan.cli import make_command, number_option
from fashion_gan.cli.lab import check_port
from fashion_gan.config.settings import project_root
from fashion_gan.pipeline.kernels import ProjectKernels

# Voilà's template links a style sheet elsewhere; a page that is for this machine asks nobody else.
POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"
TORNADO = {
    "headers": {"Content-Security-Policy": POLICY},
    "allow_remote_access": False,  # a Host other than this machine's names is refused
}


class PageKernels(AsyncMappingKernelManager):
    """Starts a kernel for each page, so many at once and no more."""

    most = Integer(config=True)
    starting = 0

    async def start_kernel(self, **options: Any) -> str:
        if len(self) + self.starting >= self.most:
            advice = "close a page of the explorer, and load this one again after a minute"
            raise HTTPError(503, reason=f"{self.most} pages are open, and no more may be; {advice}")
        self.starting += 1
        try:
            return await super().start_kernel(**options)
        finally:
            self.starting -= 1


def check_origin(handler: RequestHandler, **_: object) -> None:
    """A page of another origin may send this browser's cookie along, but does not know the
    token."""
    site = handler.request.headers.get("Sec-Fetch-Site", "none")
    if site not in ("none", "same-origin") and not handler.token_authenticated:
        raise HTTPError(403, reason="open the address that fashion-gan app has printed")


class ExplorerApp(Voila):
    """Opens the browser at an address with the token."""

    def launch_browser(self) -> None:
        # in a file, since everybody on the machine sees a browser's command line
        with tempfile.NamedTemporaryFile("w", suffix=".html", delete=False) as page:
            address = f"{self.connection_url}?token={self.token}"
            page.write(f'<meta http-equiv="refresh" content="0; url={address}">')
        atexit.register(Path(page.name).unlink, missing_ok=True)
        threading.Thread(target=webbrowser.open, args=[Path(page.name).as_uri()]).start()


@make_command("app")
@number_option("--port", 8866, 1, 65_535)
@click.option("--no-browser", is_flag=True, help="only serve")
@number_option(
    "--idle", 60, 1, 86_400, "seconds that a kernel lives on without its page (default: 60)"
)
@number_option("--kernels", 4, 1, 1_000, "pages that may be open at once (default: 4)")
def command(port: int, no_browser: bool, idle: int, kernels: int) -> None:
    check_port(port, "app")
    os.chdir(project_root())
    token = secrets.token_hex(24)
    options = {
        "Voila": {
            "ip": "127.0.0.1",
            "port": port,
            "port_retries": 0,
            "open_browser": not no_browser,
            "token": token,
            "tornado_settings": TORNADO,
        },
        "VoilaConfiguration": {
            "strip_sources": True,
            "show_tracebacks": False,
            "file_allowlist": [],
            "prelaunch_hook": check_origin,
            "kernel_spec_manager_class": ProjectKernels,
            "multi_kernel_manager_class": PageKernels,
        },
        "PageKernels": {
            "most": kernels,
            "cull_idle_timeout": idle,  # only of kernels whose page is gone
            "cull_interval": max(1, idle // 4),
        },
        "IdentityProvider": {"cookie_options": {"samesite": "Strict"}},
    }
    address = f"http://127.0.0.1:{port}/?token={token}"
    print(f"the explorer: {address} (ready in some seconds; Ctrl-C stops it)", flush=True)
    # no configuration of the person's is read
    words = {"config": Config(options), "config_file_paths": []}
    ExplorerApp.launch_instance(["notebooks/05_explorer.ipynb"], **words)
