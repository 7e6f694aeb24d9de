"""The explorer as a widget."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).parent / "static" / "explorer.js"


def widget(
    info: dict[str, Any], numbers: bytes, code: str, answer: Callable[[dict, list], dict]
) -> Any:
    """The explorer as an ipywidget, of what export.payload gave. The page draws by itself; it tells
    `code` when a step is done, and asks for the `answer` that only a kernel has."""
    import anywidget
    import traitlets

    class Explorer(anywidget.AnyWidget):
        _esm, _css = SCRIPT, SCRIPT.with_suffix(".css")
        info, numbers = traitlets.Dict().tag(sync=True), traitlets.Bytes().tag(sync=True)
        code, page, kernel = (
            kind.tag(sync=True)
            for kind in (traitlets.Unicode(), traitlets.Bool(False), traitlets.Bool(True))
        )

    explorer = Explorer(info=info, numbers=numbers, code=code)
    explorer.on_msg(lambda _, request, buffers: explorer.send(answer(request, buffers)))
    return explorer
