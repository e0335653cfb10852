"""APIs with other columns than the documented ones, and columns that appear one day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support import stand_in

from toubib_api.release import CURRENT, SEX_AT_BIRTH, Column, Release

if TYPE_CHECKING:
    from pathlib import Path

    from support import Destination

BEFORE = Release(tuple(c for c in CURRENT.columns if c.name != "total_visits"), CURRENT.sortable)
AFTER = Release((*BEFORE.columns, Column("insurance", str), Column("consented", bool)), CURRENT.sortable)


def test_a_column_that_appears_is_loaded_and_tracked_by_the_next_run(tmp_path: Path, destination: Destination) -> None:
    database = tmp_path / "toubib.sqlite"
    with stand_in(database, 150, BEFORE) as api:
        assert destination.make("run", api_url=api.url).returncode == 0
    assert not {"total_visits", "insurance"} & destination.columns("main.patients").keys()

    with stand_in(database, release=AFTER) as api:
        api.update(3, insurance="A-17", consented=True)
        outcome = destination.make("run", api_url=api.url)
    assert "0 new, 1 changed" in outcome.stdout

    for table in ("main.patients", "main.patients_history"):
        types = destination.columns(table)
        assert (types["insurance"], types["consented"]) == ("VARCHAR", "BOOLEAN")
    query = "select version_number, insurance, consented from main.patients_history where patient_id = 3 order by 1"
    assert destination.query(query) == [(1, None, None), (2, "A-17", True)]


def test_a_column_that_appears_makes_no_version_where_all_is_read_again(
    tmp_path: Path, destination: Destination
) -> None:
    after = Release((*SEX_AT_BIRTH.columns, Column("insurance", str)), SEX_AT_BIRTH.sortable)
    with stand_in(tmp_path / "before.sqlite", 120, SEX_AT_BIRTH) as api:
        assert destination.make("run", api_url=api.url).returncode == 0
    with stand_in(tmp_path / "after.sqlite", 120, after) as api:
        assert "0 new, 0 changed" in destination.make("run", api_url=api.url).stdout
        api.update(5, insurance="A-17")
        assert "0 new, 1 changed" in destination.make("run", api_url=api.url).stdout
    [(before, now)] = destination.query("select old, new from main.patient_changes where field = 'insurance'")
    assert before != now == "A-17"


def test_a_column_whose_type_changes_becomes_text(tmp_path: Path, destination: Destination) -> None:
    for kind, values in ((int, (7, 8)), (str, ("Planted-Marker", "8"))):
        release = Release((*CURRENT.columns, Column("ward", kind)), CURRENT.sortable)
        with stand_in(tmp_path / f"{kind.__name__}.sqlite", 50, release) as api:
            for patient_id, value in zip((3, 4), values, strict=True):
                api.update(patient_id, ward=value)
            outcome = destination.make("run", api_url=api.url)
            assert outcome.returncode == 0, outcome.stdout
    assert "Planted-Marker" not in outcome.stdout
    changes = "select patient_id, old, new from main.patient_changes where field = 'ward' and new is not null"
    assert destination.query(changes) == [(3, "7", "Planted-Marker")]
    history = destination.rows("main.patients_history")
    assert destination.make("rebuild-history").returncode == 0
    assert destination.rows("main.patients_history") == history


def test_an_api_without_instants_is_read_again_and_compared(tmp_path: Path, destination: Destination) -> None:
    with stand_in(tmp_path / "toubib.sqlite", 120, SEX_AT_BIRTH) as api:
        assert destination.make("run", api_url=api.url).returncode == 0
        api.update(5, last_name="Changed")
        outcome = destination.make("run", api_url=api.url)
    assert "0 new, 1 changed" in outcome.stdout
    assert destination.query("select count(*), count(sex_at_birth) from main.patients") == [(120, 120)]
    assert destination.query("select distinct kind from main.syncs") == [("full",)]
    [(valid_from, observed_at)] = destination.query(
        "select valid_from, observed_at from main.patients_history where patient_id = 5 and version_number = 2"
    )
    assert valid_from == observed_at
