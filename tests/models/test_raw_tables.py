"""The models on unusual raw tables: types, names, new columns, wrong clocks, failed runs, wrong data."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from support import PROJECT, Destination

from toubib_connector.sql import query

if TYPE_CHECKING:
    from pathlib import Path

    from dbt_process import Dbt


def at(hour: int, minute: int = 0) -> str:
    return f"timestamptz '2024-01-01 {hour:02}:{minute:02}:00Z'"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class Raw:
    """A destination and the loader's changes to its raw tables; each hour has a run."""

    def __init__(self, path: Path, dbt: Dbt) -> None:
        self.destination = Destination(path)
        self.dbt = dbt

    def execute(self, *statements: str) -> None:
        with duckdb.connect(str(self.destination.path)) as connection:
            for statement in statements:
                connection.execute(statement)

    def load(self, hour: int, *patients: dict[str, str], kind: str = "full", clock: int | None = None) -> None:
        """Append observations, given as SQL, and the row of their run.

        Args:
            hour: The hour of the run.
            patients: Values by column.
            kind: The kind of the run; empty for a killed run.
            clock: The hour on the tap's clock, if it differs.
        """
        read = hour if clock is None else clock
        instants = {
            "_sdc_sync_started_at": at(read),
            "_sdc_extracted_at": at(read, 30),
            "_sdc_batched_at": at(hour, 50),
        }
        rows = [{"updated_at": at(1), **patient, **instants} for patient in patients]
        self.execute(
            *(
                f"insert into raw.patients ({', '.join(map(quoted, row))}) values ({', '.join(row.values())})"
                for row in rows
            ),
            *(
                f"insert into raw.syncs (started_at, ended_at, kind, _sdc_batched_at) "
                f"values ({at(read)}, {at(read, 40)}, '{kind}', {at(hour, 50)})"
                for _ in filter(None, [kind])
            ),
        )

    def change_type(self, name: str, hour: int, kind: str) -> None:
        """Rename a column as the loader does when its type changes."""
        self.execute(
            f"alter table raw.patients rename column {name} to {name}_20240101_{hour:02}00",
            f"alter table raw.patients add column {name} {kind}",
        )

    def build(self, *arguments: str) -> str:
        return self.dbt.build(self.destination.path, *arguments)

    def compact(self) -> None:
        code, output = self.dbt.run(self.destination.path, "run-operation", "compact_raw")
        assert code == 0, output

    def count(self, table: str) -> int:
        [(rows,)] = self.destination.query(f"select count(*) from {table}")
        return int(rows)

    def versions(self, *columns: str) -> list[tuple[object, ...]]:
        names = ", ".join(("patient_version_id", *columns))
        return self.destination.query(f"select {names} from main.patients_history order by valid_from, patient_id")

    def assert_rebuilt_the_same(self) -> None:
        before = self.destination.rows("main.patients_history")
        self.build("--full-refresh")
        assert self.destination.rows("main.patients_history") == before


HOURS = "strftime(valid_from, '%H:%M')", "strftime(valid_to, '%H:%M')"


@pytest.fixture
def raw(empty: Destination, dbt: Dbt) -> Raw:
    """The empty tables."""
    return Raw(empty.path, dbt)


def test_ids_can_be_texts_and_become_texts(raw: Raw) -> None:
    raw.load(2, {"id": "1", "email": "'a'"})
    raw.build()
    raw.change_type("id", 3, "varchar")
    raw.load(3, {"id": "'1'", "email": "'b'", "updated_at": at(2)}, {"id": "'00x'", "email": "'c'"})
    raw.build()
    assert raw.versions("email") == [("00x-1", "c"), ("1-1", "a"), ("1-2", "b")]
    for table in ("main.patients", "main.patients_history", "main.patient_changes", "main.patients_as_of(now())"):
        assert raw.destination.columns(table)["patient_id"] == "VARCHAR"
    assert "id_20240101_0300" not in raw.destination.columns("main.patients")
    raw.assert_rebuilt_the_same()


