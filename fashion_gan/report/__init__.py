"""Figures, pages and their templates. Matplotlib is loaded with its own settings: the import would
end at a person's matplotlibrc or style file that is damaged, or at a backend that is none."""

import contextlib
import os
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

SETTINGS = Path(find_spec("matplotlib").origin).parent / "mpl-data"
backend = os.environ.get("MPLBACKEND")
# the working folder's matplotlibrc counts before all others
with contextlib.chdir(SETTINGS), mock.patch.dict(os.environ, MPLBACKEND=""):
    import matplotlib
with mock.patch.object(matplotlib, "get_configdir", lambda: str(SETTINGS)):
    import matplotlib.style
if backend:
    with contextlib.suppress(ValueError):
        matplotlib.rcParams["backend"] = backend
