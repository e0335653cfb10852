"""One long-lived dbt process for many small databases: a build takes a second instead of six."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import IO, TYPE_CHECKING

import duckdb

if TYPE_CHECKING:
    from typing import Self

PROJECT = Path(__file__).parents[2]


class Dbt:
    """A context manager for the process of `dbt_server.py`.

    Args:
        folder: Keeps the parsed project between test sessions.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        python = PROJECT / ".meltano/utilities/dbt/venv/bin/python"
        self._process = subprocess.Popen(
            [python, "-W", "ignore", PROJECT / "tests/support/dbt_server.py", self._folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        for pipe in self._pipes():
            pipe.close()
        self._process.wait()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def run(self, path: Path, *arguments: str) -> tuple[int, str]:
        """Run a dbt command on a DuckDB file; return its exit code and output."""
        commands, answers = self._pipes()
        commands.write(json.dumps({"path": str(path), "arguments": arguments}) + "\n")
        commands.flush()
        line = answers.readline()
        assert line, "dbt's process ended; its output was captured"
        answer = json.loads(line)
        # a fork ends without closing the file, which leaves a write-ahead log beside it
        duckdb.connect(str(path)).close()
        return answer["returncode"], answer["output"]

    def build(self, path: Path, *arguments: str) -> str:
        """Build the models of a DuckDB file and pass all data tests; return the output."""
        code, output = self.run(path, "build", *arguments)
        assert code == 0, output
        return output
