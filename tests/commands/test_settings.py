"""What a run uses, decided from the terminal, `.env` and meltano.yml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support import run

from toubib_connector.destination import Destination
from toubib_connector.errors import Failure
from toubib_connector.settings import (
    PROJECT,
    check_integers,
    find_ignored,
    load_environment,
    locate,
    make_meltano_environment,
    read_environment,
)

if TYPE_CHECKING:
    from pathlib import Path

MELTANO_YML: dict[str, Any] = yaml.safe_load((PROJECT / "meltano.yml").read_text())


def configure(kind: str, plugin: str, *, only_prod: bool = False, **config: str) -> dict[str, Any]:
    """Return meltano.yml after `meltano config set`."""
    plugins = {kind: [{"name": plugin, "config": config}]}
    environments = [{"name": "prod", "config": {"plugins": plugins}}] if only_prod else MELTANO_YML["environments"]
    return {"plugins": MELTANO_YML["plugins"] if only_prod else plugins, "environments": environments}


def read(
    terminal: dict[str, str], dotenv: dict[str, str | None] | None = None, project: dict[str, Any] = MELTANO_YML
) -> dict[str, str]:
    read = read_environment(terminal, dotenv or {}, project)
    return {name: value for name, value in read.items() if name.lower() != "no_proxy"}


@pytest.mark.parametrize("name", ["API_BASEURL", "TAP_TOUBIB_API_URL"])
def test_the_api_has_two_names(name: str) -> None:
    assert read({name: "http://a"}) == read({}, {name: "http://a"}) == {"API_BASEURL": "http://a"}


@pytest.mark.parametrize("name", ["DESTINATION_DUCKDB_PATH", "TARGET_DUCKDB_FILEPATH"])
def test_the_destination_has_two_names(name: str) -> None:
    assert read({name: "a"}) == read({}, {name: "a"}) == {"DESTINATION_DUCKDB_PATH": "a"}


@pytest.mark.parametrize(("terminal", "dotenv"), [("API_BASEURL", "TAP_TOUBIB_API_URL"), ("TAP_TOUBIB_API_URL",) * 2])
def test_the_terminal_goes_before_dotenv_and_that_before_the_project(terminal: str, dotenv: str) -> None:
    project = configure("extractors", "tap-toubib", api_url="http://c")
    assert read({terminal: "http://a"}, {dotenv: "http://b"}, project) == {"API_BASEURL": "http://a"}
    assert read({terminal: ""}, {dotenv: "http://b"}, project) == {"API_BASEURL": "http://b"}
    assert read({}, {dotenv: ""}, project) == {"API_BASEURL": "http://c"}


@pytest.mark.parametrize("only_prod", [True, False])
def test_what_meltano_config_sets_is_used(*, only_prod: bool) -> None:
    project = configure("loaders", "target-duckdb", only_prod=only_prod, filepath="b")
    assert read({}, {}, project) == {"DESTINATION_DUCKDB_PATH": "b"}


def test_two_names_of_a_setting_that_differ_are_refused() -> None:
    assert read({"API_BASEURL": "http://a", "TAP_TOUBIB_API_URL": "http://a"}) == {"API_BASEURL": "http://a"}
    with pytest.raises(Failure, match="API_BASEURL and TAP_TOUBIB_API_URL name the same setting and differ"):
        read({"API_BASEURL": "http://a", "TAP_TOUBIB_API_URL": "http://b"})
    with pytest.raises(Failure, match="DESTINATION_DUCKDB_PATH and TARGET_DUCKDB_FILEPATH name"):
        read({}, {"DESTINATION_DUCKDB_PATH": "a", "TARGET_DUCKDB_FILEPATH": "b"})


def test_an_empty_variable_counts_as_not_set() -> None:
    environment = read({"TAP_TOUBIB_PAGE_SIZE": "", "OTHER": ""}, {"TAP_TOUBIB_LOOKBACK_SECONDS": ""})
    assert environment == {"OTHER": ""}
    check_integers(environment, MELTANO_YML)


@pytest.mark.parametrize("value", ["many", "1.5", "0x10"])
def test_an_integer_that_is_not_one_is_named(value: str) -> None:
    with pytest.raises(Failure, match=f"^TAP_TOUBIB_PAGE_SIZE is '{value}'; it must be an integer.$"):
        check_integers({"TAP_TOUBIB_PAGE_SIZE": value}, MELTANO_YML)


def test_dotenv_stands_in_the_project_and_so_do_the_files_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toubib_connector.settings.PROJECT", tmp_path)
    (tmp_path / "meltano.yml").write_text((PROJECT / "meltano.yml").read_text())
    (tmp_path / ".env").write_text("export API_BASEURL='http://a'\nDESTINATION_DUCKDB_PATH=data/x.duckdb # mine\n")
    environment = {"HOME": "/home/me"}
    load_environment(environment)
    assert environment["API_BASEURL"] == "http://a"
    assert environment["DESTINATION_DUCKDB_PATH"] == str(tmp_path / "data" / "x.duckdb")
    assert environment["HOME"] == "/home/me"


@pytest.mark.parametrize("given", [{}, {"no_proxy": "example.org"}, {"NO_PROXY": "example.org"}])
def test_no_proxy_stands_before_this_machine(given: dict[str, str]) -> None:
    environment = read_environment({"HTTP_PROXY": "http://proxy", **given}, {}, MELTANO_YML)
    excepted = environment["no_proxy"].split(",")
    assert environment["NO_PROXY"] == environment["no_proxy"]
    assert {"localhost", "127.0.0.1", "::1"} <= set(excepted)
    assert ("example.org" in excepted) == bool(given)


IGNORED = {
    "MELTANO_PROJECT_ROOT": "/elsewhere",
    "MELTANO_ENVIRONMENT": "dev",
    "MELTANO_STATE_BACKEND_URI": "s3://bucket",
    "MELTANO_DATABASE_URI": "sqlite:////elsewhere",
    "MELTANO_SYS_DIR_ROOT": "/elsewhere",
    "MELTANO_CLI_LOG_CONFIG": "/elsewhere",
    "MELTANO_CLI_LOG_LEVEL": "debug",
    "MELTANO_EXTRACT__LOAD_SCHEMA": "elsewhere",
    "DBT_TARGET": "spark",
    "DBT_PROFILE": "mine",
    "DBT_PROFILES_DIR": "/elsewhere",
    "DBT_PROJECT_DIR": "/elsewhere",
    "DBT_FULL_REFRESH": "true",
    "DBT_EMPTY": "true",
    "DBT_ENGINE_SAMPLE": "3 days",
    "TARGET_DUCKDB_DEFAULT_TARGET_SCHEMA": "elsewhere",
    "TARGET_DUCKDB_ADD_METADATA_COLUMNS": "false",
    "TARGET_DUCKDB_HARD_DELETE": "true",
    "TAP_TOUBIB__STATE": "/elsewhere",
    "SINGER_SDK_LOG_CONFIG": "/elsewhere",
    "PYTHONPATH": "/elsewhere",
    "PYTHONHOME": "/elsewhere",
    "PYTHONWARNINGS": "error",
}


@pytest.mark.parametrize("name", IGNORED)
def test_no_variable_of_a_shell_leads_a_run_elsewhere(tmp_path: Path, name: str) -> None:
    destination = Destination(tmp_path / "x.duckdb")
    before = make_meltano_environment(destination, {})
    assert make_meltano_environment(destination, {name: IGNORED[name]}) == before
    assert find_ignored({name: IGNORED[name]}) == [name]


def test_an_empty_variable_of_meltano_counts_as_not_set(tmp_path: Path) -> None:
    environment = make_meltano_environment(Destination(tmp_path / "x.duckdb"), {"MELTANO_CLI_LOG_FORMAT": ""})
    assert "MELTANO_CLI_LOG_FORMAT" not in environment


def test_what_a_user_says_of_the_tap_and_of_the_machine_reaches_it(tmp_path: Path) -> None:
    mine = {
        "TAP_TOUBIB_PAGE_SIZE": "50",
        "TAP_TOUBIB__SELECT": '["patients.id"]',
        "TAP_TOUBIB_STREAM_MAPS": "{}",
        "HTTPS_PROXY": "http://proxy",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MELTANO_AUTO_INSTALL": "false",
        "REQUESTS_CA_BUNDLE": "/certificates",
    }
    assert mine.items() <= make_meltano_environment(Destination(tmp_path / "x.duckdb"), mine).items()
    assert find_ignored(mine) == []


def test_the_api_reaches_meltano_under_one_name(tmp_path: Path) -> None:
    environment = make_meltano_environment(
        Destination(tmp_path / "x.duckdb"), {"API_BASEURL": "http://a", "DESTINATION_DUCKDB_PATH": "b"}
    )
    assert environment["TAP_TOUBIB_API_URL"] == "http://a"
    assert not {"API_BASEURL", "DESTINATION_DUCKDB_PATH"} & environment.keys()


def test_a_destination_can_be_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/x.duckdb") == tmp_path / "x.duckdb"


def test_a_command_without_a_runner_is_the_local_one(tmp_path: Path) -> None:
    path = str(tmp_path / "x.duckdb")
    outcome = run("env", "-u", "RUNNER", "bin/toubib-connector", "where", DESTINATION_DUCKDB_PATH=path)
    assert (outcome.returncode, outcome.stdout) == (0, f"{path}\n")


def test_a_symbolic_link_is_the_file_that_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "link.duckdb").symlink_to(tmp_path / "real.duckdb")
    assert locate(str(tmp_path / "link.duckdb")) == tmp_path / "real.duckdb"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (":memory:", "is not a file"),
        ("md:patients", "is not a file"),
        ("motherduck:patients", "is not a file"),
        ("s3://bucket/x.duckdb", "is not a file"),
        ("~nobody-of-this-name/x.duckdb", "names the home of a user that does not exist"),
        ("raw.duckdb", "DuckDB would call its database raw"),
        ("Main.DuckDB", "DuckDB would call its database Main"),
        (".TEMP.prod.duckdb", "DuckDB would call its database TEMP"),
        *((f"a{character}b.duckdb", "dbt takes no ") for character in "'\"#;\n\t"),
        ("wh?t.duckdb", "DuckDB takes no ? in a path"),
        ("wh?t/x.duckdb", "DuckDB takes no ? in a path"),
        ("information_schema", "DuckDB would call its database information_schema"),
        ("x" * 240, "the names of the files beside it would be too long"),
        ("x\udce9.duckdb", "DuckDB takes names in UTF-8 only"),
        (".", "is a directory"),
    ],
)
def test_what_cannot_be_the_destination_is_refused_with_the_reason(name: str, reason: str) -> None:
    with pytest.raises(Failure) as failure:
        locate(name)
    assert reason in failure.value.message
    assert "\n" not in failure.value.message
