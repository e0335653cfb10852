"""Which API a file was loaded from: made-up patients and those of another API do not come together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

from toubib_connector.destination import Destination
from toubib_connector.errors import Failure
from toubib_connector.source import check_source

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def destination(tmp_path: Path) -> Destination:
    return Destination(tmp_path / "patients.duckdb")


def sync(destination: Destination, api_url: str, *, is_bundled: bool, minute: int = 0) -> None:
    """Add the audit of a run."""
    with duckdb.connect(str(destination.path)) as connection:
        connection.execute("create schema if not exists raw")
        connection.execute(
            "create table if not exists raw.syncs (started_at timestamp, api_url varchar, is_bundled_api boolean)"
        )
        instant = f"2024-01-01 00:{minute:02}:00"
        connection.execute("insert into raw.syncs values (?, ?, ?)", [instant, api_url, is_bundled])


@pytest.mark.parametrize("is_bundled", [True, False])
def test_a_file_that_nothing_was_loaded_into_takes_any_api(destination: Destination, *, is_bundled: bool) -> None:
    with destination.lock():
        check_source(destination, "http://a", is_bundled=is_bundled)


@pytest.mark.parametrize("is_bundled", [True, False])
def test_a_file_of_a_release_that_did_not_tell_takes_any_api(destination: Destination, *, is_bundled: bool) -> None:
    with duckdb.connect(str(destination.path)) as connection:
        connection.execute("create schema raw; create table raw.syncs (started_at timestamp)")
        connection.execute("insert into raw.syncs values (now()::timestamp)")
    check_source(destination, "http://a", is_bundled=is_bundled)


def test_made_up_patients_do_not_come_among_those_of_another_api(destination: Destination) -> None:
    sync(destination, "http://real", is_bundled=False)
    check_source(destination, "http://moved", is_bundled=False)
    with pytest.raises(Failure, match=f"{destination.path} was loaded from http://real; the made-up patients"):
        check_source(destination, "http://bundled", is_bundled=True)


def test_those_of_another_api_do_not_come_among_made_up_patients(destination: Destination) -> None:
    sync(destination, "http://bundled", is_bundled=True)
    check_source(destination, "http://bundled:2", is_bundled=True)
    with pytest.raises(Failure, match=f"{destination.path} holds the made-up patients .* those of http://real must"):
        check_source(destination, "http://real", is_bundled=False)


def test_the_newest_run_tells_what_a_file_was_loaded_from(destination: Destination) -> None:
    sync(destination, "http://real", is_bundled=False, minute=2)
    sync(destination, "http://bundled", is_bundled=True, minute=1)
    check_source(destination, "http://real", is_bundled=False)


def test_what_a_file_was_loaded_from_is_in_the_file(destination: Destination, tmp_path: Path) -> None:
    sync(destination, "http://real", is_bundled=False)
    moved = Destination(destination.path.rename(tmp_path / "moved.duckdb"))
    with pytest.raises(Failure, match="was loaded from http://real"):
        check_source(moved, "http://bundled", is_bundled=True)


def test_a_first_load_that_was_killed_tells_what_it_read_from(destination: Destination) -> None:
    check_source(destination, "http://real", is_bundled=False)
    with duckdb.connect(str(destination.path)) as connection:
        connection.execute("create schema raw; create table raw.patients as select 1 as id")
    check_source(destination, "http://real", is_bundled=False)
    with pytest.raises(Failure, match="was loaded from http://real"):
        check_source(destination, "http://bundled", is_bundled=True)


def test_a_run_that_loaded_nothing_keeps_no_other_api_away(destination: Destination) -> None:
    check_source(destination, "http://mistyped", is_bundled=False)
    check_source(destination, "http://bundled", is_bundled=True)
    with duckdb.connect(str(destination.path)) as connection:
        connection.execute("create schema raw; create table raw.patients as select 1 as id")
    with pytest.raises(Failure, match="holds the made-up patients"):
        check_source(destination, "http://real", is_bundled=False)


def test_what_a_run_left_counts_more_than_the_first_load(destination: Destination) -> None:
    check_source(destination, "http://bundled", is_bundled=True)
    sync(destination, "http://real", is_bundled=False)
    check_source(destination, "http://real", is_bundled=False)
