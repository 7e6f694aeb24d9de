"""Ray: start it on this machine, or join a cluster."""

import os
import signal
import socket
from typing import Any

from fashion_gan.config.settings import project_root
from fashion_gan.errors import UserError
from fashion_gan.signals import on_signals

# Nobody is told of the use; run folders are the log; what there is to say is said by the callers.
# Ray's own niceness of 15 gives a worker one part of 28 of a core beside anything else that is
# busy: a training by two workers went from 363 images/s to 9.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_worker_niceness": "0",
}


def import_ray(what: str) -> Any:
    """Raises UserError where Ray is not installed. `what` needs it."""
    os.environ |= QUIET
    try:
        import ray
    except ImportError:
        install = ".venv/bin/python -m pip install -e .[ray]"
        raise UserError(f"{what} needs Ray; install it: {install}") from None
    return ray


def checked_address(address: str = "") -> str:
    """`address`, else RAY_ADDRESS, else "". Raises UserError where nothing answers there."""
    address = address or os.environ.get("RAY_ADDRESS", "")
    if address not in ("", "auto", "local"):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except (OSError, ValueError) as error:
            advice = "start one (ray start --head), or say no address"
            raise UserError(f"no Ray cluster answers at {address} ({error}); {advice}") from None
    return address


def connect(what: str, address: str = "") -> Any:
    """Join the cluster at `address`, else at RAY_ADDRESS, else start Ray on this machine."""
    ray = import_ray(what)
    address = checked_address(address)
    paths = os.pathsep.join([str(project_root()), os.environ.get("PYTHONPATH", "")])
    # a run that is to stop closes by itself
    env = {"PYTHONPATH": paths, "RAY_kill_child_processes_on_worker_exit": "false"}
    options = {"log_to_driver": False, "logging_level": "error", "runtime_env": {"env_vars": env}}
    try:
        # Ray's processes are in the terminal's group; they outlive it until a sweep has closed
        with on_signals(None, signal.SIGHUP, signal.SIGQUIT):
            ray.init(address or "local", **options)
    except (ConnectionError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"no Ray cluster at {address} ({reason}); start one (ray start --head); if it asks for"
            " a token: RAY_AUTH_MODE=token"
        ) from None
    return ray


def check_room(ray: Any, what: str, processes: int, cores: int, gpus: float = 0) -> None:
    """Raises UserError where so many processes, each on one machine, do not fit in at once."""
    room = 0
    machines = []
    for node in ray.nodes():
        if node["Alive"]:
            has_cores, has_gpus = (node["Resources"].get(kind, 0) for kind in ("CPU", "GPU"))
            room += min(has_cores // cores, has_gpus // gpus if gpus else processes)
            machines.append(f"{has_cores:.0f} cores, {has_gpus:.0f} GPUs")
    if room < processes:
        has = "; ".join(machines)
        raise UserError(
            f"{what} {cores} cores and {gpus:g} GPUs; the cluster's machines have {has}; say fewer"
        )
