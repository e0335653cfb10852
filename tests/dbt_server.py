"""Run dbt commands one after the other, each in a fork of this process, which has imported dbt and parsed the project.

It is started with dbt's own interpreter. A line of JSON names the file and the arguments, a line of JSON answers.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from dbt.cli.main import dbtRunner

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

PROJECT = Path(__file__).parents[1] / "transform"


def invoke(arguments: list[str], manifest: Manifest | None = None) -> dbtRunner:
    where = ["--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--no-use-colors", "--no-write-json"]
    result = dbtRunner(manifest=manifest).invoke([*arguments, *where])
    if result.exception:
        traceback.print_exception(result.exception)
    return result


def run_in_fork(path: str, arguments: list[str], manifest: Manifest) -> dict[str, object]:
    """Return the exit code of a command and what it printed."""
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
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "DBT_DUCKDB_PATH": f"{folder}/parsed.duckdb",
            "DBT_TARGET_PATH": folder,
            "DBT_LOG_PATH": folder,
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "TZ": "UTC",
        }
        parsed = invoke(["parse", "--quiet"])
        if not parsed.success:
            sys.exit(1)
        for line in sys.stdin:
            command = json.loads(line)
            answer = run_in_fork(command["path"], command["arguments"], parsed.result)
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
