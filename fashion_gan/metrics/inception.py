"""The literature's FID, through Inception."""

import contextlib
import io
import socket
from typing import Any

import torch


def inception(images: torch.Tensor, real: torch.Tensor) -> dict[str, Any]:
    """The literature's FID, through Inception by torch-fidelity: made for photographs, so only to
    compare with papers."""
    try:
        import torch_fidelity
    except ImportError:
        return {
            "fid": None,
            "why": "torch-fidelity is not installed: .venv/bin/pip install -e .[inception]",
        }

    class Grey(torch.utils.data.Dataset):
        def __init__(self, images: torch.Tensor):
            self.images = images

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, i: int) -> torch.Tensor:
            return self.images[i].expand(3, -1, -1)

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            found = torch_fidelity.calculate_metrics(
                input1=Grey(images),
                input2=Grey(real),
                fid=True,
                cuda=torch.cuda.is_available(),
                verbose=False,
            )
        return {"fid": found["frechet_inception_distance"], "why": ""}
    except Exception as error:  # whatever a download answers
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        return {
            "fid": None,
            "why": f"Inception's weights are not on this machine and cannot be fetched ({reason})",
        }
    finally:
        socket.setdefaulttimeout(before)
