"""The loader, alone: not a row is lost, whatever it holds.

target-duckdb loses the first row of every batch with duckdb 1.3 and newer, and says nothing.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import PROJECT, Destination

from toubib_connector import destination as connector

if TYPE_CHECKING:
    from pathlib import Path

TARGET = PROJECT / ".meltano/loaders/target-duckdb/venv/bin/target-duckdb"
SCHEMA = {
    "type": "SCHEMA",
    "stream": "patients",
    "key_properties": [],
    "schema": {
        "properties": {
            "id": {"type": ["integer"], "maximum": 2**63 - 1},
            "name": {"type": ["string", "null"]},
            "updated_at": {"type": ["string", "null"], "format": "date-time"},
        }
    },
}
AN_INSTANT = "2024-02-29T23:59:59.000001Z"


def load(folder: Path, names: list[str], batch_size: int = 100_000) -> list[tuple[int, str | None, str]]:
    """Send one record a name through the loader and return what is in the file then."""
    database = folder / "loaded.duckdb"
    database.unlink(missing_ok=True)
    config = folder / "config.json"
    config.write_text(
        json.dumps(
            {
                "filepath": str(database),
                "default_target_schema": "raw",
                "primary_key_required": False,
                "batch_size_rows": batch_size,
                "temp_dir": str(folder),
            }
        )
    )
    records = [
        {"type": "RECORD", "stream": "patients", "record": {"id": number, "name": name, "updated_at": AN_INSTANT}}
        for number, name in enumerate(names)
    ]
    messages = "\n".join(map(json.dumps, [SCHEMA, *records]))
    subprocess.run([TARGET, "--config", config], input=messages, text=True, check=True, capture_output=True)
    with duckdb.connect(str(database)) as connection:
        return connection.sql("select id, name, updated_at::varchar from raw.patients order by id").fetchall()


@pytest.mark.parametrize("count", [1, 2, 1_000, 1_001, 2_500])
def test_every_row_is_loaded(tmp_path: Path, count: int) -> None:
    names = [f"name {number}" for number in range(count)]
    loaded = load(tmp_path, names, batch_size=1_000)
    assert loaded == [(number, name, "2024-02-29 23:59:59.000001") for number, name in enumerate(names)]


@settings(max_examples=25, deadline=None)
@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_every_string_is_loaded_as_it_is(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    loaded = load(tmp_path_factory.mktemp("hostile"), names)
    # the one thing that the loader does not tell apart
    assert [name for _, name, _ in loaded] == [name or None for name in names]


def test_whoever_writes_the_file_leaves_it_as_the_loader_can_open_it(tmp_path: Path) -> None:
    """Where metadata were used again at checkpoints, the loader's DuckDB refused the file after a few runs.

    That takes a million patients: `make bench BENCH_ARGS="--only growth"` has them.
    """
    path = tmp_path / "patients.duckdb"
    reused = "select current_setting('experimental_metadata_reuse')"
    with connector.Destination(path).connect(read_only=False) as connection:
        assert connection.execute(reused).fetchone() == (False,)
    shown = Destination(path).dbt("--quiet", "show", "--output=json", "--inline", f"{reused} as reused")
    assert '"reused": false' in shown.stdout.lower()
