"""The settings of a command: the command line, the environment, `.env`, defaults, and the variables for Meltano."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import yaml
from click.testing import CliRunner
from support import run

from toubib_connector import cli
from toubib_connector import settings as module
from toubib_connector.cli import main
from toubib_connector.destination import Destination
from toubib_connector.errors import Failure
from toubib_connector.meltano import make_environment
from toubib_connector.settings import PROJECT, Settings, locate, read_project

if TYPE_CHECKING:
    from pathlib import Path

MELTANO_YML = read_project()


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project folder without an `.env`, and an environment that is restored."""
    monkeypatch.setattr(module, "PROJECT", tmp_path)
    monkeypatch.setattr(os, "environ", os.environ.copy())


def taken(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Settings:
    """Return the settings that a run would have."""
    settings: list[Settings] = []
    monkeypatch.setattr(cli, "run_pipeline", settings.append)
    outcome = CliRunner().invoke(main, arguments or ["run"])
    assert outcome.exit_code == 0, outcome.output
    return settings[0]


def check(environment: dict[str, str], text: str = "{}") -> None:
    """Check variables and meltano.yml, in which a text replaces the same keys."""
    Settings(Destination(PROJECT / "x.duckdb"), environment).check(MELTANO_YML | yaml.safe_load(text))


def test_the_command_line_overrides_the_environment_which_overrides_dotenv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dotenv = "export API_BASEURL='http://c'\nDESTINATION_DUCKDB_PATH=data/x.duckdb # mine\nTAP_TOUBIB_PAGE_SIZE=7\n"
    (tmp_path / ".env").write_text(dotenv)
    monkeypatch.setenv("API_BASEURL", "http://b")
    monkeypatch.setenv("TAP_TOUBIB_FULL_REFRESH", "true")
    assert taken(monkeypatch).environment["API_BASEURL"] == "http://b"
    other = taken(monkeypatch, f"--destination={tmp_path}/y.duckdb", "run")
    assert other.destination.path == tmp_path / "y.duckdb"
    # an empty variable counts as not set
    monkeypatch.setenv("API_BASEURL", "")
    monkeypatch.setenv("TAP_TOUBIB_USER_AGENT", "")
    settings = taken(monkeypatch)
    assert settings.environment["API_BASEURL"] == "http://c"
    assert settings.full_refresh
    # relative paths start in the project's folder
    assert settings.destination.path == tmp_path / "data" / "x.duckdb"
    assert settings.environment["TAP_TOUBIB_PAGE_SIZE"] == "7"
    assert "TAP_TOUBIB_USER_AGENT" not in settings.environment


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("TAP_TOUBIB_API_URL", "Set API_BASEURL"),
        ("TARGET_DUCKDB_FILEPATH", "Set DESTINATION_DUCKDB_PATH"),
        ("MELTANO_ENVIRONMENT", "run Meltano by hand"),
        ("MELTANO_STATE_BACKEND_URI", "beside the destination"),
        ("TAP_TOUBIB_PAGESIZE", "is not a setting of the tap"),
        ("TAP_TOUBIB__STATE", "is not a setting of the tap"),
        ("TAP_TOUBIB_PAGE_SIZE", "must be an integer"),
    ],
)
def test_a_variable_that_a_run_would_not_honour_is_refused(name: str, advice: str) -> None:
    with pytest.raises(Failure, match=f"^{name} .*{advice}.*$"):
        check({name: "x"})


@pytest.mark.parametrize(
    "text",
    [
        "plugins: {extractors: [{name: tap-toubib, settings: [], config: {api_url: 'http://a'}}]}",
        "environments: [{name: prod, config: {plugins: {extractors: [{name: tap-toubib, config: {api_url: a}}]}}}]",
        "environments: [{name: prod, config: {plugins: {loaders: [{name: target-duckdb, config: {filepath: $A}}]}}}]",
    ],
)
def test_a_setting_of_meltano_config_that_a_run_would_not_use_is_refused(text: str) -> None:
    with pytest.raises(Failure, match=r"in meltano\.yml is not used here\. Set "):
        check({}, text)


