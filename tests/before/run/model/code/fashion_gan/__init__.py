"""fashion_gan: the small package behind the notebooks. One subject a module; start at `params`, `run` and `training`."""

from fashion_gan.errors import UserError

__all__ = ["UserError", "__version__"]
__version__ = "0.1.0"
