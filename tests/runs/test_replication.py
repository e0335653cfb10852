"""The destination after the runs of the main story."""

from __future__ import annotations

import pytest
from story import DELETED, PATIENTS, UPDATED, Story
from support import as_loaded


@pytest.mark.parametrize("run", [0, 1, 2])
def test_every_patient_is_there_with_identical_values(story: Story, run: int) -> None:
    assert story.after[run].patients() == as_loaded(story.source[run])


def test_the_columns_have_the_types_of_the_source(story: Story) -> None:
    types = story.after[0].columns("main.patients")
    assert types == {
        "patient_id": "BIGINT",
        "email": "VARCHAR",
        "first_name": "VARCHAR",
        "last_name": "VARCHAR",
        "date_of_birth": "DATE",
        "total_visits": "BIGINT",
        "created_at": "TIMESTAMP WITH TIME ZONE",
        "updated_at": "TIMESTAMP WITH TIME ZONE",
        "observed_at": "TIMESTAMP WITH TIME ZONE",
    }
    assert story.after[0].columns("raw.patients")["id"] == "BIGINT"


def test_an_update_makes_a_second_version_that_adjoins_the_first(story: Story) -> None:
    versions = story.after[1].query("""
        select one.patient_id, one.valid_to = two.valid_from, one.is_current, two.is_current, one.ended_by,
          two.valid_from = two.updated_at, two.last_name
        from main.patients_history as one
        join main.patients_history as two on one.patient_id = two.patient_id and two.version_number = 2
        where one.version_number = 1
        order by all
    """)
    assert versions == [(patient_id, True, False, True, "change", True, f"Née-{patient_id}") for patient_id in UPDATED]


def test_a_deletion_ends_the_last_version_of_a_patient_and_starts_none(story: Story) -> None:
    versions = f"select version_number, ended_by, is_current from main.patients_history where patient_id = {DELETED}"
    assert story.after[0].query(versions) == [(1, None, True)]
    assert story.after[1].query(versions) == [(1, "deletion", False)]
    assert story.after[1].query(f"select count(*) from main.patients where patient_id = {DELETED}") == [(0,)]


def test_versions_of_patients_that_do_not_change_stay_as_they_are(story: Story) -> None:
    touched = ", ".join(map(str, [*UPDATED, *story.created, DELETED]))
    untouched = f"(from main.patients_history where patient_id not in ({touched}))"
    assert story.after[1].rows(untouched) == story.after[0].rows(untouched)
    assert story.after[2].rows("main.patients_history") == story.after[1].rows("main.patients_history")


def test_a_periodic_run_asks_for_as_many_pages_as_changed(story: Story) -> None:
    runs = story.after[2].query("select kind, requests from main.syncs order by started_at")
    by_rank = 2
    [first, (_, requests), last] = runs
    assert first == ("first_load", 1 + 13 + 1 + by_rank)
    # bisection over thirteen pages finds the deleted patient
    assert 1 + by_rank <= requests <= 1 + by_rank + 4
    assert last == ("changes", 1 + by_rank)


def test_attributes_are_neighbours_although_the_tables_were_made_before_the_first_run(story: Story) -> None:
    columns = list(story.after[0].columns("main.patients_history"))
    attributes = ["email", "first_name", "last_name", "date_of_birth", "total_visits"]
    assert columns[: 3 + len(attributes)] == ["patient_version_id", "patient_id", *attributes, "created_at"]


def test_a_run_begins_with_the_health_and_ends_with_its_numbers(story: Story) -> None:
    assert [after.changes() for after in story.after] == [
        {"new": PATIENTS},
        {"new": len(story.created), "changed": len(UPDATED), "deleted": 1},
        {},
    ]
    for printed in story.printed:
        question, answer, *_ = printed.splitlines()
        assert question.startswith("GET http://127.0.0.1:")
        assert question.endswith("/health:")
        assert answer == '"OK"'


def test_a_version_names_the_run_that_brought_it(story: Story) -> None:
    kinds = story.after[1].query("""
        select kind, count(*), bool_and(observed_at between started_at and ended_at)
        from main.patients_history join main.syncs on sync_started_at = started_at
        group by kind order by kind
    """)
    assert kinds == [("changes", len(UPDATED) + len(story.created), True), ("first_load", PATIENTS, True)]


def test_a_run_leaves_the_file_its_neighbours_and_no_second_log(story: Story) -> None:
    folder = story.destination.path.parent
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if "/dbt/" not in str(path)}
    work = {f"clinic.duckdb.work{name}" for name in ("", "/dbt", "/lock", "/run.log")}
    neighbours = {"clinic.duckdb.meltano.db", "clinic.duckdb.runs.jsonl", "clinic.published.duckdb"}
    assert names == {"clinic.duckdb", *neighbours, *work}
    assert not list(folder.rglob("dbt.log"))
    # the runs before the last one were not asked to publish
    assert not story.after[1].path.with_name("clinic.published.duckdb").exists()


def test_the_runs_are_lines_beside_the_file(story: Story) -> None:
    first, second, third = story.destination.runs()
    assert (first["kind"], first["patients"], first["trigger"]) == ("first_load", PATIENTS, "manual")
    assert (second["read"], second["rejected"], second["patients"]) == (6, 0, PATIENTS + 1)
    assert (third["kind"], third["read"]) == ("changes", 0)
    for run in (first, second, third):
        assert 0 < run["steps"]["load"] < run["seconds"]


def test_no_value_of_a_patient_is_printed(story: Story) -> None:
    names = {patient[name] for patient in story.source[1] for name in ("email", "last_name")}
    assert not [name for name in names if len(name) > 5 and any(name in printed for printed in story.printed)]
