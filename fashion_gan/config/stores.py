"""Where MLflow and the S3 store are, by the settings."""

import re
from urllib.parse import urlparse

from fashion_gan.config.settings import read_settings, working_root
from fashion_gan.errors import UserError


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI of the settings, else the project's own SQLite store, by its absolute
    path. Raises UserError for no address."""
    uri = read_settings().get("MLFLOW_TRACKING_URI", "")
    if not uri:
        return f"sqlite:///{working_root() / 'mlflow.db'}"
    parts = urlparse(uri)
    if parts.scheme in ("http", "https") and parts.hostname:
        return uri
    is_database = re.match(r"sqlite$|postgresql|mysql", parts.scheme)
    if is_database and (parts.path.strip("/") or parts.hostname):
        return uri
    raise UserError(
        f"MLFLOW_TRACKING_URI is {shown_uri(uri)!r}, which is no address; say"
        " http://127.0.0.1:5009, or unset it for the local store"
    )


def shown_uri(uri: str | None = None) -> str:
    """An address as it may be shown and kept: without a login. Default: the tracking URI."""
    return re.sub(r"//[^@/]+@", "//", uri or tracking_uri())


def is_server() -> bool:
    return tracking_uri().startswith("http")


def closing_seconds() -> float:
    """How long what copies a run tries on after the run has ended. Raises UserError where the
    setting is no number of seconds."""
    value = read_settings().get("FASHION_GAN_CLOSING_SECONDS", "60")
    try:
        seconds = float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:
        raise UserError(
            f"FASHION_GAN_CLOSING_SECONDS is {value!r}; allowed: 0 to 86400 seconds; unset it"
            " for 60"
        )
    return seconds


def s3_endpoint(settings: dict[str, str]) -> str:
    """The S3 store's address by the settings, the team server's by default."""
    return settings.get("S3_ENDPOINT_URL", f"http://{settings.get('BIND', '127.0.0.1')}:9000")
