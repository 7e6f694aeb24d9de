"""What holds for every notebook that is shipped."""

import nbformat
import pytest
from conftest import ROOT

LINES = 15  # in a code cell
COLUMNS = 100


@pytest.mark.fast
@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_cells_are_short(path):
    """All but the parameters, which are a table."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and "parameters" not in cell.metadata.get("tags", []):
            lines = cell.source.splitlines()
            assert len(lines) <= LINES, cell.source
            assert max(map(len, lines)) <= COLUMNS, cell.source
