"""The settings of a command: the command line over the environment over the project's `.env` over defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dotenv import dotenv_values

from toubib_connector.destination import Destination
from toubib_connector.errors import Failure

PROJECT = Path(__file__).parents[2]
DEFAULT_FILE = PROJECT / "data" / "destination.duckdb"

NOT_A_FILE = re.compile(
    r"""^[A-Za-z][A-Za-z0-9+.-]+:(?!$)|^:memory:|[?\ud800-\udfff]|[\x00-\x1f'"#;][^/]*$"""
    r"""|(^|/)\.*(raw|staging|bookkeeping)(\.[^/]*)?$""",
    re.IGNORECASE,
)
"""Addresses of databases, such as `md:name`; characters that DuckDB or dbt cannot handle in a path or a name; names of
schemas, since DuckDB names the database after its file."""

ELSEWHERE = {
    "TAP_TOUBIB_API_URL": "Set API_BASEURL",
    "api_url in meltano.yml": "Set API_BASEURL",
    "TARGET_DUCKDB_FILEPATH": "Set DESTINATION_DUCKDB_PATH",
    "filepath in meltano.yml": "Set DESTINATION_DUCKDB_PATH",
    "MELTANO_ENVIRONMENT": "Unset it, or run Meltano by hand",
    "MELTANO_STATE_BACKEND_URI": "Unset it: the state is kept beside the destination",
}
"""Settings that Meltano reads and the commands do not, each with advice."""

OF_SINGER = {"TAP_TOUBIB_LOGLEVEL", "TAP_TOUBIB__SELECT", "TAP_TOUBIB__SELECT_FILTER", "TAP_TOUBIB__METADATA"}
"""Settings that Meltano and the SDK give to every tap."""


@dataclass(frozen=True)
class Settings:
    """The user's settings.

    Attributes:
        destination: The DuckDB file.
        environment: All variables, including `.env`.
        is_verbose: Whether the full log goes to the terminal.
        full_refresh: Whether to read everything again.
        publish: Whether to leave a copy for readers.
    """

    destination: Destination
    environment: Mapping[str, str]
    is_verbose: bool = False
    full_refresh: bool = False
    publish: bool = False

    def check(self, project: Mapping[str, Any]) -> None:
        """Check that a run honours every setting of the tap, the loader and Meltano, in `project` (meltano.yml), too.

        Raises:
            Failure: A setting is invalid, or would be ignored.
        """
        environments = [each.get("config", {}) for each in project.get("environments") or () if each["name"] == "prod"]
        plugins = [
            plugin
            for configured in (project, *environments)
            for kind in configured.get("plugins", {}).values()
            for plugin in kind
            if plugin["name"] in {"tap-toubib", "target-duckdb"}
        ]
        kinds = {
            f"TAP_TOUBIB_{each['name'].upper()}": each.get("kind")
            for plugin in plugins
            for each in plugin.get("settings", ())
        }
        in_project = {f"{name} in meltano.yml" for plugin in plugins for name in plugin.get("config", ())}
        for name in sorted({*self.environment, *in_project}):
            if name in ELSEWHERE:
                raise Failure(f"{name} is not used here. {ELSEWHERE[name]}.")
            if name.startswith("TAP_TOUBIB_") and name not in kinds.keys() | OF_SINGER:
                raise Failure(f"{name} is not a setting of the tap; `tap-toubib --about` lists them.")
            value = self.environment.get(name, "")
            if value and kinds.get(name) == "integer" and not value.removeprefix("-").isdecimal():
                raise Failure(f"{name} is {value!r}; it must be an integer.")


def load_dotenv() -> None:
    """Add the variables of the project's `.env` to the environment, where they are missing or empty."""
    for name, value in dotenv_values(PROJECT / ".env").items():
        os.environ[name] = os.environ.get(name) or value or ""


def locate(name: str) -> Destination:
    """Return the destination at a path. A relative one starts in the project's folder; symbolic links are resolved.

    Raises:
        Failure: It cannot be the path of a DuckDB file.
    """
    path = PROJECT / os.path.expanduser(name)  # noqa: PTH111 (an unknown home is no error)
    if NOT_A_FILE.search(name) or path.is_dir():
        raise Failure(f"{name!r} cannot be the path of the DuckDB file. Set DESTINATION_DUCKDB_PATH to another.")
    return Destination(path.resolve())


def read_project() -> dict[str, Any]:
    """Return meltano.yml."""
    return dict(yaml.safe_load((PROJECT / "meltano.yml").read_text(encoding="utf-8")))
