"""What a run uses: decided here, from the command line, the environment, `.env` and meltano.yml, in Meltano's order."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values

from toubib_connector.destination import Destination
from toubib_connector.errors import Failure
from toubib_connector.log import say

PROJECT = Path(__file__).parents[2]
MELTANO = Path(sys.executable).with_name("meltano")

API = "API_BASEURL"
DESTINATION = "DESTINATION_DUCKDB_PATH"

MELTANO_NAMES = {API: "TAP_TOUBIB_API_URL", DESTINATION: "TARGET_DUCKDB_FILEPATH"}
"""What the two are called by Meltano, which takes either name."""

IN_PROJECT = {
    API: ("extractors", "tap-toubib", "api_url"),
    DESTINATION: ("loaders", "target-duckdb", "filepath"),
}
"""Where `meltano config set` writes them in meltano.yml."""

OWN_PREFIXES = (*MELTANO_NAMES, "TAP_TOUBIB_", "TARGET_DUCKDB_", "TOUBIB_")

IGNORED_PREFIXES = ("MELTANO_", "DBT_", "TARGET_DUCKDB_", "SINGER_SDK_", "PYTHON", "TAP_TOUBIB__STATE")
"""Variables of a user's shell that would make a part of a run read, write or keep its state elsewhere, or fail."""

KEPT_VARIABLES = frozenset(
    {
        "MELTANO_AUTO_INSTALL",
        "MELTANO_CLI_LOG_FORMAT",
        "MELTANO_SEND_ANONYMOUS_USAGE_STATS",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPYCACHEPREFIX",
        "PYTHONUNBUFFERED",
        "PYTHONUTF8",
    }
)

RESERVED = {"bookkeeping", "information_schema", "main", "pg_catalog", "raw", "staging", "system", "temp"}
"""Schemas of the file and of DuckDB, in any case."""

SERVICE = re.compile(r":memory:|[A-Za-z][A-Za-z0-9+.-]+:(?!$)")
"""How DuckDB writes what is not a file: `md:name`, `s3://...`."""

UNUSABLE = re.compile(r"""[\x00-\x1f'"#;]""")
"""What dbt cannot have in the name of a database, which is that of the file."""

NOT_UTF8 = re.compile(r"[\ud800-\udfff]")
"""How Python has bytes of a name that are not UTF-8."""

LONGEST_NAME = 230
"""Bytes; most file systems take 255."""

LOOPBACK = "localhost,127.0.0.1,127.0.0.0/8,::1"


def locate(name: str) -> Path:
    """Return the absolute path of the file that a setting names; what a symbolic link points to is the file.

    Raises:
        Failure: It names something that cannot be the destination.
    """
    if SERVICE.match(name):
        raise Failure(f"{name} is not a file. Set DESTINATION_DUCKDB_PATH to the path of a DuckDB file.")
    try:
        path = Path(name).expanduser().resolve()
    except RuntimeError as error:
        raise Failure(f"{name} names the home of a user that does not exist.") from error
    if path.is_dir():
        raise Failure(f"{path} is a directory. Set DESTINATION_DUCKDB_PATH to the path of a file.")
    if "?" in str(path):
        raise Failure(f"{path} cannot be the destination: DuckDB takes no ? in a path.")
    if unusable := UNUSABLE.findall(path.name):
        raise Failure(
            f"{str(path)!r} cannot be the destination: dbt takes no {' '.join(map(repr, unusable))} in the name of the "
            "file. Set DESTINATION_DUCKDB_PATH to a file of another name."
        )
    catalog = path.name.lstrip(".").split(".")[0]
    if catalog.casefold() in RESERVED:
        raise Failure(
            f"{path} cannot be the destination: DuckDB would call its database {catalog} and could not tell that from "
            "a schema of the same name. Set DESTINATION_DUCKDB_PATH to a file of another name."
        )
    if NOT_UTF8.search(str(path)):
        raise Failure(f"{path!r} cannot be the destination: DuckDB takes names in UTF-8 only.")
    if len(path.name.encode()) > LONGEST_NAME:
        raise Failure(f"{path} cannot be the destination: the names of the files beside it would be too long.")
    return path


def read_project() -> dict[str, Any]:
    """Return meltano.yml."""
    return dict(yaml.safe_load((PROJECT / "meltano.yml").read_text()))


def read_environment(
    terminal: Mapping[str, str], dotenv: Mapping[str, str | None], project: Mapping[str, Any]
) -> dict[str, str]:
    """Return the variables that hold for a run: those of the terminal over those of `.env` over meltano.yml.

    A setting with two names has one afterwards. Empty variables of ours count as not set.

    Raises:
        Failure: The two names of a setting have different values.
    """
    environment: dict[str, str] = {}
    for name, (kind, plugin, setting) in IN_PROJECT.items():
        if value := _find_configured(project, kind, plugin, setting):
            environment[name] = str(value)
    for source in (dotenv, terminal):
        given = {name: value for name, value in source.items() if value or not name.startswith(OWN_PREFIXES)}
        for name, other in MELTANO_NAMES.items():
            values = {given.pop(each) for each in (name, other) if each in given}
            if len(values) > 1:
                raise Failure(f"{name} and {other} name the same setting and differ. Set one of them.")
            given.update((name, value) for value in values)
        environment |= {name: value for name, value in given.items() if value is not None}
    _reach_loopback_directly(environment)
    return environment