def test_a_column_can_have_any_name(raw: Raw) -> None:
    names = ["prénom.b", "select", "1st", "at", "content", "position", "era", "field", "patient", "seen_at"]
    names += ["is_deletion", "started_at", "kind", "old", "versions"]
    # the history has these names itself
    taken = ["patient_version_id", "patient_id", "observed_at", "sync_started_at", "version_number", "valid_from"]
    taken += ["valid_to", "is_current", "ended_by"]
    shown = {name: name for name in names} | {name: f"source_{name}" for name in taken}
    raw.load(2, {"id": "1"})
    raw.build()
    raw.execute(*(f"alter table raw.patients add column {quoted(name)} varchar" for name in shown))
    raw.load(3, {"id": "1"} | dict.fromkeys(shown, "'a'"))
    raw.build()
    raw.load(4, {"id": "1", "updated_at": at(2)} | dict.fromkeys(shown, "'b'"))
    raw.build()
    changes = raw.destination.query("select field, old, new from main.patient_changes order by field")
    assert changes == sorted((name, "a", "b") for name in shown.values())
    then = raw.destination.query('select patient_id, "at", content from main.patients_as_of(now())')
    assert then == [(1, "b", "b")]
    comments = "select count(*) from duckdb_columns() where table_name = 'patients_history' and comment is null"
    assert raw.destination.query(comments) == [(0,)]
    raw.assert_rebuilt_the_same()


def test_a_column_that_appears_makes_no_version_until_the_patient_changes(raw: Raw) -> None:
    raw.load(2, {"id": "1"}, {"id": "2"})
    raw.build()
    raw.execute("alter table raw.patients add column ward bigint")
    raw.load(3, {"id": "1", "ward": "7"})
    raw.build()
    raw.load(4, {"id": "1", "ward": "8", "updated_at": at(3)})
    raw.build()
    assert raw.versions("ward") == [("1-1", 7), ("2-1", None), ("1-2", 8)]
    assert raw.destination.columns("main.patients")["ward"] == "BIGINT"
    raw.assert_rebuilt_the_same()


def test_a_column_whose_type_changes_stays_beside_the_new_one(raw: Raw) -> None:
    raw.execute("alter table raw.patients add column ward bigint")
    raw.load(2, {"id": "1", "ward": "7"}, {"id": "2", "ward": "8"})
    raw.build()
    raw.change_type("ward", 3, "varchar")
    raw.load(3, {"id": "1", "ward": "'x'", "updated_at": at(2)}, {"id": "2", "ward": "'8'"})
    raw.build()
    assert raw.versions("ward_20240101_0300", "ward") == [("1-1", 7, None), ("2-1", 8, "8"), ("1-2", None, "x")]
    raw.assert_rebuilt_the_same()


def test_an_updated_at_that_becomes_text_still_orders_the_versions(raw: Raw) -> None:
    raw.load(2, {"id": "1", "email": "'a'"})
    raw.build()
    raw.change_type("updated_at", 3, "varchar")
    raw.load(3, {"id": "1", "email": "'b'", "updated_at": "'2024-01-01T02:30:00'"})
    raw.load(4, {"id": "1", "email": "'b'", "updated_at": "'not an instant'"})
    raw.build()
    assert raw.versions("email", *HOURS) == [("1-1", "a", "01:00", "02:30"), ("1-2", "b", "02:30", None)]
    raw.assert_rebuilt_the_same()


def test_an_index_does_not_block_a_column_that_appears(raw: Raw) -> None:
    raw.load(2, {"id": "1"})
    raw.build()
    raw.execute(
        "create index by_name on main.patients_history (last_name)", "alter table raw.patients add column ward bigint"
    )
    raw.load(3, {"id": "1", "ward": "7", "updated_at": at(2)})
    raw.build()
    assert raw.versions("ward") == [("1-1", None), ("1-2", 7)]


def test_a_run_whose_clock_was_ahead_is_corrected_by_the_next_one(raw: Raw) -> None:
    patient, other = {"id": "1", "email": "'a'"}, {"id": "2", "email": "'b'"}
    raw.load(2, patient, other)
    raw.build()
    tombstone = {"id": "1", "updated_at": "null", "_sdc_deleted_at": at(20, 30)}
    raw.load(3, tombstone, other | {"email": "'c'"}, clock=20)
    raw.build()
    assert raw.destination.query("select patient_id from main.patients") == [(2,)]
    raw.load(4, patient, kind="changes")
    raw.build()
    raw.load(5, patient, other)
    raw.build()
    # a microsecond before the next run began
    assert raw.versions("email", *HOURS, "ended_by", "strftime(observed_at, '%H:%M')") == [
        ("1-1", "a", "01:00", "03:59", "deletion", "02:30"),
        ("2-1", "b", "01:00", "03:59", "change", "02:30"),
        ("2-2", "c", "03:59", "05:30", "change", "03:59"),
        ("1-2", "a", "04:30", None, None, "04:30"),
        ("2-3", "b", "05:30", None, None, "05:30"),
    ]
    assert raw.destination.rows("main.patients") == raw.destination.rows("main.patients_as_of(now())")
    raw.assert_rebuilt_the_same()


