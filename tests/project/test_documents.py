"""Documents, settings and code agree."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support import PROJECT, Destination, run

if TYPE_CHECKING:
    from pathlib import Path


PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]
TAP = PROJECT / ".meltano/extractors/tap-toubib/venv/bin/tap-toubib"


# duckdb.in is only included by others
REQUIREMENTS = sorted(set((PROJECT / "requirements").glob("*.in")) - {PROJECT / "requirements/duckdb.in"})


@pytest.fixture(scope="module")
def about() -> dict[str, Any]:
    """The output of `tap-toubib --about`."""
    return dict(json.loads(run(TAP, "--about", "--format=json").stdout))


@pytest.fixture(scope="module")
def settings(about: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The tap's own settings, without the SDK's, which follow them."""
    properties: dict[str, dict[str, Any]] = about["settings"]["properties"]
    return {name: properties[name] for name in takewhile(lambda name: name != "stream_maps", properties)}


@pytest.fixture(scope="module")
def extractor() -> dict[str, Any]:
    """The tap in meltano.yml."""
    project = yaml.safe_load((PROJECT / "meltano.yml").read_text())
    return dict(project["plugins"]["extractors"][0])


def test_the_readme_of_the_tap_lists_its_settings(about: dict[str, Any], settings: dict[str, dict[str, Any]]) -> None:
    required = about["settings"]["required"]
    rows = [
        f"| {name} | {name in required} | {setting.get('default')} | {setting['description']} |"
        for name, setting in settings.items()
    ]
    text = (PROJECT / "tap-toubib/README.md").read_text()
    table = text.split("## Settings\n\n")[1].split("\n\n")[0].splitlines()[2:]
    assert table == rows


def test_the_readme_of_the_tap_lists_its_capabilities(about: dict[str, Any], extractor: dict[str, Any]) -> None:
    text = (PROJECT / "tap-toubib/README.md").read_text()
    listed = re.findall(r"`([\w-]+)`", text.split("## Capabilities\n\n")[1].split("\n\n")[0])
    assert sorted(listed) == sorted(about["capabilities"]) == sorted(extractor["capabilities"])


def test_meltano_knows_the_settings_of_the_tap(settings: dict[str, dict[str, Any]], extractor: dict[str, Any]) -> None:
    known = {setting["name"]: setting for setting in extractor["settings"]}
    assert [name for name in known if not name.startswith("batch_config.")] == [*settings, "stream_maps"]
    for name, setting in settings.items():
        assert known[name].get("sensitive", False) == setting.get("secret", False)
        assert (known[name].get("kind") == "integer") == ("integer" in setting["type"])


def test_compose_passes_on_the_settings_of_the_environment(extractor: dict[str, Any]) -> None:
    passed = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())["services"]["connector"]["environment"]
    settings = {setting["name"] for setting in extractor["settings"] if "." not in setting["name"]}
    names = {f"TAP_TOUBIB_{name.upper()}" for name in settings - {"api_url", "known_ids_file"}}
    assert names <= {name for name, value in passed.items() if value is None}


def test_every_column_is_described(empty: Destination) -> None:
    described: dict[str, dict[str, str]] = {}
    for path in (PROJECT / "transform/models").rglob("*.yml"):
        for model in yaml.safe_load(path.read_text()).get("models", []):
            described[model["name"]] = {c["name"]: c.get("description", "") for c in model.get("columns", [])}
    made = empty.query("""
        select table_schema, table_name from information_schema.tables
        where table_schema in ('main', 'staging')
    """)
    # a table macro is not a table
    assert {name for _, name in made} == set(described) - {"patients_as_of"}
    for schema, name in made:
        assert sorted(empty.columns(f"{schema}.{name}")) == sorted(described[name])
        assert all(described[name].values())


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_requirements_are_compiled(path: Path) -> None:
    pinned = path.with_suffix(".txt").read_text()
    names = re.findall(r"^([a-z][\w.-]*)", path.read_text(), re.MULTILINE)
    assert names
    for name in names:
        assert re.search(rf"^{name}==", pinned, re.MULTILINE), name
    for requirement in re.split(r"\n(?=\S)", pinned):
        assert "--hash=sha256:" in requirement, requirement


def test_every_package_has_the_licence_of_the_repository_and_the_version_of_the_newest_release() -> None:
    assert (PROJECT / "LICENSE").read_text().startswith("MIT License")
    newest = re.findall(r"^## (\d\S+) - ", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    projects = [tomllib.loads(path.read_text())["project"] for path in PROJECT.glob("*/pyproject.toml")]
    assert [(each["license"], each["version"]) for each in projects] == [("MIT", newest)] * 4


def test_the_example_of_an_env_file_has_every_setting_of_the_documents(extractor: dict[str, Any]) -> None:
    section = (PROJECT / "docs/operations.md").read_text().split("## Settings")[1].split("##")[0]
    documented = set(re.findall(r"^\| `([A-Z_]+)`", section, re.MULTILINE))
    settings = {
        f"TAP_TOUBIB_{setting['name'].upper()}" for setting in extractor["settings"] if "." not in setting["name"]
    }
    listed = set(re.findall(r"^# ([A-Z_]+)=", (PROJECT / ".env.example").read_text(), re.MULTILINE))
    assert documented - listed == set()
    assert {name for name in listed if name.startswith("TAP_")} <= settings


def test_make_help_lists_every_target() -> None:
    text = (PROJECT / "Makefile").read_text().replace("\\\n", "")
    phony = re.findall(r"^\.PHONY: (help .*)$", text, re.MULTILINE)[0].split()
    listed = [line.split()[0] for line in run("make", "help").stdout.splitlines() if line.startswith("  ")]
    assert sorted(listed) == sorted(phony)


def blocks(page: Path) -> list[str]:
    """Return the code of a page."""
    return re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """Return the `make` commands of a page, also within a crontab or a unit."""
    typed = [command for block in blocks(page) for command in re.findall(r"\bmake [^#\n<>]*", block)]
    return typed + re.findall(r"`(make [^`]*)`", page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_knows_every_command_of_a_page(page: Path) -> None:
    assert commands(page) or page.name != "README.md"
    for command in sorted(set(commands(page))):
        outcome = run(*shlex.split(command), "--dry-run", "RUNNER=local")
        assert outcome.returncode == 0, outcome.stdout


@pytest.mark.parametrize(
    "page", [*PAGES, *PROJECT.glob("[!.]*/README.md")], ids=lambda page: str(page.relative_to(PROJECT))
)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not link.startswith("https://"):
            path, _, heading = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE) if heading else []
            assert not heading or heading in {title.lower().replace(" ", "-") for title in headings}, link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_variable_that_a_page_names_is_read_somewhere(page: Path) -> None:
    read = "".join(
        path.read_text()
        for folder in ("connector", "tap-toubib", "toubib-api", "bin")
        for path in (PROJECT / folder).rglob("*")
        if path.is_file() and (path.suffix == ".py" or path.parent.name == "bin")
    )
    read += "".join((PROJECT / name).read_text() for name in ("Makefile", "meltano.yml", "docker-compose.yml"))
    for name in set(re.findall(r"\b((?:TAP_TOUBIB|TOUBIB|DESTINATION|MELTANO)_[A-Z_]+[A-Z])\b", page.read_text())):
        setting = name.removeprefix("TAP_TOUBIB_").lower()
        assert name in read or f'"{setting}"' in read, name
