"""The kernel of the environment that runs the command, without what a person has set up."""

import atexit
import functools
import shutil
import tempfile

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager


@functools.cache
def _empty_folder() -> str:
    """A new folder, removed when this process ends."""
    folder = tempfile.mkdtemp(prefix="ipython-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class ProjectKernels(KernelSpecManager):
    """Knows one kernel, python3: the Python that runs this process. Its start-up files and its
    IPython configuration are not those of the person."""

    def _kernel_dirs_default(self) -> list[str]:
        return []  # no folder of JUPYTER_PATH may hold another python3

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        spec = super().get_kernel_spec(kernel_name)
        spec.env = {"IPYTHONDIR": _empty_folder(), "PYTHONSTARTUP": ""}
        return spec