def test_compaction_drops_a_full_refresh_that_found_nothing_new(raw: Raw) -> None:
    late = {"id": "5", "email": "'a'"}
    later = late | {"email": "'b'", "updated_at": at(1, 30)}
    raw.load(
        2, {"id": "1"}, {"id": "2"}, {"id": "3"}, {"id": "4", "updated_at": at(9)}, later, {"id": "6", "email": "'d'"}
    )
    raw.build()
    raw.execute(
        "insert into raw.rejected_records (id, reason, _sdc_batched_at) values ('9', 'bad', now()), ('9', 'bad', now())"
    )
    raw.load(3, {"id": "2", "email": "'b'", "updated_at": at(2)}, late, kind="changes")
    raw.build()
    again = [{"id": "1"}, {"id": "2"}, {"id": "3", "updated_at": at(3)}, {"id": "4", "updated_at": at(9)}]
    raw.load(4, *again, late, {"id": "6", "email": "'c'"})
    raw.compact()
    new = "select id from raw.patients where _sdc_sync_started_at = '2024-01-01 04:00:00Z' order by id"
    # 2: restored; 3: `updated_at` is later; 4: it was in the future; 5: restored to what was seen late; 6: changed
    assert raw.destination.query(new) == [(2,), (3,), (4,), (5,), (6,)]
    assert raw.count("raw.rejected_records") == 1
    raw.build()
    assert [f"{key} {email}" for key, email in raw.versions("email")] == [
        *("1-1 None", "2-1 None", "3-1 None", "5-1 a", "6-1 d", "5-2 b", "2-2 b", "4-1 None"),
        *("2-3 None", "5-3 a", "6-2 c"),
    ]


def test_a_run_that_did_not_end_is_built_and_its_repetitions_are_compacted_too(raw: Raw) -> None:
    raw.load(2, {"id": "1"})
    raw.build()
    raw.load(3, {"id": "1"}, {"id": "2"}, kind="")
    raw.load(4, {"id": "1"})
    raw.compact()
    assert raw.count("raw.patients") == 2
    raw.build()
    assert raw.versions() == [("1-1",), ("2-1",)]


def test_compaction_keeps_what_was_built(raw: Raw) -> None:
    raw.load(2, {"id": "1"}, clock=9)
    # seen before and loaded after: the clock was ahead
    raw.load(3, {"id": "1"})
    raw.build()
    raw.load(11, {"id": "1"})
    raw.compact()
    assert raw.count("raw.patients") == 2


def test_no_build_drops_anything_from_raw(raw: Raw) -> None:
    for hour in (2, 3):
        raw.load(hour, {"id": "1"}, {"id": "1"})
        raw.build()
    assert raw.count("raw.patients") == 4


def test_rows_loaded_after_a_build_are_in_the_next_build_even_if_it_fails_at_first(raw: Raw) -> None:
    raw.load(2, {"id": "1"})
    raw.build()
    built = """
      select built_until = (select max(_sdc_batched_at) from raw.syncs), tested_until < built_until
      from bookkeeping.builds
    """
    assert raw.destination.query(built) == [(True, True)]
    raw.load(3, {"id": "1", "updated_at": at(2), "email": "'a'"}, {"id": "2"}, {"id": "3"})
    # rows of the new versions are written before one of them fails
    raw.execute("create unique index one_patient_without_email on main.patients_history (coalesce(email, ''))")
    code, printed = raw.dbt.run(raw.destination.path, "build")
    assert code == 1
    assert "Constraint Error" in printed
    assert raw.versions("is_current") == [("1-1", True)]
    raw.execute("drop index main.one_patient_without_email", "update raw.syncs set kind = 'other'")
    assert raw.dbt.run(raw.destination.path, "build")[0] == 1
    raw.execute("update raw.syncs set kind = 'full'")
    raw.build()
    assert raw.versions("is_current") == [("1-1", False), ("2-1", True), ("3-1", True), ("1-2", True)]


