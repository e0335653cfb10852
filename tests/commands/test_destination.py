"""The DuckDB file: who may write to it, and the names by which tools know it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Timer

import duckdb
import pytest

from toubib_connector import destination as module
from toubib_connector.destination import Destination
from toubib_connector.errors import Failure

LOCK_AND_START_ANOTHER = """
import subprocess, sys, time
from pathlib import Path
from toubib_connector.destination import Destination
with Destination(Path(sys.argv[1])).lock():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
    print(child.pid, flush=True)
    time.sleep(60)
"""
WRITE_AND_DIE = """
import duckdb, os, sys
connection = duckdb.connect(sys.argv[1])
connection.sql('create table kept as select 1')
os._exit(0)
"""
READ = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(flush=True); input()"


@pytest.fixture
def destination(tmp_path: Path) -> Destination:
    return Destination(tmp_path / "patients.duckdb")


def test_a_process_that_outlives_its_killed_run_keeps_the_lock(destination: Destination) -> None:
    killed = subprocess.Popen(
        [sys.executable, "-c", LOCK_AND_START_ANOTHER, destination.path], stdout=subprocess.PIPE, text=True
    )
    with killed:
        assert killed.stdout
        child = int(killed.stdout.readline())
        killed.kill()
    try:
        with pytest.raises(Failure, match="Another run is writing to"):
            destination.lock().__enter__()
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("name", ["a.prod.duckdb", ".hidden.duckdb", "%41 $HOME {{x}} é~ \\n=,&.duckdb", "md"])
def test_tools_know_the_folder_by_a_plain_name(tmp_path: Path, name: str) -> None:
    destination = Destination(tmp_path / "%41 #1 'quoted' \"$HOME\" é" / name)
    with destination.lock():
        with destination.connect():
            pass
        path = destination.path_for_tools
        assert path.parents[2] == Path(tempfile.gettempdir())
        subprocess.run([sys.executable, "-c", WRITE_AND_DIE, path], check=True)
        # a killed process leaves its write-ahead log beside the file, not beside the link, which ends with the run
        assert Path(f"{destination.path}.wal").exists()
        assert destination.alias.resolve() == destination.work_folder
        assert {path.stat().st_mode & 0o777 for path in (destination.work_folder, destination.scratch)} == {0o700}
    assert not destination.alias.is_symlink()
    with destination.connect(read_only=True) as connection:
        assert connection.sql("from kept").fetchall() == [(1,)]


def test_each_destination_has_its_own_constant_alias(tmp_path: Path) -> None:
    aliases = [Destination(tmp_path / name).alias for name in ("a.duckdb", "b.duckdb", "a.duckdb")]
    assert aliases[0] == aliases[2] != aliases[1]


def test_a_killed_run_leaves_no_folder_in_the_way_of_the_next_one(tmp_path: Path) -> None:
    destination = Destination(tmp_path / "x.duckdb")
    lock = destination.lock()
    lock.__enter__()
    (destination.scratch / "patients.jsonl").write_text("a patient")
    del lock
    with destination.lock():
        assert not (destination.scratch / "patients.jsonl").exists()
        assert destination.alias.resolve() == destination.work_folder


def test_a_reader_is_waited_for_and_named(
    destination: Destination, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "POLL_INTERVAL", 0.1)
    duckdb.connect(str(destination.path)).close()
    with subprocess.Popen(
        [sys.executable, "-c", READ, destination.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout
        assert reader.stdin
        reader.stdout.readline()
        with pytest.raises(Failure, match=rf"\(PID {reader.pid}\) has {destination.path} open"):
            destination.connect(timeout=0)
        Timer(0.5, reader.stdin.close).start()
        with destination.connect():
            pass
    assert f"(PID {reader.pid}) has {destination.path} open" in capsys.readouterr().out


def test_a_file_that_is_not_a_database_stays_as_it_is(destination: Destination) -> None:
    destination.path.write_text("no database\n" * 1000)
    with pytest.raises(Failure, match=f"Cannot open {destination.path}"):
        destination.connect()
    assert destination.path.read_text() == "no database\n" * 1000


@pytest.fixture
def somebodys() -> Iterator[Destination]:
    """A destination after a run, of an unprivileged user: root ignores modes."""
    folder = Path(tempfile.mkdtemp())
    destination = Destination(folder / "patients.duckdb")
    if os.geteuid() == 0:
        nobody = 65534
        os.chown(folder, nobody, nobody)
        os.seteuid(nobody)
    for path in (destination.path, destination.system_database):
        path.touch()
    yield destination
    if os.getuid() == 0:
        os.seteuid(0)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("file", "mode"), [("patients.duckdb", 0o400), ("patients.duckdb.meltano.db", 0o400), (".", 0o555)]
)
def test_a_wrong_mode_is_refused_before_anything_is_written(somebodys: Destination, file: str, mode: int) -> None:
    path = somebodys.path.parent / file
    before = path.stat().st_mode & 0o777
    path.chmod(mode)
    with pytest.raises(Failure, match=f"^{path} is not writable"):
        somebodys.lock().__enter__()
    path.chmod(before)
    assert not somebodys.work_folder.exists()
    with somebodys.lock():
        pass


def test_any_failure_on_a_full_disk_names_the_full_disk(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAST_ROOM", 1 << 60)
    with pytest.raises(Failure, match=f"^{destination.path.parent}: No space left on device$"), destination.lock():
        raise duckdb.IOException("disk I/O error")
