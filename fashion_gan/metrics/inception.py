"""The literature's FID, through Inception."""

import contextlib
import io
import socket
from typing import Any

import torch
from torch.utils.data import Subset


def inception(images: torch.Tensor, real: torch.Tensor) -> dict[str, Any]:
    """The FID of images uint8 (N, C, H, W), through Inception by torch-fidelity, or why there is
    none. Inception was made for photographs, so only to compare with papers."""
    try:
        import torch_fidelity
    except ImportError:
        advice = ".venv/bin/pip install -e .[inception]"
        return {"fid": None, "why": f"torch-fidelity is not installed: {advice}"}
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            metrics = torch_fidelity.calculate_metrics(
                input1=_in_colour(images),
                input2=_in_colour(real),
                fid=True,
                cuda=torch.cuda.is_available(),
                verbose=False,
            )
        return {"fid": metrics["frechet_inception_distance"], "why": ""}
    except Exception as error:  # whatever a download answers
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        why = f"Inception's weights are not on this machine and cannot be fetched ({reason})"
        return {"fid": None, "why": why}
    finally:
        socket.setdefaulttimeout(timeout)


def _in_colour(images: torch.Tensor) -> Subset:
    """Images of one or three colours as the data set that torch-fidelity takes."""
    return Subset(images.expand(-1, 3, -1, -1), range(len(images)))
