"""Run dbt commands one after the other, each in a fork of this process, which has parsed and built the project once.

It runs in dbt's environment, with a folder as its argument. It reads the file and the arguments as a line of JSON, and
answers with another.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

PROJECT = Path(__file__).parents[2] / "transform"


def invoke(arguments: list[str], manifest: Manifest | None = None) -> dbtRunner:
    where = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT)]
    how = ["--no-use-colors", "--no-write-json", "--log-level-file", "none"]
    result = dbtRunner(manifest=manifest).invoke([*arguments, *where, *how])
    if result.exception:
        traceback.print_exception(result.exception)
    return result


def run_in_fork(path: str, arguments: list[str], manifest: Manifest) -> dict[str, object]:
    """Return the exit code and the output of a command."""
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            for stream in (1, 2):
                os.dup2(output.fileno(), stream)
            os.environ["DBT_DUCKDB_PATH"] = path
            # DuckDB calls a database after its file
            for node in (*manifest.nodes.values(), *manifest.sources.values()):
                node.database = Path(path).stem
            code = 1
            try:
                code = int(not invoke(arguments, manifest).success)
            finally:
                sys.stdout.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        output.seek(0)
        return {"returncode": os.waitstatus_to_exitcode(status), "output": output.read().decode(errors="replace")}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # the folder keeps the parsed project; with another database path dbt would parse it again
    [folder] = sys.argv[1:]
    database = Path(folder) / "parsed.duckdb"
    database.unlink(missing_ok=True)
    os.environ |= {
        "DBT_DUCKDB_PATH": str(database),
        "DBT_TARGET_PATH": folder,
        "DBT_LOG_PATH": folder,
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
        "TZ": "UTC",
    }
    parsed = invoke(["parse", "--quiet"])
    # this warms up dbt's lazy imports and templates for every fork: a third of a small build
    build = ["build", "--quiet"]
    if not (parsed.success and invoke(build, parsed.result).success):
        sys.exit(1)
    DuckDBConnectionManager.close_all_connections()
    for line in sys.stdin:
        command = json.loads(line)
        answer = run_in_fork(command["path"], command["arguments"], parsed.result)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
