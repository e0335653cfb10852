import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from toubib_api import change, prepare
from toubib_api.schemas import SortField


@contextmanager
def opened(database: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(database)) as connection, connection:
        yield connection


def dump(database: Path) -> list[str]:
    with opened(database) as connection:
        return list(connection.iterdump())


@pytest.fixture
def database(tmp_path: Path) -> Path:
    database = tmp_path / "toubib.sqlite"
    assert prepare(database, patients=2000) == 2000
    return database


def test_equal_seeds_make_equal_patients(database: Path, tmp_path: Path) -> None:
    prepare(tmp_path / "same.sqlite", patients=2000)
    prepare(tmp_path / "other.sqlite", patients=2000, seed=1)
    assert dump(tmp_path / "same.sqlite") == dump(database)
    assert dump(tmp_path / "other.sqlite") != dump(database)


def test_a_file_with_patients_gets_no_more(database: Path) -> None:
    before = dump(database)
    assert prepare(database, patients=3000, seed=1) == 2000
    assert dump(database) == before


def test_patients_are_plausible(database: Path) -> None:
    with opened(database) as connection:
        count, emails, oldest, youngest, start, end, backwards, untouched = connection.execute("""
            select count(*), count(distinct email), min(date_of_birth), max(date_of_birth), min(created_at),
                   max(updated_at), sum(updated_at < created_at), sum(updated_at = created_at)
            from patients
        """).fetchone()
        names = "".join(name for (name,) in connection.execute("select last_name from patients"))
    assert count == emails == 2000
    assert (oldest[:3], youngest[:3]) == ("192", "201")
    assert (start[:4], end[:4]) == ("2020", "2024")
    assert backwards == 0
    assert 0.2 < untouched / count < 0.4
    for letters in ("é", "ü", "ł", "Παπα", "田"):
        assert letters in names


@pytest.mark.parametrize("field", SortField)
def test_no_page_sorts_the_collection(database: Path, field: str) -> None:
    with opened(database) as connection:
        plan = connection.execute(f"explain query plan select * from patients order by {field} desc limit 9 offset 9")
        assert not [step for *_, step in plan if "TEMP B-TREE" in step]


def test_a_change_names_the_patients_that_it_updates_creates_and_removes(database: Path) -> None:
    with opened(database) as connection:
        before = {row[0]: row for row in connection.execute("select * from patients")}
    changes = change(database, updates=5, creations=3, removals=2, seed=0)
    with opened(database) as connection:
        after = {row[0]: row for row in connection.execute("select * from patients")}
        end = connection.execute("select count(*) from patients where updated_at > '2025-01-01'").fetchone()
    assert changes.created == sorted(after.keys() - before.keys()) == [2001, 2002, 2003]
    assert changes.removed == sorted(before.keys() - after.keys())
    assert len(changes.removed) == 2
    assert changes.updated == sorted(key for key in before.keys() & after.keys() if before[key] != after[key])
    assert len(changes.updated) == 5
    assert end == (8,)


def test_a_change_never_removes_the_patients_that_it_creates(tmp_path: Path) -> None:
    database = tmp_path / "toubib.sqlite"
    prepare(database, patients=2)
    assert change(database, updates=3, creations=1, removals=3) == ([1, 2], [3], [])
    assert change(database, updates=0, creations=1, removals=9) == ([], [4], [1, 2, 3])
    assert change(database, updates=0, creations=1) == ([], [5], [])
