"""What it costs to have the parts of a run at all: their start-ups.

The start-up of a part is what its program takes when it is started as the run starts it and finds nothing to do:

- the connector's command: shows its help;
- `meltano run`: runs three programs that do nothing, in a project of their own;
- the tap, which the run starts twice, first for the columns: discovers them;
- the loader: takes no message;
- dbt: builds no model, with the project parsed already.

The run starts tap and loader side by side; the sum does not.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from measure import PROJECT, measure, succeed
from session import Bench

DBT = PROJECT / ".meltano/utilities/dbt/venv/bin/dbt"
TAP = PROJECT / ".meltano/extractors/tap-toubib/venv/bin/tap-toubib"
LOADER = PROJECT / ".meltano/loaders/target-duckdb/venv/bin/target-duckdb-append"


class Part(NamedTuple):
    """How a part of a run is started.

    Attributes:
        command: The command line.
        environment: What else it is told.
        times: How often a run starts it.
    """

    command: list[str | Path]
    environment: dict[str, str]
    times: int = 1


def make_parts(bench: Bench, url: str, database: Path) -> dict[str, Part]:
    """Return the parts of a run.

    Args:
        bench: The benchmark.
        url: Of the service.
        database: The DuckDB file of a run.
    """
    idle = bench.folder / "idle"
    shutil.rmtree(idle, ignore_errors=True)
    idle.mkdir()
    nothing = {"namespace": "idle", "executable": "true"}
    project = {
        "version": 1,
        "default_environment": "idle",
        "environments": [{"name": "idle"}],
        "send_anonymous_usage_stats": False,
        "cli": {"disable_version_check": True},
        "plugins": {
            "extractors": [nothing | {"name": "tap-idle"}],
            "loaders": [nothing | {"name": "target-idle"}],
            "utilities": [nothing | {"name": "idle", "commands": {"build": "build"}}],
        },
    }
    (idle / "meltano.yml").write_text(yaml.safe_dump(project))
    transform = PROJECT / "transform"
    # its own copy of what was parsed: another path of the database would have the next run parse again
    of_dbt = {"DBT_DUCKDB_PATH": str(database), "DBT_TARGET_PATH": str(idle / "target"), "DBT_LOG_PATH": str(idle)}
    build: list[str | Path] = [DBT, "build", "--exclude=*", "--project-dir", transform, "--profiles-dir", transform]
    parts = {
        "command": Part([PROJECT / ".venv/bin/toubib-connector", "--help"], {}),
        "Meltano": Part(
            [PROJECT / ".venv/bin/meltano", f"--cwd={idle}", "run", "--force", "tap-idle", "target-idle", "idle:build"],
            {"MELTANO_DATABASE_URI": f"sqlite:///{idle}/meltano.db"},
        ),
        "tap": Part([TAP, "--config", bench.write("tap.json", {"api_url": url}), "--discover"], {}, 2),
        "loader": Part(loader_command(bench, database), {"TZ": "UTC"}),
        "dbt": Part(build, of_dbt | {"TZ": "UTC", "DBT_LOG_LEVEL_FILE": "none", "DBT_WRITE_JSON": "false"}),
    }
    for name in ("Meltano", "dbt"):
        # what they keep for the next time
        succeed(measure(*parts[name][:2], log=idle / "log"))
    return parts


def loader_command(bench: Bench, database: Path) -> list[str | Path]:
    """Return the command line of the loader, with the settings of meltano.yml."""
    [plugin] = [
        each
        for each in yaml.safe_load((PROJECT / "meltano.yml").read_text())["plugins"]["loaders"]
        if each["name"] == "target-duckdb"
    ]
    settings: dict[str, Any] = {each["name"]: each["value"] for each in plugin["settings"] if "value" in each}
    return [LOADER, "--config", bench.write("target.json", settings | {"filepath": str(database)})]


def start_parts(bench: Bench, parts: dict[str, Part]) -> float:
    """Start parts in turn, as often as a run does; return the seconds of all."""
    total = 0.0
    for name, (command, environment, times) in parts.items():
        for _ in range(times):
            cost = succeed(measure(command, environment, log=bench.folder / "idle/log"))
            bench.record(part=name, **asdict(cost))
            total += cost.seconds
    return total
