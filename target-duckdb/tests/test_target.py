"""The target, message by message, on a DuckDB file."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from target_duckdb_append.errors import LoadError
from target_duckdb_append.loader import Loader

Message = dict[str, Any]

TEXT = {"type": ["string", "null"]}
PROPERTIES = {
    "id": {"type": ["integer"], "maximum": 2**63 - 1},
    "name": TEXT,
    "born": TEXT | {"format": "date"},
    "updated_at": TEXT | {"format": "date-time"},
}
METADATA = ["_sdc_extracted_at", "_sdc_batched_at", "_sdc_deleted_at"]
VALUE = "Mephistopheles"
CONFIG = {"default_target_schema": "raw", "add_metadata_columns": True}


def schema(properties: Message | None = None, *, stream: str = "patients", keys: tuple[str, ...] = ()) -> Message:
    described = {"properties": PROPERTIES | (properties or {})}
    return {"type": "SCHEMA", "stream": stream, "key_properties": list(keys), "schema": described}


def record(stream: str = "patients", /, **values: Any) -> Message:
    return {"type": "RECORD", "stream": stream, "record": values, "time_extracted": "2024-05-01T10:00:00.000001+00:00"}


def state(value: int) -> Message:
    return {"type": "STATE", "value": {"bookmark": value}}


def batch(*files: Path, **encoding: Any) -> Message:
    manifest = [file.as_uri() for file in files]
    return {"type": "BATCH", "stream": "patients", "encoding": {"format": "jsonl"} | encoding, "manifest": manifest}


def write(file: Path, *records: Message) -> Path:
    file.write_text("".join(json.dumps(each) + "\n" for each in records))
    return file


@dataclass
class Target:
    """Loads messages into a file, and collects the states that the target passes on."""

    path: Path
    folder: Path
    states: list[int] = field(default_factory=list)

    def load(self, *messages: Message, **config: Any) -> None:
        self.load_lines((json.dumps(message).encode() for message in messages), **config)

    def load_lines(self, lines: Iterable[bytes], **config: Any) -> None:
        config = CONFIG | {"batch_size_rows": 100, "temp_dir": str(self.folder)} | config
        with duckdb.connect(str(self.path)) as connection:
            Loader(connection, config, lambda text: self.states.append(json.loads(text)["bookmark"])).load(lines)

    def watch(self, look: Callable[[], Any], *messages: Message, **config: Any) -> list[Any]:
        """Load messages; return the rows and states that are visible after each of them."""
        seen = []

        def lines() -> Iterator[bytes]:
            for message in messages:
                yield json.dumps(message).encode()
                seen.append(look())

        self.load_lines(lines(), **config)
        return seen

    def fail(self, *lines: Message | str) -> str:
        """Load invalid messages; return the error, which never quotes a value."""
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        with pytest.raises(LoadError) as failure:
            self.load_lines(text.encode() for text in texts)
        [message] = str(failure.value).splitlines()
        assert VALUE not in message
        return message

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.path)) as connection:
            connection.execute("set TimeZone = 'UTC'")
            return connection.execute(sql).fetchall()

    @property
    def names(self) -> list[tuple[Any, ...]]:
        return self.query("select id, name from raw.patients order by id, name")

    @property
    def types(self) -> dict[str, str]:
        return dict(self.query("select column_name, data_type from duckdb_columns() where table_name = 'patients'"))

    @property
    def comments(self) -> dict[str, str]:
        query = "select column_name, comment from duckdb_columns() where schema_name = 'raw' and comment is not null"
        return dict(self.query(query))


@pytest.fixture
def target(tmp_path: Path) -> Target:
    folder = tmp_path / "collected"
    folder.mkdir()
    return Target(tmp_path / "patients.duckdb", folder)


class TestRows:
    @pytest.mark.parametrize("count", [0, 999, 1_000, 2_500])
    def test_every_record_is_loaded(self, target: Target, count: int) -> None:
        records = [record(id=number, name=f"name {number}") for number in range(count)]
        target.load(schema(), *records, batch_size_rows=1_000)
        assert target.names == [(number, f"name {number}") for number in range(count)]
        assert list(target.folder.iterdir()) == []

    def test_the_files_of_a_batch_are_loaded_and_removed(self, target: Target, tmp_path: Path) -> None:
        folder = tmp_path / "a folder of 100%20 'files'"
        folder.mkdir()
        files = [write(folder / f"{number}*.jsonl", {"id": number, "name": ""}) for number in (1, 2)]
        # DuckDB would also read this file if the name above were a pattern
        other = write(folder / "1 of another.jsonl", {"id": 3})
        target.load(schema(), batch(*files, compression="none"))
        assert target.names == [(1, ""), (2, "")]
        assert list(folder.iterdir()) == [other]

    @given(names=st.lists(st.text(st.characters(exclude_categories=["Cs"])) | st.none(), min_size=1, max_size=5))
    @example(names=[*" \"',\t\0\u2028😀", "", "NULL", "\\N", "null", "\r\n", "x" * 40_000_000, None])
    def test_any_text_arrives_as_it_is(self, names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
        folder = tmp_path_factory.mktemp("any")
        target = Target(folder / "patients.duckdb", folder)
        target.load(schema(), *(record(id=number, name=name) for number, name in enumerate(names)))
        # assert on a boolean: pytest would show the difference of two texts of 40 MB
        is_equal = target.names == list(enumerate(names))
        assert is_equal

    def test_rows_are_appended_whatever_the_keys_are(self, target: Target) -> None:
        keyed = schema(keys=("id",))
        for name in ("first", "second"):
            target.load(keyed, record(id=1, name=name), record(id=1, name=name), hard_delete=True)
        target.load(keyed, record(id=1, _sdc_deleted_at="2024-02-01T00:00:00Z"), hard_delete=True)
        assert target.names == [(1, "first"), (1, "first"), (1, "second"), (1, "second"), (1, None)]

    def test_each_transaction_has_one_later_batched_at_although_the_clock_is_set_back(
        self, target: Target, tmp_path: Path
    ) -> None:
        for first in (1, 3, 5):
            files = [write(tmp_path / f"{id_}.jsonl", {"id": id_}) for id_ in (first, first + 1)]
            target.load(schema(), batch(*files))
            target.query("update raw.patients set _sdc_batched_at = _sdc_batched_at + interval 3 days")
        query = "select list(id order by id) from raw.patients group by _sdc_batched_at order by _sdc_batched_at"
        assert target.query(query) == [([1, 2],), ([3, 4],), ([5, 6],)]

    def test_the_files_of_records_belong_to_the_owner_alone(self, target: Target) -> None:
        umask = os.umask(0)
        try:
            modes = target.watch(
                lambda: [file.stat().st_mode & 0o777 for file in target.folder.iterdir()], schema(), record(id=1)
            )
        finally:
            os.umask(umask)
        assert modes == [[], [0o600]]


class TestColumns:
    def test_an_empty_table_gets_the_columns_of_the_schema_in_their_order(self, target: Target) -> None:
        target.load(schema())
        types = target.types
        for columns in ({"name": "varchar", "id": "varchar"}, dict(reversed(types.items()))):
            definition = ", ".join(f"{name} {kind}" for name, kind in columns.items())
            target.query(f"create or replace table raw.patients ({definition})")
            target.load(schema())
            assert list(target.types.items()) == list(types.items())
        assert list(types) == [*PROPERTIES, *METADATA]

    def test_a_column_without_a_comment_gets_the_description_of_its_property(self, target: Target) -> None:
        target.load(schema())
        target.query("comment on column raw.patients.name is 'A name'")
        described = {"insurer": "The patient's insurer", "name": "Another"}
        for messages in ([], [record(id=1)]):
            target.load(schema(), *messages)
            assert target.comments == {"name": "A name"}
        target.load(schema({name: TEXT | {"description": text} for name, text in described.items()}))
        assert target.comments == described | {"name": "A name"}

    def test_a_column_whose_type_changes_is_kept_beside_the_new_one_twice_in_a_minute(self, target: Target) -> None:
        for kind, value in {"string": "a", "boolean": True, "number": 1.5}.items():
            target.load(schema({"extra": {"type": [kind, "null"]}}), record(id=1, extra=value))
        extras = [name for name in target.types if name.startswith("extra")]
        rows = target.query(f"select {', '.join(extras)} from raw.patients")
        assert len(extras) == 3
        assert target.types["extra"] == "DOUBLE"
        assert sorted(str(value) for row in rows for value in row if value is not None) == ["1.5", "True", "a"]

    def test_records_that_wait_are_loaded_before_the_schema_changes(self, target: Target) -> None:
        before, after = (schema({"extra": {"type": kind}}) for kind in ("string", "boolean"))
        target.load(before, record(id=1, extra="a"), state(1), after, record(id=2, extra=True), state(2))
        assert target.query("select extra from raw.patients order by id") == [(None,), (True,)]
        assert target.states == [1, 2]

    @pytest.mark.parametrize("name", ["prénom", "it's", "a.b", "a__b", 'a"b', "名前", "select", "with space", "PRÉNOM"])
    def test_a_column_of_any_name_is_loaded(self, target: Target, name: str) -> None:
        for _ in range(2):
            target.load(schema({name: TEXT | {"description": "A text"}}), record(id=1, **{name: "x"}))
        column = name.lower().replace('"', '""')
        assert target.query(f'select "{column}" from raw.patients') == [("x",), ("x",)]
        assert target.comments == {name.lower(): "A text"}


class TestStates:
    def test_a_state_is_passed_on_when_everything_before_it_is_committed(self, target: Target) -> None:
        messages = [record(id=1), state(1), record(id=2), record(id=3), state(2), record(id=4), state(3)]
        seen = target.watch(target.states.copy, schema(), *messages, batch_size_rows=2)
        # the second record completes a batch of two, so the first state is due; the fourth one completes another
        assert seen == [[], [], [], [1], [1], [1], [1, 2], [1, 2, 3]]

    def test_a_state_behind_a_batch_is_passed_on_at_once(self, target: Target, tmp_path: Path) -> None:
        first, second = (batch(write(tmp_path / f"{number}.jsonl", {"id": number})) for number in (1, 2))
        seen = target.watch(target.states.copy, schema(), first, state(1), schema(), second, state(2))
        assert seen == [[], [], [1], [1], [1], [1, 2]]

    def test_a_state_waits_for_the_records_of_every_stream(self, target: Target, tmp_path: Path) -> None:
        file = write(tmp_path / "1.jsonl", {"id": 1})
        target.fail(schema(), schema(stream="syncs"), record("syncs", id=VALUE), batch(file), state(1))
        assert target.states == []

    def test_without_records_the_state_is_passed_on(self, target: Target) -> None:
        target.load(state(1), {"type": "ACTIVATE_VERSION"}, state(2))
        assert target.states == [1, 2]


class TestFailures:
    @pytest.mark.parametrize(
        ("name", "value"),
        [("id", VALUE), ("id", 2**63), ("born", VALUE), ("born", "2024-02-30"), ("updated_at", VALUE)],
    )
    def test_a_value_that_does_not_fit_ends_the_load_naming_stream_and_field(
        self, target: Target, name: str, value: Any
    ) -> None:
        message = target.fail(schema(), record(id=1), state(1), record(**{"id": 2, name: value}), state(2))
        assert message.startswith(f"Cannot load patients: a value of the field {name} does not fit its type, ")
        assert str(value) not in message
        assert (target.names, target.states) == ([], [])

    def test_a_violated_constraint_of_an_analyst_is_named_without_the_value(self, target: Target) -> None:
        target.load(schema(), record(id=0))
        target.query("create unique index names on raw.patients (name)")
        message = target.fail(schema(), record(id=1, name=VALUE), record(id=2, name=VALUE))
        assert message == "Cannot load patients: ConstraintException"

    def test_the_files_of_a_batch_are_loaded_all_or_none(self, target: Target, tmp_path: Path) -> None:
        files = [write(tmp_path / "1.jsonl", {"id": 1}), write(tmp_path / "2.jsonl", {"id": VALUE})]
        target.fail(schema(), batch(*files), state(1))
        assert (target.names, target.states) == ([], [])
        assert all(file.exists() for file in files)

    @pytest.mark.parametrize("text", [f'{{"id": 1}}\n{{"id": "{VALUE}', VALUE, "\x1f\x8b", None])
    def test_a_file_that_does_not_hold_json_lines_is_named(
        self, target: Target, tmp_path: Path, text: str | None
    ) -> None:
        file = tmp_path / "cut.jsonl"
        if text is not None:
            file.write_text(text)
        message = target.fail(schema(), batch(file))
        assert message.startswith("Cannot load patients: ")
        assert "cut.jsonl" in message

    @pytest.mark.parametrize("encoding", [{"format": "parquet"}, {"compression": "gzip"}])
    def test_another_encoding_is_refused(self, target: Target, tmp_path: Path, encoding: dict[str, str]) -> None:
        file = write(tmp_path / "1.jsonl", {"id": 1})
        message = target.fail(schema(), batch(file, **encoding))
        assert message.startswith("Cannot load batches of patients in the encoding")
        assert file.exists()

    @pytest.mark.parametrize("address", ["s3://bucket/1.jsonl", "/tmp/1.jsonl", 1, None])  # noqa: S108 (not used)
    def test_a_batch_that_is_not_a_local_file_is_refused(self, target: Target, address: Any) -> None:
        assert "not a local file" in target.fail(schema(), batch() | {"manifest": [address]})

    @pytest.mark.parametrize(
        "line",
        [
            *(VALUE, "[]", "null", "{}", '{"type": "GREETING"}', '{"type": "RECORD'),
            *(record() | {"record": None}, record() | {"record": [VALUE]}, {"type": "RECORD", "record": {"a": VALUE}}),
            *(batch() | {"encoding": None}, {"type": "BATCH", "stream": "patients", "encoding": {"format": "jsonl"}}),
            *({"type": "SCHEMA", "stream": "patients", "schema": {}}, {"type": "STATE"}),
        ],
    )
    def test_a_line_that_is_not_a_complete_message_is_named_by_its_number(
        self, target: Target, line: Message | str
    ) -> None:
        assert target.fail(state(1), line) == "Line 2 of the tap's output is not a complete Singer message"

    @pytest.mark.parametrize("message", [record(id=1), batch()])
    def test_data_before_their_schema_are_refused(self, target: Target, message: Message) -> None:
        assert target.fail(message) == "The tap sent data of patients before its schema"

    @pytest.mark.parametrize("kind", [{}, {"anyOf": [TEXT]}, {"type": None}, None])
    def test_a_property_without_a_type_is_named(self, target: Target, kind: Any) -> None:
        message = target.fail(schema({"extra": kind}))
        assert message == "Cannot load patients: its schema gives no type for the field extra"

    def test_columns_that_differ_only_in_case_are_refused(self, target: Target) -> None:
        assert "NAME" in target.fail(schema({"NAME": TEXT}), record(id=1))


def make_command(path: Path, config: Message | bytes = CONFIG, lock_timeout: float = 600) -> list[str]:
    config_file = path.parent / "config.json"
    text = json.dumps({"filepath": str(path)} | config).encode() if isinstance(config, dict) else config
    config_file.write_bytes(text)
    code = f"from target_duckdb_append import cli; cli.LOCK_TIMEOUT = {lock_timeout}; cli.main()"
    return [sys.executable, "-c", code, "--config", str(config_file)]


def run(path: Path, *messages: Message, zone: str = "UTC", **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the target in a process of its own, as Meltano does."""
    return subprocess.run(
        make_command(path, **options),
        check=False,
        input="".join(json.dumps(message) + "\n" for message in messages),
        capture_output=True,
        text=True,
        env=os.environ | {"TZ": zone},
        timeout=120,
    )


