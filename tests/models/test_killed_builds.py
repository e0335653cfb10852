"""Killed builds of the history, and the builds after them."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import duckdb
import pytest
from support import PROJECT, Destination

if TYPE_CHECKING:
    from dbt_process import Dbt

PATIENTS = 50_000


def append(destination: Destination, name: str, minute: int) -> None:
    """Append an observation of every patient."""
    instant = f"timestamp '2024-01-01 00:{minute}:00'"
    with duckdb.connect(str(destination.path)) as connection:
        connection.execute(f"""
            insert into raw.patients
              (id, first_name, updated_at, _sdc_extracted_at, _sdc_batched_at)
            select range, '{name}', {instant}, {instant}, {instant} from range({PATIENTS})
        """)


def kill_in_the_middle(destination: Destination) -> None:
    """Kill a build while it computes the history."""
    process = subprocess.Popen(
        [PROJECT / ".meltano/utilities/dbt/venv/bin/dbt", "build", "--project-dir", ".", "--profiles-dir", "."],
        cwd=PROJECT / "transform",
        env=os.environ
        | {
            "DBT_DUCKDB_PATH": str(destination.path),
            "DBT_TARGET_PATH": f"{destination.path}.work/dbt",
            "DBT_LOG_PATH": f"{destination.path}.work/logs",
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        for line in process.stdout or ():
            if "START sql incremental model main.patients_history" in line:
                process.kill()
        assert process.wait() == -signal.SIGKILL


@pytest.mark.complete
def test_the_next_build_repairs_the_history_after_a_killed_build(empty: Destination, dbt: Dbt) -> None:
    append(empty, "A", 10)
    kill_in_the_middle(empty)
    dbt.build(empty.path)
    append(empty, "B", 20)
    kill_in_the_middle(empty)
    assert empty.query("select count(*) from main.patients where first_name = 'A'") == [(PATIENTS,)]

    dbt.build(empty.path)
    assert empty.query("select count(*) from main.patients where first_name = 'B'") == [(PATIENTS,)]
    assert empty.query("select count(*) from main.patients_history") == [(2 * PATIENTS,)]
