"""The settings of a command: the command line over the environment over the project's `.env` over defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click
import yaml
from dotenv import dotenv_values

from toubib_connector.destination import Destination, locate
from toubib_connector.errors import Failure

PROJECT = Path(__file__).parents[2]

ELSEWHERE = {
    "TAP_TOUBIB_API_URL": "Set API_BASEURL",
    "TARGET_DUCKDB_FILEPATH": "Set DESTINATION_DUCKDB_PATH",
    "MELTANO_ENVIRONMENT": "Unset it, or run Meltano by hand",
    "MELTANO_STATE_BACKEND_URI": "Unset it: the state is kept beside the destination",
}
"""Variables that Meltano reads and the commands do not, each with advice."""

IN_PROJECT = {
    "TAP_TOUBIB_API_URL": ("extractors", "tap-toubib", "api_url"),
    "TARGET_DUCKDB_FILEPATH": ("loaders", "target-duckdb", "filepath"),
}
"""Where `meltano config set` writes two of them in meltano.yml."""

OF_SINGER = {"TAP_TOUBIB_LOGLEVEL", "TAP_TOUBIB__SELECT", "TAP_TOUBIB__SELECT_FILTER", "TAP_TOUBIB__METADATA"}
"""Settings that Meltano and the SDK give to every tap."""


@dataclass(frozen=True)
class Settings:
    """The user's settings.

    Attributes:
        destination: The DuckDB file.
        environment: All variables, including `.env`.
        is_verbose: Whether the full log goes to the terminal.
        api_url: Base URL of the service; None to look for one.
        auth_token: Its bearer token.
        full_refresh: Whether to read everything again.
        publish: Whether to leave a copy for readers.
    """

    destination: Destination
    environment: Mapping[str, str]
    is_verbose: bool = False
    api_url: str | None = None
    auth_token: str | None = None
    full_refresh: bool = False
    publish: bool = False

    @property
    def trigger(self) -> str:
        """The schedule that started the run, or `manual`."""
        return self.environment.get("TOUBIB_TRIGGER", "manual")

    def check(self, project: Mapping[str, Any]) -> None:
        """Check that a run honours every setting of the tap, the loader and Meltano.

        Args:
            project: meltano.yml.

        Raises:
            Failure: A setting is invalid, or would be ignored.
        """
        for name in self.environment:
            if name in ELSEWHERE:
                raise Failure(f"{name} is not used here. {ELSEWHERE[name]}.")
        environments = [each for each in project.get("environments") or () if each["name"] == "prod"]
        configured = [project["plugins"], *(each.get("config", {}).get("plugins", {}) for each in environments)]
        for name, (kind, plugin, setting) in IN_PROJECT.items():
            for plugins in configured:
                for each in plugins.get(kind, ()):
                    if each["name"] == plugin and setting in each.get("config", {}):
                        raise Failure(f"{setting} of {plugin} in meltano.yml is not used here. {ELSEWHERE[name]}.")
        taps = [each for each in project["plugins"]["extractors"] if each["name"] == "tap-toubib"]
        kinds = {f"TAP_TOUBIB_{each['name'].upper()}": each.get("kind") for tap in taps for each in tap["settings"]}
        for name, kind in kinds.items():
            value = self.environment.get(name, "0")
            if kind == "integer" and not value.removeprefix("-").isdecimal():
                raise Failure(f"{name} is {value!r}; it must be an integer.")
        if unknown := sorted(
            name for name in self.environment if name.startswith("TAP_TOUBIB_") and name not in {*kinds, *OF_SINGER}
        ):
            raise Failure(f"{unknown[0]} is not a setting of the tap; `tap-toubib --about` lists them.")


class Setting(click.Option):
    """An option that can be set in the environment or in `.env`."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:  # noqa: ARG002 (click's signature)
        """Return the value of its variable, None if it is not set."""
        return read_environment().get(str(self.envvar))


class DuckDBFile(click.ParamType[Destination]):
    """The path of a file that can be the destination."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Destination:  # noqa: ARG002
        """Return the destination."""
        return locate(str(value))


@cache
def read_environment() -> Mapping[str, str]:
    """Return the variables of this process over `.env`. Empty variables count as not set."""
    dotenv = {name: value for name, value in dotenv_values(PROJECT / ".env").items() if value}
    if path := dotenv.get("DESTINATION_DUCKDB_PATH"):
        # paths in `.env` are relative to the project; `locate` refuses `md:...`
        dotenv["DESTINATION_DUCKDB_PATH"] = path if ":" in path else str(PROJECT / Path(path).expanduser())
    return dotenv | {name: value for name, value in os.environ.items() if value}


def read_project() -> dict[str, Any]:
    """Return meltano.yml."""
    return dict(yaml.safe_load((PROJECT / "meltano.yml").read_text(encoding="utf-8")))