def load_environment(environment: MutableMapping[str, str] = os.environ) -> None:
    """Replace the variables of this process by those that hold for a run, and check the tap's integers.

    Raises:
        Failure: They contradict each other, or one is not an integer.
    """
    dotenv = {
        # `.env` is the project's own, and so are the paths in it
        name: str(PROJECT / Path(value).expanduser()) if value and _is_relative_file(name, value) else value
        for name, value in dotenv_values(PROJECT / ".env").items()
    }
    project = read_project()
    read = read_environment(environment, dotenv, project)
    check_integers(read, project)
    environment.clear()
    environment.update(read)


def check_integers(environment: Mapping[str, str], project: Mapping[str, Any]) -> None:
    """Make sure that the tap's integers are integers: Meltano would not say which one is not.

    Raises:
        Failure: One is not.
    """
    for setting in project["plugins"]["extractors"][0]["settings"]:
        name = f"TAP_TOUBIB_{setting['name'].upper()}"
        try:
            if setting.get("kind") == "integer":
                int(environment.get(name, "0"))
        except ValueError as error:
            raise Failure(f"{name} is {environment[name]!r}; it must be an integer.") from error


def find_ignored(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the variables that a run leaves out."""
    return sorted(name for name in environment if name.startswith(IGNORED_PREFIXES) and name not in KEPT_VARIABLES)


def say_what_is_ignored(environment: Mapping[str, str] = os.environ) -> None:
    """Warn of the variables that a run leaves out, if there are any."""
    # what only makes Python behave otherwise is nobody's question
    if names := [name for name in find_ignored(environment) if not name.startswith("PYTHON")]:
        say(f"Not used, since each destination has its own: {', '.join(names)}", "warning")


def make_meltano_environment(destination: Destination, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that Meltano and its plugins get for a run on a locked destination."""
    tools = destination.tools_folder
    ignored = {*find_ignored(environment), DESTINATION, API}
    # Meltano takes an empty variable for a value of its setting
    empty = {name for name, value in environment.items() if name.startswith("MELTANO_") and not value}
    kept = {name: value for name, value in environment.items() if name not in ignored | empty}
    api = {MELTANO_NAMES[API]: environment[API]} if API in environment else {}
    return (
        kept
        | api
        | {
            "MELTANO_PROJECT_ROOT": str(PROJECT),
            "MELTANO_ENVIRONMENT": "prod",
            "MELTANO_STATE_BACKEND_URI": "systemdb",
            "MELTANO_DATABASE_URI": f"sqlite:///{tools / 'scratch' / 'meltano.db'}",
            "MELTANO_SYS_DIR_ROOT": str(tools / "scratch" / "meltano"),
            "TAP_TOUBIB_BATCH_CONFIG_STORAGE_ROOT": f"file://{tools / 'scratch' / 'batches'}",
            "TARGET_DUCKDB_FILEPATH": str(tools / "scratch" / destination.path.name),
            "TARGET_DUCKDB_DEFAULT_TARGET_SCHEMA": "raw",
            "TARGET_DUCKDB_ADD_METADATA_COLUMNS": "true",
            "TARGET_DUCKDB_TEMP_DIR": str(tools / "scratch"),
            "XDG_STATE_HOME": str(tools / "scratch"),
            "DBT_DUCKDB_PATH": str(tools / "scratch" / destination.path.name),
            "DBT_TARGET": "duckdb",
            # the same path in each run: dbt parses everything again where it differs
            "DBT_TARGET_PATH": str(tools / "dbt"),
            # its log is a part of Meltano's; a second one on disk would hold what is withheld in the first
            "DBT_LOG_LEVEL_FILE": "none",
            "DBT_LOG_PATH": str(tools / "scratch"),
            # nobody reads the artefacts, which take longer to write than most models to build
            "DBT_WRITE_JSON": "false",
            # `logging.yaml` reads its progress
            "DBT_LOG_FORMAT": "json",
            "DBT_USE_COLORS": "false",
        }
    )


def _find_configured(project: Mapping[str, Any], kind: str, plugin: str, setting: str) -> Any:
    """Return what meltano.yml says of a setting: for the environment `prod`, or for all."""
    [prod] = [each for each in project.get("environments", ()) if each["name"] == "prod"]
    for plugins in (prod.get("config", {}).get("plugins", {}), project["plugins"]):
        for each in plugins.get(kind, ()):
            if each["name"] == plugin and setting in each.get("config", {}):
                return each["config"][setting]
    return None


def _is_relative_file(name: str, value: str) -> bool:
    return name in {DESTINATION, MELTANO_NAMES[DESTINATION]} and ":" not in value


def _reach_loopback_directly(environment: dict[str, str]) -> None:
    """Have no proxy asked for an API on this machine."""
    others = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    environment["no_proxy"] = environment["NO_PROXY"] = f"{others},{LOOPBACK}".lstrip(",")
