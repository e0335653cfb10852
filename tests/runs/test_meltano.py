"""Meltano by itself, without the commands around it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from support import PROJECT, bundled_api

if TYPE_CHECKING:
    from pathlib import Path

    from support import Destination


def test_meltano_run_loads_into_the_destination_that_the_environment_names(
    tmp_path: Path, destination: Destination
) -> None:
    # a file that another run by hand, into the default destination, is about to load
    others = PROJECT / "data/destination.duckdb.work/batches/tap-toubib-patients-of-another-run.jsonl"
    others.parent.mkdir(parents=True, exist_ok=True)
    others.touch()
    with bundled_api(tmp_path / "toubib.sqlite", 130) as api:
        for _ in range(2):
            outcome = destination.meltano("run", "tap-toubib", "target-duckdb", API_BASEURL=api.url)
            assert outcome.returncode == 0, outcome.stdout
    assert others.exists()
    others.unlink()
    with suppress(OSError):
        # only empty folders
        os.removedirs(others.parent)
    assert destination.query("select kind, requests from raw.syncs order by started_at") == [
        ("first_load", 4 + 2),
        ("changes", 1 + 2),
    ]
    assert destination.query("select count(distinct id) from raw.patients") == [(130,)]
