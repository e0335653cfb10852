from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support import Destination

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def destination(tmp_path: Path) -> Destination:
    """A destination in a folder that does not exist yet."""
    return Destination(tmp_path / "some folder" / "patients.duckdb")