def test_rows_loaded_after_the_clock_was_set_back_are_built(raw: Raw) -> None:
    raw.load(2, {"id": "1"})
    raw.build()
    raw.execute("update bookkeeping.builds set built_until = '2999-01-01'")
    raw.load(3, {"id": "2"})
    raw.build()
    assert raw.versions() == [("1-1",), ("2-1",)]


def test_a_patient_that_returned_is_not_deleted(raw: Raw) -> None:
    readme = (PROJECT / "README.md").read_text()
    [query] = re.findall(r"-- which patients were deleted from the source\?\n(.*?);", readme, re.DOTALL)
    raw.load(2, {"id": "1"}, {"id": "2"})
    raw.load(3, *({"id": key, "updated_at": "null", "_sdc_deleted_at": at(3, 30)} for key in ("1", "2")))
    raw.load(4, {"id": "1"})
    raw.build()
    assert raw.destination.query(f"select columns(*)::varchar from ({query})") == [("2", "2024-01-01 03:30:00+00")]


def test_a_patient_without_created_at_is_new(raw: Raw) -> None:
    raw.execute(
        "insert into raw.patients (id, updated_at, _sdc_extracted_at, _sdc_batched_at) select 1, now(), now(), now()"
    )
    raw.build()
    query = (PROJECT / "transform/analyses/who_is_new_or_deleted.sql").read_text()
    assert [event for _, *event in raw.destination.query(query)] == [["created", 1]]


def load_run(raw: Raw, hour: int, *patients: int, deleted: int = 0, kind: str = "changes") -> None:
    """Append changed patients, each created at the hour of its id, and a deleted one."""
    tombstones = [{"id": str(deleted), "updated_at": "null", "_sdc_deleted_at": at(hour, 30)}] if deleted else []
    changed = [{"id": str(key), "created_at": at(key), "email": f"'{hour}'"} for key in patients]
    raw.load(hour, *changed, *tombstones, kind=kind)


def numbers_of_last_run(raw: Raw, built_until: datetime | None = None) -> dict[str, Any]:
    """Return the numbers that are not 0, of a run whose bookmark was at 8 o'clock."""
    raw.execute(f"update raw.syncs set bookmark_before = {at(8)} where started_at = {at(20)}")
    raw.build()
    with raw.destination.connect() as connection:
        [numbers] = query(connection, "last_run", built_until=built_until)
    return {name: number for name, number in numbers.items() if number}


def build(raw: Raw) -> datetime:
    """Build, and return when the newest observation was loaded."""
    raw.build()
    [(built_until,)] = raw.destination.query("select built_until from bookkeeping.builds")
    assert isinstance(built_until, datetime)
    return built_until


def test_a_run_that_found_nothing_has_no_numbers(raw: Raw) -> None:
    load_run(raw, 10, 1, 2)
    built_until = build(raw)
    load_run(raw, 20)
    raw.execute(f"update raw.syncs set records = 7, rejected = 1, requests = 4 where started_at = {at(20)}")
    passed_on = {"kind": "changes", "read": 7, "rejected": 1, "requests": 4}
    assert numbers_of_last_run(raw, built_until) == passed_on | {"patients": 2}


def test_each_patient_counts_for_one_kind_of_change(raw: Raw) -> None:
    load_run(raw, 10, 1, 2, 3, 4)
    load_run(raw, 12, deleted=4)
    built_until = build(raw)
    load_run(raw, 15, 1, kind="")
    load_run(raw, 20, 2, 4, 9, 5, deleted=3)
    # 4 returned; 5 was created before the bookmark of the run before, which missed it
    expected = {"new": 1, "changed": 2, "deleted": 1, "returned": 1, "recovered": 1, "patients": 5}
    assert numbers_of_last_run(raw, built_until) == expected | {"kind": "changes"}


def test_a_run_counts_the_changes_that_a_failed_run_had_loaded(raw: Raw) -> None:
    load_run(raw, 10, 1, 2)
    built_until = build(raw)
    load_run(raw, 15, 1, 11, 12, deleted=2, kind="")
    load_run(raw, 20, 13)
    expected = {"kind": "changes", "new": 3, "changed": 1, "deleted": 1, "patients": 4}
    assert numbers_of_last_run(raw, built_until) == expected