@pytest.mark.parametrize(
    "text",
    [
        "environments: [{name: mine, config: {plugins: {loaders: [{name: target-duckdb, config: {filepath: a}}]}}}]",
        "environments: [{name: prod, config: {plugins: {extractors: [{name: tap-mine, config: {api_url: a}}]}}}]",
        "environments: [{name: prod, config: {plugins: {extractors: [{name: tap-toubib, config: {page_size: 5}}]}}}]",
    ],
)
def test_meltano_yml_can_have_other_environments_and_settings(text: str) -> None:
    check({}, text)


MINE = {
    "TAP_TOUBIB_PAGE_SIZE": "50",
    "TAP_TOUBIB__SELECT": '["patients.id"]',
    "TAP_TOUBIB_STREAM_MAPS": "{}",
    "HTTPS_PROXY": "http://proxy",
    "no_proxy": "example.org",
    "PYTHONDONTWRITEBYTECODE": "1",
    "MELTANO_AUTO_INSTALL": "false",
    "MELTANO_CLI_LOG_FORMAT": "json",
    "REQUESTS_CA_BUNDLE": "/certificates",
    "SSL_CERT_FILE": "/certificates",
    "TOUBIB_MEMORY_LIMIT": "1GB",
    "LC_ALL": "C",
    "TZ": "Asia/Kathmandu",
    "PATH": "/bin",
    "HOME": "/folder",
}
NOT_PASSED_ON = [
    *("MELTANO_CLI_LOG_LEVEL", "MELTANO_CLI_LOG_CONFIG", "MELTANO_EXTRACT__LOAD_SCHEMA", "DBT_PROFILE", "DBT_EMPTY"),
    *("DBT_FULL_REFRESH", "DBT_ENGINE_SAMPLE", "TARGET_DUCKDB_HARD_DELETE", "SINGER_SDK_LOG_CONFIG", "PYTHONPATH"),
    *("PYTHONHOME", "PYTHONWARNINGS", "TAP_TOUBIB_FULL_REFRESH", "DESTINATION_DUCKDB_PATH", "API_BASEURL", "ANYTHING"),
]


def test_meltano_receives_only_the_settings_of_the_tap_and_of_the_machine(tmp_path: Path) -> None:
    settings = Settings(Destination(tmp_path / "x.duckdb"), MINE)
    environment = make_environment(settings)
    assert environment.items() >= MINE.items()
    others = MINE | dict.fromkeys(NOT_PASSED_ON, "/elsewhere")
    others |= {name: "/elsewhere" for name in environment if name not in MINE}
    assert make_environment(replace(settings, environment=others)) == environment


def test_a_destination_can_be_in_the_home_folder_and_a_symbolic_link(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "link.duckdb").symlink_to(tmp_path / "real.duckdb")
    assert locate("~/link.duckdb").path == tmp_path / "real.duckdb"


@pytest.mark.parametrize(
    "name",
    [
        *(
            ":memory:",
            "md:patients",
            "motherduck:patients",
            "s3://bucket/x.duckdb",
            "x\udce9.duckdb",
            "wh?t/x.duckdb",
            ".",
            # DuckDB names the database after the file, and the name would be that of a schema, too
            "raw.duckdb",
            "data/Staging.db",
            "bookkeeping",
        ),
        *(f"a{character}b.duckdb" for character in "'\"#;\n\t"),
    ],
)
def test_an_impossible_destination_is_refused(name: str) -> None:
    with pytest.raises(Failure) as failure:
        locate(name)
    assert failure.value.message.startswith(f"{name!r} cannot be the path of the DuckDB file. ")


def test_a_destination_that_is_refused_ends_a_command_with_one_line() -> None:
    outcome = run(".venv/bin/toubib-connector", "status", DESTINATION_DUCKDB_PATH="md:patients")
    assert outcome.returncode == 1
    assert outcome.stdout.startswith("Error: 'md:patients' cannot be the path of the DuckDB file. ")
    assert len(outcome.stdout.splitlines()) == 1