@contextmanager
def reading(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Keep the file open in another process until its standard input is closed."""
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); print(flush=True); sys.stdin.read()"
    duckdb.connect(str(path)).close()
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        yield process


class TestCommand:
    @pytest.mark.parametrize("name", ["patients", "raw.duckdb", ".a.b 100%20 #?'"])
    def test_it_loads_into_a_file_of_any_name_and_logs_nothing(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        outcome = run(path, schema(), record(id=1, name="x"), state(1))
        assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, '{"bookmark": 1}\n', "")
        with duckdb.connect(str(path)) as connection:
            tables = connection.sql("select schema_name, table_name, estimated_size from duckdb_tables()").fetchall()
        assert tables == [("raw", "patients", 1)]

    @pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
    def test_dates_and_instants_are_right_whatever_the_zone_of_the_machine(self, target: Target, zone: str) -> None:
        instants = {
            "2024-01-01T01:00:00+02:00": "2023-12-31 23:00:00+00",
            "2024-01-01T01:00:00-05:45": "2024-01-01 06:45:00+00",
            "2024-01-01T01:00:00.123456Z": "2024-01-01 01:00:00.123456+00",
            "2024-01-01T01:00:00": "2024-01-01 01:00:00+00",
        }
        records = [record(id=1, updated_at=given, _sdc_deleted_at=given, born="1980-02-29") for given in instants]
        assert run(target.path, schema(), *records, zone=zone).returncode == 0
        columns = "updated_at::varchar, _sdc_deleted_at::varchar, _sdc_extracted_at::varchar, born"
        assert target.query(f"select {columns} from raw.patients") == [
            (right, right, "2024-05-01 10:00:00.000001+00", date(1980, 2, 29)) for right in instants.values()
        ]
        [(batched_at,)] = target.query("select distinct epoch(_sdc_batched_at) from raw.patients")
        assert abs(datetime.now(UTC).timestamp() - batched_at) < 60
        assert {target.types[name] for name in ("updated_at", *METADATA)} == {"TIMESTAMP WITH TIME ZONE"}
        assert target.types["born"] == "DATE"

    @pytest.mark.parametrize(
        ("config", "reason"),
        [
            (b"\xff", "is not a JSON object"),
            (b"[]", "is not a JSON object"),
            ({"schema_mapping": {}}, "lacks the setting default_target_schema"),
            (CONFIG | {"batch_size_rows": "many"}, "batch_size_rows is not a whole number"),
            (CONFIG | {"batch_size_rows": None}, "batch_size_rows is not a whole number"),
            (CONFIG | {"settings": {"nonsense": 1}}, "Catalog Error"),
            (CONFIG | {"temp_dir": "/missing"}, "/missing"),
            (CONFIG | {"filepath": "/missing/a.duckdb"}, "/missing/a.duckdb"),
            (CONFIG | {"path": __file__}, f"Cannot write to {__file__}: "),
        ],
    )
    def test_a_config_that_cannot_be_used_is_one_line(self, tmp_path: Path, config: Any, reason: str) -> None:
        outcome = run(tmp_path / "patients.duckdb", schema(), record(id=1), config=config)
        [line] = outcome.stderr.splitlines()
        assert (outcome.returncode, reason in line) == (1, True), line

    def test_a_state_is_printed_while_the_tap_goes_on(self, tmp_path: Path) -> None:
        command = make_command(tmp_path / "patients.duckdb")
        buffered = os.environ | {"PYTHONUNBUFFERED": ""}
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=buffered) as process:
            assert process.stdin
            assert process.stdout
            process.stdin.write(json.dumps(state(1)).encode() + b"\n")
            process.stdin.flush()
            printed, *_ = select.select([process.stdout], [], [], 60)
            assert [stream.readline() for stream in printed] == [b'{"bookmark": 1}\n']

    def test_it_waits_for_a_process_that_reads_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "patients.duckdb"
        with reading(path) as process:
            leaving = threading.Timer(1.5, process.communicate)
            leaving.start()
            outcome = run(path, schema(), record(id=1), state(1))
            leaving.join()
        assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, '{"bookmark": 1}\n', "")

    def test_it_gives_up_on_a_file_that_another_process_keeps_and_names_the_process(self, tmp_path: Path) -> None:
        path = tmp_path / "patients.duckdb"
        with reading(path) as process:
            outcome = run(path, schema(), lock_timeout=0.5)
            process.communicate()
        [line] = outcome.stderr.splitlines()
        assert outcome.returncode == 1
        assert str(path) in line
        assert f"(PID {process.pid})" in line