def test_a_first_load_in_two_parts_counts_all_patients(raw: Raw) -> None:
    load_run(raw, 15, 1, 2, 9, kind="")
    load_run(raw, 20, 10, 11, kind="first_load")
    assert numbers_of_last_run(raw) == {"kind": "first_load", "new": 5, "patients": 5}


MUTATIONS = {
    "versions_follow_each_other": [
        "update main.patients_history set email = 'a' where version_number = 2",
        "update main.patients_history set valid_to = valid_from where version_number = 1",
        "update main.patients_history set valid_to = valid_to + interval 1 day where version_number = 1",
        "update main.patients_history set valid_to = valid_to - interval 1 minute where version_number = 1",
        "update main.patients_history set valid_to = null, is_current = true, ended_by = null",
        "update main.patients_history set is_current = false",
        "update main.patients_history set ended_by = 'other' where ended_by = 'change'",
        "update main.patients_history set ended_by = 'deletion' where is_current",
        "update main.patients_history set version_number = version_number + 1",
    ],
    "every_patient_in_raw_has_a_history": ["delete from main.patients_history where patient_id = 2"],
    "not_null_stg_patients__sdc_batched_at": ["insert into raw.patients (id) values (1)"],
    "not_null_patients_history_patient_version_id": [
        "update main.patients_history set patient_version_id = null where patient_id = 2"
    ],
    "unique_patients_history_patient_version_id": [
        "insert into main.patients_history from main.patients_history where version_number = 2"
    ],
    "unique_patients_patient_id": ["insert into main.patients_history from main.patients_history where is_current"],
    "not_null_patients_patient_id": ["insert into main.patients_history (is_current) values (true)"],
    "current_patients_are_those_of_the_source": ["update raw.syncs set total_items_after = 3"],
    "unique_syncs_started_at": ["insert into raw.syncs from raw.syncs limit 1"],
    "not_null_syncs_started_at": ["update raw.syncs set started_at = null"],
    "accepted_values_syncs_kind": ["update raw.syncs set kind = 'other'"],
}
"""Rows that make each data test fail."""


@pytest.fixture(scope="module")
def tested(tmp_path_factory: pytest.TempPathFactory, dbt: Dbt) -> Raw:
    """Two patients, one of them changed, built and not tested; all data tests pass."""
    folder = tmp_path_factory.mktemp("tested")
    raw = Raw(folder / "patients.duckdb", dbt)
    raw.build()
    raw.load(2, {"id": "1", "email": "'a'"}, {"id": "2", "email": "'b'"})
    raw.load(3, {"id": "1", "email": "'c'", "updated_at": at(2)})
    raw.execute("update raw.syncs set total_items_after = 2")
    assert dbt.run(raw.destination.path, "run")[0] == 0
    copy = raw.destination.copy(folder / "copy.duckdb")
    output = dbt.run(copy.path, "test")[1]
    assert "PASS=13 WARN=0 ERROR=0" in output, output
    return raw


@pytest.mark.parametrize(
    ("test", "statement"), [(test, statement) for test, statements in MUTATIONS.items() for statement in statements]
)
def test_a_data_test_finds(tested: Raw, tmp_path: Path, dbt: Dbt, test: str, statement: str) -> None:
    changed = Raw(tmp_path / "changed.duckdb", dbt)
    tested.destination.copy(changed.destination.path)
    changed.execute(statement)
    assert re.search("Got [1-3] results?, ", dbt.run(changed.destination.path, "test", "--select", f"{test}*")[1])


@pytest.mark.parametrize(
    ("kinds", "is_in_order"), [("fc", True), ("ff", False), ("fcf", False), ("ffu", True), ("cf", False)]
)
def test_a_load_without_state_is_an_error_until_a_full_refresh(raw: Raw, kinds: str, is_in_order: bool) -> None:  # noqa: FBT001
    names = {"f": "first_load", "c": "changes", "u": "full"}
    for hour, kind in enumerate(kinds, start=2):
        raw.load(hour, {"id": "1"}, kind=names[kind])
    code, printed = raw.dbt.run(raw.destination.path, "build")
    assert (code == 0) == is_in_order
    assert ("Failure in test a_run_without_state_needs_a_full_refresh" in printed) != is_in_order
