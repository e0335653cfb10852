"""The target, message by message, on a DuckDB file."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from target_duckdb_append.errors import LoadError
from target_duckdb_append.loader import Loader

Message = dict[str, Any]

PROPERTIES = {
    "id": {"type": ["integer"], "maximum": 2**63 - 1},
    "name": {"type": ["string", "null"]},
    "born": {"type": ["string", "null"], "format": "date"},
    "updated_at": {"type": ["string", "null"], "format": "date-time"},
}
VALUE = "Mephistopheles"


def schema(properties: Message | None = None, *, stream: str = "patients", keys: tuple[str, ...] = ()) -> Message:
    described = {"properties": PROPERTIES | (properties or {})}
    return {"type": "SCHEMA", "stream": stream, "key_properties": list(keys), "schema": described}


def record(stream: str = "patients", /, **values: Any) -> Message:
    return {"type": "RECORD", "stream": stream, "record": values, "time_extracted": "2024-05-01T10:00:00.000001+00:00"}


def state(value: int) -> Message:
    return {"type": "STATE", "value": {"bookmark": value}}


def batch(*files: Path, **encoding: str) -> Message:
    manifest = [file.as_uri() for file in files]
    return {"type": "BATCH", "stream": "patients", "encoding": {"format": "jsonl"} | encoding, "manifest": manifest}


@dataclass
class Target:
    """Loads messages into a file, and keeps what it passes on."""

    path: Path
    folder: Path
    states: list[int] = field(default_factory=list)

    def load(self, *messages: Message, **config: Any) -> None:
        self.load_lines((json.dumps(message).encode() for message in messages), **config)

    def load_lines(self, lines: Iterable[bytes], **config: Any) -> None:
        config = {"default_target_schema": "raw", "add_metadata_columns": True, "temp_dir": str(self.folder)} | config
        with duckdb.connect(str(self.path)) as connection:
            Loader(connection, config, lambda passed: self.states.append(passed["bookmark"])).load(lines)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.path)) as connection:
            return connection.execute(sql).fetchall()

    @property
    def names(self) -> list[tuple[Any, ...]]:
        return self.query("select id, name from raw.patients order by id, name")

    @property
    def types(self) -> dict[str, str]:
        return dict(self.query("select column_name, data_type from duckdb_columns() where table_name = 'patients'"))


@pytest.fixture
def target(tmp_path: Path) -> Target:
    folder = tmp_path / "collected"
    folder.mkdir()
    return Target(tmp_path / "patients.duckdb", folder)


def write(file: Path, *records: Message) -> Path:
    text = "".join(json.dumps(each) + "\n" for each in records).encode()
    file.write_bytes(gzip.compress(text) if file.suffix == ".gz" else text)
    return file


@pytest.mark.parametrize("count", [0, 1, 999, 1_000, 2_500])
def test_every_record_is_loaded(target: Target, count: int) -> None:
    records = [record(id=number, name=f"name {number}") for number in range(count)]
    target.load(schema(), *records, batch_size_rows=1_000)
    assert target.names == [(number, f"name {number}") for number in range(count)]
    assert list(target.folder.iterdir()) == []


@pytest.mark.parametrize("suffix", [".jsonl", ".json.gz"])
def test_the_files_of_a_batch_are_loaded_and_removed(target: Target, tmp_path: Path, suffix: str) -> None:
    folder = tmp_path / "a folder of 100%20 'files'"
    folder.mkdir()
    files = [write(folder / f"{number}*{suffix}", {"id": number, "name": ""}) for number in (1, 2)]
    # DuckDB would read it, too, if the name above were a pattern
    other = write(folder / f"1 of another{suffix}", {"id": 3})
    target.load(schema(), batch(*files, compression="gzip" if suffix.endswith("gz") else "none"))
    assert target.names == [(1, ""), (2, "")]
    assert list(folder.iterdir()) == [other]


VALUES = ["", " ", "NULL", "\\N", "null", '"', "'", ",", "\r\n", "\t", "\0", "\u2028", "😀", "x" * 300_000]


@pytest.mark.parametrize("way", ["records", "batch"])
def test_a_text_arrives_as_it_is(target: Target, tmp_path: Path, way: str) -> None:
    records: list[Message] = [{"id": number, "name": value} for number, value in enumerate([*VALUES, None])]
    if way == "batch":
        target.load(schema(), batch(write(tmp_path / "batch.jsonl", *records)))
    else:
        target.load(schema(), *(record(**each) for each in records))
    assert [name for _, name in target.names] == [*VALUES, None]


@settings(max_examples=25, deadline=None)
@given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_any_text_arrives_as_it_is(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    target = Target(folder / "patients.duckdb", folder)
    target.load(schema(), *(record(id=number, name=name) for number, name in enumerate(names)))
    assert [name for _, name in target.names] == names


def test_a_text_of_many_megabytes_arrives(target: Target) -> None:
    text = "x" * 40_000_000
    target.load(schema(), record(id=1, name=text))
    assert target.names == [(1, text)]


def test_dates_and_instants_have_their_types_and_heed_offsets(target: Target) -> None:
    target.load(
        schema(),
        record(id=1, born="1980-02-29", updated_at="2024-01-01T01:00:00+02:00"),
        record(id=2, updated_at="2024-01-01T01:00:00.123456Z"),
        record(id=3, updated_at="2024-01-01T01:00:00"),
        record(id=4, _sdc_deleted_at="2024-02-01T00:00:00.000000Z"),
    )
    rows = target.query("select born, updated_at, _sdc_extracted_at, _sdc_deleted_at from raw.patients order by id")
    extracted_at = datetime(2024, 5, 1, 10, microsecond=1)  # noqa: DTZ001 (as DuckDB has it)
    assert rows == [
        (date(1980, 2, 29), datetime(2023, 12, 31, 23), extracted_at, None),  # noqa: DTZ001
        (None, datetime(2024, 1, 1, 1, microsecond=123456), extracted_at, None),  # noqa: DTZ001
        (None, datetime(2024, 1, 1, 1), extracted_at, None),  # noqa: DTZ001
        (None, None, extracted_at, datetime(2024, 2, 1)),  # noqa: DTZ001
    ]
    [(batched_at,)] = target.query("select distinct _sdc_batched_at from raw.patients")
    assert abs(datetime.now(UTC).replace(tzinfo=None) - batched_at) < timedelta(minutes=1)


def test_it_appends_whatever_the_keys_are(target: Target) -> None:
    keyed = schema(keys=("id",))
    for name in ("first", "second"):
        target.load(keyed, record(id=1, name=name), record(id=1, name=name), hard_delete=True)
    target.load(keyed, record(id=1, _sdc_deleted_at="2024-02-01T00:00:00Z"), hard_delete=True)
    assert target.names == [(1, "first"), (1, "first"), (1, "second"), (1, "second"), (1, None)]


def test_a_table_that_was_made_with_a_primary_key_takes_any_row(target: Target) -> None:
    target.query("create schema raw")
    target.query("create table raw.patients (id bigint primary key, name varchar)")
    target.query("insert into raw.patients values (1, 'first')")
    for name in ("second", "third"):
        target.load(schema(), record(id=1, name=name))
    assert target.names == [(1, "first"), (1, "second"), (1, "third")]


def test_the_columns_of_an_empty_table_are_put_in_the_order_of_the_schema(target: Target) -> None:
    target.query("create schema raw")
    target.query("create table raw.patients (_sdc_batched_at timestamp, name varchar, id varchar)")
    target.load(schema(), record(id=1, name="x"))
    metadata = ["_sdc_extracted_at", "_sdc_batched_at", "_sdc_deleted_at"]
    assert list(target.types) == [*PROPERTIES, *metadata]
    assert target.names == [(1, "x")]


def test_a_new_column_is_added(target: Target) -> None:
    target.load(schema(), record(id=1))
    target.load(schema({"insurance": {"type": ["string", "null"]}}), record(id=2, insurance="x"))
    assert target.query("select insurance from raw.patients order by id") == [(None,), ("x",)]


def test_a_column_without_a_comment_gets_the_description_of_its_property(target: Target) -> None:
    insurer = {"type": ["string", "null"], "description": "The patient's insurer"}
    target.load(schema(), record(id=1, name="a"))
    target.query("comment on column raw.patients.name is 'A name'")
    target.load(schema({"insurer": insurer, "name": {"type": ["string", "null"], "description": "Another"}}))
    comments = "select column_name, comment from duckdb_columns() where schema_name = 'raw' and comment is not null"
    assert sorted(target.query(comments)) == [("insurer", "The patient's insurer"), ("name", "A name")]


def test_a_column_whose_type_changes_is_kept_beside_the_new_one_twice_in_a_minute(target: Target) -> None:
    types: list[Message] = [{"type": ["string", "null"]}, {"type": ["boolean", "null"]}, {"type": ["number", "null"]}]
    for number, (kind, value) in enumerate(zip(types, ["a", True, 1.5], strict=True)):
        target.load(schema({"extra": kind}), record(id=number, extra=value))
    extras = [name for name in target.types if name.startswith("extra")]
    rows = target.query(f"select * from (select {', '.join(extras)} from raw.patients order by id)")
    assert len(extras) == 3
    assert target.types["extra"] == "DOUBLE"
    assert sorted(str(value) for row in rows for value in row if value is not None) == ["1.5", "True", "a"]


@pytest.mark.parametrize("name", ["prénom", "it's", "a.b", "a__b", "名前", "select", "with space", "UPPER", "PRÉNOM"])
def test_a_column_of_any_name_is_loaded(target: Target, name: str) -> None:
    target.load(schema({name: {"type": ["string", "null"]}}), record(id=1, **{name: "x"}))
    assert target.query(f'select "{name.lower()}" from raw.patients') == [("x",)]


class TestStates:
    def test_a_state_is_passed_on_when_everything_before_it_is_committed(self, target: Target) -> None:
        committed: list[int] = []

        def lines() -> Iterable[bytes]:
            for message in [
                *(schema(), record(id=1), state(1), record(id=2), record(id=3), state(2), record(id=4), state(3))
            ]:
                yield json.dumps(message).encode()
                committed.append(len(target.states))

        target.load_lines(lines(), batch_size_rows=2)
        # the second record fills a batch of two: with it the first state is due; the fourth one fills another
        assert committed == [0, 0, 0, 1, 1, 1, 2, 3]
        assert target.states == [1, 2, 3]

    def test_a_state_behind_a_batch_is_passed_on_at_once(self, target: Target, tmp_path: Path) -> None:
        seen: list[list[int]] = []

        def lines() -> Iterable[bytes]:
            for number in (1, 2):
                yield json.dumps(schema()).encode()
                yield json.dumps(batch(write(tmp_path / f"{number}.jsonl", {"id": number}))).encode()
                yield json.dumps(state(number)).encode()
                seen.append(list(target.states))

        target.load_lines(lines())
        assert seen == [[1], [1, 2]]
        assert target.states == [1, 2]

    def test_a_state_waits_for_the_records_of_every_stream(self, target: Target, tmp_path: Path) -> None:
        other = schema(stream="syncs")
        file = write(tmp_path / "1.jsonl", {"id": 1})
        bad = record("syncs", id="not a number")
        with pytest.raises(LoadError):
            target.load(schema(), other, bad, batch(file), state(1))
        assert target.states == []

    def test_without_records_the_state_is_passed_on(self, target: Target) -> None:
        target.load(state(1), state(2))
        assert target.states == [1, 2]


class TestFailures:
    @pytest.mark.parametrize(
        ("name", "value"),
        [("id", VALUE), ("id", 2**63), ("born", VALUE), ("born", "2024-02-30"), ("updated_at", VALUE)],
    )
    def test_a_value_that_does_not_fit_ends_the_load_naming_stream_and_field(
        self, target: Target, name: str, value: Any
    ) -> None:
        with pytest.raises(LoadError) as failure:
            target.load(schema(), record(id=1), state(1), record(**{"id": 2, name: value}), state(2))
        assert f"Cannot load patients: a value of the field {name} does not fit its type" in str(failure.value)
        assert str(value) not in str(failure.value)
        assert target.query("select count(*) from raw.patients") == [(0,)]

    def test_a_constraint_of_an_analyst_is_told_without_the_value(self, target: Target) -> None:
        target.load(schema(), record(id=0))
        target.query("create unique index names on raw.patients (name)")
        with pytest.raises(LoadError, match=r"^Cannot load patients: ConstraintException$"):
            target.load(schema(), record(id=1, name=VALUE), record(id=2, name=VALUE))

    def test_the_files_of_a_batch_are_loaded_all_or_none(self, target: Target, tmp_path: Path) -> None:
        files = [write(tmp_path / "1.jsonl", {"id": 1}), write(tmp_path / "2.jsonl", {"id": VALUE})]
        with pytest.raises(LoadError):
            target.load(schema(), batch(*files), state(1))
        assert target.names == []
        assert target.states == []
        assert all(file.exists() for file in files)

    @pytest.mark.parametrize("text", [f'{{"id": 1}}\n{{"id": "{VALUE}', VALUE, "\x1f\x8b"])
    def test_a_file_that_does_not_hold_json_lines_is_named(self, target: Target, tmp_path: Path, text: str) -> None:
        file = tmp_path / "cut.jsonl"
        file.write_text(text)
        with pytest.raises(LoadError, match=r"Cannot load patients: cut\.jsonl does not hold JSON Lines"):
            target.load(schema(), batch(file))

    def test_a_file_that_is_missing_is_named(self, target: Target, tmp_path: Path) -> None:
        with pytest.raises(LoadError, match=r"Cannot load patients: .*missing\.jsonl"):
            target.load(schema(), batch(tmp_path / "missing.jsonl"))

    @pytest.mark.parametrize("encoding", [{"format": "parquet"}, {"compression": "zstd"}])
    def test_an_encoding_that_it_does_not_know_is_refused(
        self, target: Target, tmp_path: Path, encoding: dict[str, str]
    ) -> None:
        file = write(tmp_path / "1.jsonl", {"id": 1})
        with pytest.raises(LoadError, match="Cannot load batches of patients in the encoding"):
            target.load(schema(), batch(file, **encoding))
        assert file.exists()

    def test_files_elsewhere_are_refused(self, target: Target) -> None:
        message = {**batch(), "manifest": ["s3://bucket/1.jsonl"]}
        with pytest.raises(LoadError, match="not a local file"):
            target.load(schema(), message)

    @pytest.mark.parametrize("line", [VALUE, "[]", "null", '{"type": "GREETING"}', '{"type": "RECORD', "{}"])
    def test_a_line_that_is_not_a_message_is_named_by_its_number(self, target: Target, line: str) -> None:
        with pytest.raises(LoadError, match=r"^Line 2 of the tap's output is not a Singer message$"):
            target.load_lines([json.dumps(state(1)).encode(), line.encode()])

    def test_data_before_their_schema_are_refused(self, target: Target) -> None:
        with pytest.raises(LoadError, match="The tap sent data of patients before its schema"):
            target.load(record(id=1))

    def test_columns_that_differ_only_in_case_are_refused(self, target: Target) -> None:
        kind = {"type": ["string", "null"]}
        with pytest.raises(LoadError, match=r"^Cannot load patients: Catalog Error: .*name"):
            target.load(schema({"NAME": kind}), record(id=1))


@dataclass(frozen=True)
class CommandLine:
    """The target as Meltano starts it."""

    folder: Path

    def run(self, path: Path, *messages: Message) -> subprocess.CompletedProcess[str]:
        return self.run_with({"filepath": str(path), "default_target_schema": "raw"}, *messages)

    def run_with(self, settings: dict[str, str], *messages: Message) -> subprocess.CompletedProcess[str]:
        config = self.folder / "config.json"
        config.write_text(json.dumps(settings))
        return self.start(config, *messages)

    def start(self, config: Path, *messages: Message) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "target_duckdb_append", "--config", str(config)],
            check=False,
            input="".join(json.dumps(message) + "\n" for message in messages),
            capture_output=True,
            text=True,
        )


@pytest.mark.parametrize("name", ["patients", "a.b.duckdb", ".hidden", "100%20.duckdb", "#?'.db"])
def test_the_command_loads_into_a_file_of_any_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    outcome = CommandLine(tmp_path).run(path, schema(), record(id=1, name="x"), state(1))
    assert (outcome.returncode, outcome.stdout) == (0, '{"bookmark": 1}\n'), outcome.stderr
    with duckdb.connect(str(path)) as connection:
        assert connection.sql("select name from raw.patients").fetchall() == [("x",)]


def test_the_command_ends_with_one_line_that_quotes_no_value(tmp_path: Path) -> None:
    outcome = CommandLine(tmp_path).run(tmp_path / "patients.duckdb", schema(), record(id=VALUE))
    assert outcome.returncode == 1
    assert outcome.stderr.splitlines()[-1] == (
        "Cannot load patients: a value of the field id does not fit its type, bigint"
    )
    assert VALUE not in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_the_command_names_a_file_that_it_cannot_open(tmp_path: Path) -> None:
    path = tmp_path / "text.duckdb"
    path.write_text("something")
    outcome = CommandLine(tmp_path).run(path, schema())
    assert outcome.returncode == 1
    assert str(path) in outcome.stderr.splitlines()[-1]
    assert "Traceback" not in outcome.stderr


def test_the_command_names_a_file_that_path_names(tmp_path: Path) -> None:
    path = tmp_path / "text.duckdb"
    path.write_text("something")
    outcome = CommandLine(tmp_path).run_with({"path": str(path), "default_target_schema": "raw"}, schema())
    assert outcome.returncode == 1
    assert str(path) in outcome.stderr.splitlines()[-1]
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("text", [None, "{", "[]", "\xff"], ids=["missing", "cut", "list", "bytes"])
def test_the_command_tells_of_a_configuration_that_it_cannot_read(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "config.json"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    outcome = CommandLine(tmp_path).start(path)
    assert outcome.returncode == 1
    [line] = outcome.stderr.splitlines()
    assert str(path) in line


def test_the_command_waits_for_somebody_who_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "patients.duckdb"
    duckdb.connect(str(path)).close()
    reader = "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", reader, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        process.stdout.readline()
        leaving = threading.Timer(2, process.communicate)
        leaving.start()
        outcome = CommandLine(tmp_path).run(path, schema(), record(id=1, name="x"), state(1))
        leaving.join()
    assert (outcome.returncode, outcome.stdout) == (0, '{"bookmark": 1}\n'), outcome.stderr


def test_the_command_gives_up_on_a_file_that_somebody_keeps_on_reading(tmp_path: Path) -> None:
    path = tmp_path / "patients.duckdb"
    with duckdb.connect(str(path)):
        outcome = CommandLine(tmp_path).run(path, schema())
    assert outcome.returncode == 1
    assert "Could not set lock on file" in outcome.stderr.splitlines()[-1]
    assert "Traceback" not in outcome.stderr


def test_lines_are_read_as_they_come(target: Target) -> None:
    """What a tap pipes into the target is not kept in memory as a whole."""
    target.load_lines(io.BytesIO(b"\n".join(json.dumps(each).encode() for each in (schema(), record(id=1), state(1)))))
    assert target.names == [(1, None)]
