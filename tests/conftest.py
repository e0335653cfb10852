from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from dbt_process import Dbt
from support import Destination

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def destination(tmp_path: Path) -> Destination:
    """A destination in a folder that does not exist yet."""
    return Destination(tmp_path / "some folder" / "patients.duckdb")


@pytest.fixture(scope="session")
def dbt() -> Iterator[Dbt]:
    """A dbt that has parsed the project, for any number of databases."""
    with Dbt() as process:
        yield process
