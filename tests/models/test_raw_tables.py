"""What the models make of raw tables of any make: types, names, columns that come and go, files of the last release."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

import duckdb
import pytest
from support import PROJECT, Destination

if TYPE_CHECKING:
    from pathlib import Path

    from dbt_process import Dbt


def at(hour: int, minute: int = 0) -> str:
    return f"timestamp '2024-01-01 {hour:02}:{minute:02}:00'"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class Raw:
    """A destination, and what a loader does to its raw tables; a run is an hour."""

    def __init__(self, path: Path, dbt: Dbt) -> None:
        self.destination = Destination(path)
        self.dbt = dbt

    def execute(self, *statements: str) -> None:
        with duckdb.connect(str(self.destination.path)) as connection:
            for statement in statements:
                connection.execute(statement)

    def load(self, hour: int, *patients: dict[str, str], kind: str = "full", emitted: str = "") -> None:
        """Append observations, given as SQL, and the row of their run."""
        instants = {"_sdc_extracted_at": at(hour, 30), "_sdc_batched_at": at(hour, 50)}
        rows = [{"updated_at": at(1), **patient, **instants} for patient in patients]
        self.execute(
            *(
                f"insert into raw.patients ({', '.join(map(quoted, row))}) values ({', '.join(row.values())})"
                for row in rows
            ),
            f"""
            insert into raw.syncs (started_at, ended_at, kind, columns, _sdc_batched_at)
            values ({at(hour)}, {at(hour, 40)}, '{kind}', {f"'{emitted}'" if emitted else "null"}, {at(hour, 50)})
            """,
        )

    def build(self, *arguments: str) -> str:
        return self.dbt.build(self.destination.path, *arguments)

    def compiled_history(self) -> str:
        code, output = self.dbt.run(self.destination.path, "compile", "--select", "patients_history")
        assert code == 0, output
        return output

    def versions(self, *columns: str) -> list[tuple[object, ...]]:
        names = ", ".join(("patient_version_id", *columns))
        return self.destination.query(f"select {names} from main.patients_history order by valid_from, patient_id")

    def assert_rebuilt_the_same(self) -> None:
        before = self.destination.rows("main.patients_history")
        self.build("--full-refresh")
        assert self.destination.rows("main.patients_history") == before


@pytest.fixture
def raw(empty: Destination, dbt: Dbt) -> Raw:
    """The empty tables."""
    return Raw(empty.path, dbt)


def test_ids_that_are_texts_have_a_history_although_the_tables_were_made_for_numbers(raw: Raw) -> None:
    raw.execute(
        "alter table raw.patients rename column id to id_20240101_0100",
        "alter table raw.patients add column id varchar",
    )
    raw.load(2, {"id": "'00001'", "email": "'a'"}, {"id": "'6f1c-x'", "email": "'b'"})
    raw.build()
    raw.load(3, {"id": "'00001'", "email": "'c'", "updated_at": at(2)})
    raw.build()
    assert raw.versions("email") == [("00001-1", "a"), ("6f1c-x-1", "b"), ("00001-2", "c")]
    for table in ("main.patients", "main.patients_history", "main.patient_changes", "main.patients_as_of(now())"):
        assert raw.destination.columns(table)["patient_id"] == "VARCHAR"
    assert "id_20240101_0100" not in raw.destination.columns("main.patients")
    raw.assert_rebuilt_the_same()


def test_ids_that_become_texts_go_on_with_their_history(raw: Raw) -> None:
    raw.load(2, {"id": "1", "email": "'a'"})
    raw.build()
    raw.execute(
        "alter table raw.patients rename column id to id_20240101_0300",
        "alter table raw.patients add column id varchar",
    )
    raw.load(3, {"id": "'1'", "email": "'b'", "updated_at": at(2)}, {"id": "'x'", "email": "'c'"})
    raw.build()
    assert raw.versions("email") == [("1-1", "a"), ("x-1", "c"), ("1-2", "b")]
    raw.assert_rebuilt_the_same()


def test_a_column_can_have_any_name(raw: Raw) -> None:
    names = ['it\'s an "odd" one', "prénom.b", "select", "back\\slash {{ jinja }}", "contents"]
    names += [
        "position",
        "barrier",
        "deleted_at",
        "stated_at",
        "island",
        "started_at",
        "kind",
        "row_id",
        "deleted",
        "1st",
    ]
    for name in names:
        raw.execute(f"alter table raw.patients add column {quoted(name)} varchar")
    emitted = ",".join(["email", "id", *names]).replace("'", "''")
    raw.load(2, {"id": "1"} | dict.fromkeys(names, "'a'"), emitted="email,id")
    raw.build()
    raw.load(3, {"id": "1", "updated_at": at(2)} | dict.fromkeys(names, "'b'"), emitted=emitted)
    raw.build()
    changes = raw.destination.query("select field, old, new from main.patient_changes order by field")
    assert changes == sorted((name.replace('"', "''"), "a", "b") for name in names)
    comments = "select count(*) from duckdb_columns() where table_name = 'patients_history' and comment is null"
    assert raw.destination.query(comments) == [(0,)]
    raw.assert_rebuilt_the_same()


def test_a_column_called_as_one_of_the_models_has_another_name_there(raw: Raw) -> None:
    names = ["patient_version_id", "patient_id", "observed_at", "version_number", "valid_from", "valid_to"]
    names += ["is_current", "ended_by", "at"]
    raw.execute(*(f'alter table raw.patients add column "{name}" varchar' for name in names))
    raw.load(2, {"id": "1"} | dict.fromkeys(names, "'a'"))
    raw.load(3, {"id": "1", "updated_at": at(2)} | dict.fromkeys(names, "'b'"))
    raw.build()
    changes = raw.destination.query("select field, old, new from main.patient_changes order by field")
    assert changes == sorted((f"source_{name}", "a", "b") for name in names)
    now = "select patient_id, source_at, source_valid_from from main.patients_as_of(timestamp '2024-01-01 01:30')"
    assert raw.destination.query(now) == [(1, "a", "a")]


def test_no_column_is_lost_where_the_source_has_that_name_too(raw: Raw) -> None:
    names = ["at", "source_at", "Source_Source_At", "Valid_From", 'a"b', "a''b"]
    for name in names:
        raw.execute(f"alter table raw.patients add column {quoted(name)} varchar")
    raw.load(2, {"id": "1"} | {name: f"'{number}'" for number, name in enumerate(names)})
    raw.build()
    columns = ["source_at", "source_source_at", "source_Source_Source_At", "source_Valid_From", "a''b", "source_a''b"]
    query = f"select {', '.join(map(quoted, columns))} from main.patients"
    assert raw.destination.query(query) == [("0", "1", "2", "3", "4", "5")]


def test_a_column_that_no_run_emitted_costs_no_step(raw: Raw) -> None:
    raw.load(2, {"id": "1", "email": "'a'"}, emitted="email,id")
    raw.build()
    assert "informed as" not in raw.compiled_history()
    raw.load(3, {"id": "1", "email": "'a'", "last_name": "'b'"}, emitted="email,id,last_name")
    raw.build()
    assert "informed as" in raw.compiled_history()
    assert raw.versions("last_name") == [("1-1", "b")]


def test_a_column_that_was_excluded_for_some_time_makes_no_version(raw: Raw) -> None:
    raw.execute("alter table raw.patients add column ward varchar", "alter table raw.patients add column phone varchar")
    raw.load(2, {"id": "1", "ward": "'w'"}, {"id": "2", "ward": "null"}, emitted="id,ward")
    raw.load(3, {"id": "1"}, {"id": "2"}, emitted="id")
    raw.build()
    raw.load(4, {"id": "1", "ward": "'w'", "phone": "'p'"}, {"id": "2", "phone": "'p'"}, emitted="id,phone,ward")
    raw.build()
    raw.load(5, {"id": "1", "ward": "'v'", "phone": "'p'", "updated_at": at(4, 40)}, emitted="id,phone,ward")
    raw.build()
    assert raw.versions("ward", "phone") == [("1-1", "w", "p"), ("2-1", None, "p"), ("1-2", "v", "p")]
    raw.assert_rebuilt_the_same()


def test_an_excluded_column_makes_no_version_where_the_api_has_no_updated_at(raw: Raw) -> None:
    raw.execute("alter table raw.patients add column ward varchar")
    for hour, ward in ((2, "'w'"), (3, "'v'"), (4, None), (5, "'v'")):
        patient = {"id": "1", "updated_at": "null"} | ({"ward": ward} if ward else {})
        raw.load(hour, patient, emitted="id,ward" if ward else "id")
        raw.build()
    assert raw.versions("ward") == [("1-1", "w"), ("1-2", "v")]


def test_a_type_that_changes_twice_makes_text(raw: Raw) -> None:
    raw.execute("alter table raw.patients add column ward bigint")
    raw.load(2, {"id": "1", "ward": "7"})
    raw.build()
    for hour, renamed, kind, value in ((3, "0300", "boolean", "true"), (4, "0300_1", "varchar", "'x'")):
        raw.execute(
            f"alter table raw.patients rename column ward to ward_20240101_{renamed}",
            f"alter table raw.patients add column ward {kind}",
        )
        raw.load(hour, {"id": "1", "ward": value, "updated_at": at(hour - 1)})
        raw.build()
    assert raw.versions("ward") == [("1-1", "7"), ("1-2", "true"), ("1-3", "x")]
    raw.assert_rebuilt_the_same()


def test_an_index_that_blocks_a_change_of_a_type_is_named(raw: Raw) -> None:
    raw.execute("alter table raw.patients add column ward bigint")
    raw.load(2, {"id": "1", "ward": "7"})
    raw.build()
    raw.execute(
        "create index by_name on main.patients_history (last_name)",
        "alter table raw.patients rename column ward to ward_20240101_0300",
        "alter table raw.patients add column ward varchar",
    )
    raw.load(3, {"id": "1", "ward": "'x'", "updated_at": at(2)})
    code, output = raw.dbt.run(raw.destination.path, "build", "--exclude-resource-type", "unit_test")
    assert code == 1
    assert "index by_name does not allow. Drop it, run again, and create it again." in output
    raw.execute("drop index main.by_name")
    raw.build()
    assert raw.versions("ward") == [("1-1", "7"), ("1-2", "x")]


def test_an_index_does_not_block_a_column_that_appears(raw: Raw) -> None:
    raw.load(2, {"id": "1"})
    raw.build()
    raw.execute(
        "create index by_name on main.patients_history (last_name)", "alter table raw.patients add column ward bigint"
    )
    raw.load(3, {"id": "1", "ward": "7", "updated_at": at(2)})
    raw.build()
    assert raw.versions("ward") == [("1-1", None), ("1-2", 7)]


LAST_RELEASE = """
create schema raw;
create schema staging;
create table raw.patients (
  id bigint, email varchar, first_name varchar, last_name varchar, date_of_birth varchar, created_at timestamp,
  updated_at timestamp, total_visits bigint, _sdc_extracted_at timestamp, _sdc_batched_at timestamp,
  _sdc_deleted_at varchar
);
create table raw.rejected_records (
  id varchar, field varchar, reason varchar, part bigint, record varchar, _sdc_extracted_at timestamp,
  _sdc_batched_at timestamp, _sdc_deleted_at varchar
);
create table raw.syncs (
  started_at timestamp, ended_at timestamp, kind varchar, columns varchar, total_items_before bigint,
  total_items_after bigint, records bigint, rejected bigint, deleted bigint, repaired bigint, requests bigint,
  bookmark_before timestamp, bookmark_after timestamp, _sdc_extracted_at timestamp, _sdc_batched_at timestamp,
  _sdc_deleted_at varchar
);
create table staging.history_loaded_until as select timestamp '2024-01-01 02:50' as loaded_until;
create table staging.untested_patients (patient_id bigint);
insert into raw.rejected_records values ('9', 'email', 'too long', 1, 'aa', now(), now(), null),
  ('9', 'email', 'too long', 2, 'aa', now(), now(), null);
