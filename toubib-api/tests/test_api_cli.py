import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from statistics import median
from typing import Any

import pytest

Call = Callable[..., tuple[int, Any]]

COMMAND = [sys.executable, "-m", "toubib_api"]


@contextmanager
def served(*options: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with subprocess.Popen(
        [*COMMAND, "serve", *options],
        env=os.environ | {"PYTHONUNBUFFERED": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout
            yield process, process.stdout.readline()
        finally:
            process.kill()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)


def address(line: str) -> str:
    match = re.search(r"http://\S+", line)
    assert match, line
    return match[0]


@pytest.mark.parametrize("stop", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.complete)])
def test_a_served_file_can_be_changed_and_the_server_stopped(tmp_path: Path, call: Call, stop: signal.Signals) -> None:
    database = str(tmp_path / "toubib.sqlite")
    with served("--database", database, "--port", "0", "--patients", "20") as (process, line):
        assert line.startswith("Serving 20 patients on http://127.0.0.1:")
        url = address(line)
        assert call("GET", f"{url}/health") == (200, "OK")
        changed = run("change", "--database", database, "--update", "2", "--create", "1", "--remove", "3")
        assert changed.returncode == 0
        assert re.fullmatch(r"updated 2: \d+ \d+\ncreated 1: 21\nremoved 3: \d+ \d+ \d+\n", changed.stdout)
        _, page = call("GET", f"{url}/v1/patients", limit=100)
        assert page["meta"]["total_items"] == 18
        taken = page["data"][0]
        assert call("PATCH", f"{url}/v1/patients/{page['data'][1]['id']}", {"email": taken["email"]})[0] == 409
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))):
            # an open connection does not keep the server running
            process.send_signal(stop)
            output, _ = process.communicate(timeout=10)
    assert process.returncode in {0, -stop}
    assert "Traceback" not in output
    assert "/v1/patients" not in output
    assert "engine startup" not in output
    assert not [
        value for patient in page["data"] for value in (patient["email"], patient["last_name"]) if value in output
    ]


def test_options_can_come_from_the_environment(tmp_path: Path, call: Call) -> None:
    database = tmp_path / "elsewhere.sqlite"
    with served(TOUBIB_DATABASE=str(database), TOUBIB_PATIENTS="5", TOUBIB_HOST="127.0.0.2", TOUBIB_PORT="0") as (
        _,
        line,
    ):
        assert line.startswith("Serving 5 patients on http://127.0.0.2:")
        assert call("GET", f"{address(line)}/v1/patients")[1]["meta"]["total_items"] == 5
    assert database.exists()


def test_change_finds_the_database_of_serve_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with served("--port", "0", "--patients", "5") as (_, line):
        assert line.startswith("Serving 5 patients")
        assert run("change").stdout.startswith("updated 3:")
    assert (tmp_path / "data/toubib.sqlite").exists()


def test_answers_are_sent_without_delay(tmp_path: Path) -> None:
    with served("--database", str(tmp_path / "toubib.sqlite"), "--port", "0", "--patients", "20") as (_, line):
        host, port = address(line).removeprefix("http://").split(":")

        def measure() -> float:
            seconds = []
            with closing(HTTPConnection(host, int(port))) as connection:
                for _ in range(30):
                    started = time.monotonic()
                    connection.request("GET", "/v1/patients/1")
                    assert connection.getresponse().read()
                    seconds.append(time.monotonic() - started)
            return median(seconds)

        # Head and body go in two pieces: with Nagle's algorithm the second waits 40 ms for the first one's
        # acknowledgement, every time. A busy machine is slow for a while.
        assert any(measure() < 0.035 for _ in range(10))


def one_line(result: subprocess.CompletedProcess[str], message: str) -> bool:
    return bool(result.returncode and not result.stdout and re.fullmatch(f"Error: {message}\n", result.stderr))


def test_a_port_in_use_is_an_error_of_one_line(tmp_path: Path) -> None:
    database = tmp_path / "toubib.sqlite"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        result = run("serve", "--port", port, "--database", str(database))
    assert one_line(result, rf"Cannot listen on 127\.0\.0\.1:{port}: Address already in use.*"), result
    assert not database.exists()


def test_a_file_that_is_not_a_database_is_an_error_of_one_line(tmp_path: Path) -> None:
    other = tmp_path / "letter.txt"
    other.write_text("Dear patient, " * 100)
    result = run("serve", "--port", "0", "--database", str(other / "toubib.sqlite"))
    assert one_line(result, r"Cannot use the database .*letter\.txt.*"), result
    for command in (["serve", "--port", "0"], ["change"]):
        result = run(*command, "--database", str(other))
        assert one_line(result, r"Cannot use the database \S+: file is not a database"), result


def test_a_change_without_patients_is_an_error(tmp_path: Path) -> None:
    database = tmp_path / "toubib.sqlite"
    result = run("change", "--database", str(database))
    assert result.returncode == 2
    assert "does not exist" in result.stderr
    assert not database.exists()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("create table other (id integer)")
    result = run("change", "--database", str(database))
    assert one_line(result, r"Cannot use the database \S+: no such table: patients"), result