"""
AS_THE_LOADER_TAKES_IT_OVER = [
    *(
        statement
        for name, kind in (("date_of_birth", "date"), ("_sdc_deleted_at", "timestamp"))
        for statement in (
            f"alter table raw.patients rename column {name} to {name}_20240101_0300",
            f"alter table raw.patients add column {name} {kind}",
        )
    ),
    "alter table raw.syncs add column recovered bigint",
]


@pytest.mark.parametrize(
    "taken_over",
    [
        pytest.param([], marks=pytest.mark.complete, id="by a build"),
        pytest.param(AS_THE_LOADER_TAKES_IT_OVER, id="by a load and a build"),
    ],
)
def test_a_file_of_the_last_release_is_taken_over(tmp_path: Path, dbt: Dbt, taken_over: list[str]) -> None:
    raw = Raw(tmp_path / "patients.duckdb", dbt)
    raw.execute(LAST_RELEASE)
    raw.load(
        2,
        {"id": "1", "date_of_birth": "'1980-02-29'", "total_visits": "3"},
        {"id": "2", "date_of_birth": "'1990-01-01'", "total_visits": "4"},
        {"id": "2", "updated_at": "null", "_sdc_deleted_at": "'2024-01-01T02:31:00.000000+00:00'"},
    )
    raw.execute("update raw.syncs set repaired = 5", *taken_over)
    raw.build()
    for _ in range(2):
        assert raw.versions("date_of_birth::varchar", "total_visits", "ended_by", "strftime(valid_to, '%H:%M')") == [
            ("1-1", "1980-02-29", 3, None, None),
            ("2-1", "1990-01-01", 4, "deletion", "02:31"),
        ]
        raw.build("--full-refresh")
    assert raw.destination.columns("main.patients")["date_of_birth"] == "DATE"
    assert raw.destination.query("select recovered from main.syncs") == [(5,)]
    assert raw.destination.query("select count(*) from raw.rejected_records") == [(2,)]
    assert raw.destination.query("select table_name from duckdb_tables() where schema_name = 'staging'") == []


def test_the_columns_stand_in_one_order_whichever_command_came_first(raw: Raw, tmp_path: Path, dbt: Dbt) -> None:
    other = Raw(tmp_path / "other.duckdb", dbt)
    other.execute(
        "create schema raw",
        "create table raw.patients (zone varchar, updated_at timestamp, last_name varchar, id bigint, alias varchar)",
    )
    other.build()
    raw.execute(*(f"alter table raw.patients add column {name} varchar" for name in ("alias", "zone")))
    now = ["patient_id", "email", "first_name", "last_name", "date_of_birth", "alias", "zone"]
    now += ["created_at", "updated_at", "observed_at"]
    validity = ["version_number", "valid_from", "valid_to", "is_current", "ended_by"]
    for one in (raw, other):
        one.load(2, {"id": "1"})
        one.build()
        for table in ("main.patients", "main.patients_as_of(now())"):
            assert list(one.destination.columns(table)) == now
        assert list(one.destination.columns("main.patients_history")) == ["patient_version_id", *now, *validity]


def test_what_the_models_promise_is_not_null(raw: Raw) -> None:
    required = "select column_name from duckdb_columns() where table_name = 'patients_history' and not is_nullable"
    expected = {"patient_version_id", "patient_id", "observed_at", "version_number", "valid_from", "is_current"}
    for hour in (2, 3):
        assert {name for (name,) in raw.destination.query(required)} == expected
        raw.load(hour, {"id": "1"})
        raw.build("--full-refresh")


def test_what_was_built_stays_untested_while_a_test_is_left_out(raw: Raw) -> None:
    is_tested = "select tested_until = built_until from bookkeeping.builds"
    raw.load(2, {"id": "1"})
    assert raw.dbt.run(raw.destination.path, "run")[0] == 0
    raw.build("--select", "stg_patients")
    assert raw.destination.query(is_tested) == [(False,)]
    raw.build()
    assert raw.destination.query(is_tested) == [(True,)]


def test_who_was_deleted_and_returned_is_no_longer_deleted(raw: Raw) -> None:
    [query] = re.findall(r"-- whom has the source deleted\?\n(.*?);", (PROJECT / "README.md").read_text(), re.DOTALL)
    raw.load(2, {"id": "1"}, {"id": "2"})
    raw.load(3, *({"id": key, "updated_at": "null", "_sdc_deleted_at": at(3)} for key in ("1", "2")))
    raw.load(4, {"id": "1"})
    raw.build()
    assert raw.destination.query(query) == [(2, datetime(2024, 1, 1, 3))]  # noqa: DTZ001 -- UTC


def test_a_patient_without_created_at_is_new(raw: Raw) -> None:
    raw.execute(
        "insert into raw.patients (id, created_at, updated_at, _sdc_extracted_at, _sdc_batched_at) "
        "select 1, null, now() at time zone 'UTC', now() at time zone 'UTC', now() at time zone 'UTC'"
    )
    raw.build()
    query = (PROJECT / "transform/analyses/who_is_new_or_deleted.sql").read_text()
    assert [event for _, *event in raw.destination.query(query)] == [["created", 1]]


MUTATIONS = {
    "a version that repeats the one before": (
        "versions_follow_each_other",
        "update main.patients_history set email = 'a' where version_number = 2",
    ),
    "an empty interval": (
        "versions_follow_each_other",
        "update main.patients_history set valid_to = valid_from where version_number = 1",
    ),
    "an overlap": (
        "versions_follow_each_other",
        "update main.patients_history set valid_to = valid_to + interval 1 day where version_number = 1",
    ),
    "a gap without a deletion": (
        "versions_follow_each_other",
        "update main.patients_history set valid_to = valid_to - interval 1 minute where version_number = 1",
    ),
    "two current versions": (
        "versions_follow_each_other",
        "update main.patients_history set valid_to = null, is_current = true, ended_by = null",
    ),
    "a version that is neither current nor ended": (
        "versions_follow_each_other",
        "update main.patients_history set is_current = false",
    ),
    "an end of no kind": (
        "versions_follow_each_other",
        "update main.patients_history set ended_by = 'other' where ended_by = 'change'",
    ),
    "a current version that was ended": (
        "versions_follow_each_other",
        "update main.patients_history set ended_by = 'deletion' where is_current",
    ),
    "two versions of one number": (
        "versions_follow_each_other",
        "insert into main.patients_history from main.patients_history where version_number = 2",
    ),
    "a patient without a history": (
        "every_patient_in_raw_has_a_history",
        "delete from main.patients_history where patient_id = 2",
    ),
    "an observation that no build sees": (
        "every_patient_in_raw_has_a_history",
        "insert into raw.patients (id) values (1)",
    ),
    "fewer patients than the source": (
        "current_patients_are_those_of_the_source",
        "update raw.syncs set total_items_after = 3",
    ),
    "a run that is told twice": ("every_sync_is_told_once", "insert into raw.syncs from raw.syncs limit 1"),
    "a kind that nobody knows": ("every_sync_is_told_once", "update raw.syncs set kind = 'other'"),
}


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory, dbt: Dbt) -> Raw:
    """Two patients, of which one was changed, built and not tested; all data tests pass."""
    folder = tmp_path_factory.mktemp("tested")
    raw = Raw(folder / "patients.duckdb", dbt)
    raw.build()
    raw.load(2, {"id": "1", "email": "'a'"}, {"id": "2", "email": "'b'"})
    raw.load(3, {"id": "1", "email": "'c'", "updated_at": at(2)})
    raw.execute("update raw.syncs set total_items_after = 2")
    assert dbt.run(raw.destination.path, "run")[0] == 0
    copy = raw.destination.copy(folder / "copy.duckdb")
    output = dbt.run(copy.path, "test", "--exclude-resource-type", "unit_test")[1]
    assert "PASS=7 WARN=0 ERROR=0" in output, output
    return raw


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_data_test_finds(tested: Raw, tmp_path: Path, dbt: Dbt, name: str) -> None:
    test, statement = MUTATIONS[name]
    changed = Raw(tmp_path / "changed.duckdb", dbt)
    tested.destination.copy(changed.destination.path)
    changed.execute(statement)
    assert re.search("Got [1-3] results?, ", dbt.run(changed.destination.path, "test", "--select", test)[1])
