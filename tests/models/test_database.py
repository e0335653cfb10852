"""The file as an analyst sees it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pytest
from story import UPDATED
from support import PROJECT, Destination

PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
STATEMENTS = [
    statement
    for page in PAGES
    for block in re.findall(r"^```sql\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    for statement in duckdb.extract_statements(block)
]
QUERIES = sorted((PROJECT / "transform/analyses").glob("*.sql"))


def ask(destination: Destination, *lines: str) -> str:
    """Type lines at the prompt of `make sql`."""
    return destination.make("sql", typed="\n".join([".mode csv", *lines])).stdout


@pytest.mark.parametrize("query", QUERIES, ids=[query.stem for query in QUERIES])
def test_a_ready_query_shows_all_its_columns_on_a_terminal_of_100(loaded: Destination, query: Path) -> None:
    read = f".read {query.relative_to(PROJECT)}"
    _, answer, table = ask(
        loaded, ".print ANSWER", read, ".print ANSWER", ".mode duckbox", ".maxwidth 100", read
    ).split("ANSWER\n")
    header, *rows = answer.splitlines()
    assert rows
    lines = table.splitlines()
    assert max(map(len, lines)) <= 100
    assert [name.strip() for name in lines[1].strip("│").split("│")] == header.split(",")


def test_the_queries_of_the_pages_answer(loaded: Destination) -> None:
    assert len(STATEMENTS) >= 3
    with duckdb.connect(str(loaded.path), read_only=True) as connection:
        for statement in STATEMENTS:
            assert connection.execute(statement).description, statement.query


def test_a_ready_query_takes_the_patient_and_the_instant_as_variables(loaded: Destination) -> None:
    history, on_a_day = (
        f".read transform/analyses/{name}.sql" for name in ("history_of_a_patient", "patient_on_a_day")
    )
    most_versions = ask(loaded, history)
    assert any(f"{patient_id},2," in most_versions for patient_id in UPDATED)
    assert "8,1," in ask(loaded, "set variable patient_id = 8;", history)
    present = ask(loaded, "set variable patient_id = 7;", on_a_day)
    assert "patient_id,7" in present
    assert 'last_name,"Née-7"' in present
    [(before,)] = loaded.query("""
        select (changed_at - interval 1 second)::varchar from main.patient_changes where patient_id = 7
    """)
    then = f"set variable instant = '{before}';"
    assert 'last_name,"Née-7"' not in ask(loaded, "set variable patient_id = 7;", then, on_a_day)


def test_the_prompt_changes_nothing(loaded: Destination) -> None:
    assert "read-only" in ask(loaded, "delete from main.patients_history;")


def test_a_renamed_file_answers_the_same(loaded: Destination, tmp_path: Path) -> None:
    copy = loaded.copy(tmp_path / "renamed.duckdb")
    for table in ("main.patients", "main.patient_changes", "main.syncs", "main.patients_as_of('2100-01-01')"):
        assert copy.rows(table) == loaded.rows(table)


def test_an_instant_without_a_zone_is_in_utc_whatever_the_zone_of_the_session(loaded: Destination) -> None:
    query = "select last_name from main.patients_as_of({}) where patient_id = 7"
    [(changed_at,)] = loaded.query("select epoch_us(changed_at) from main.patient_changes where patient_id = 7")
    utc = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=changed_at)
    montreal = utc.astimezone(timezone(timedelta(hours=-5)))
    with duckdb.connect(str(loaded.path), read_only=True) as connection:
        connection.execute("set timezone = 'Asia/Kathmandu'")
        texts = [f"'{utc:%Y-%m-%d %H:%M:%S.%f}'", f"'{utc:%Y-%m-%dT%H:%M:%S.%fZ}'", f"'{montreal}'"]
        texts += [f"'{utc:%Y-%m-%d %H:%M:%S.%f} Africa/Abidjan'"]
        for instant in (*texts, f"timestamp {texts[0]}", f"timestamptz {texts[2]}", "now()", "current_date + 1"):
            assert connection.sql(query.format(instant)).fetchall() == [("Née-7",)], instant
        earlier = f"{montreal - timedelta(microseconds=1)}"
        assert connection.sql(query.format(f"'{earlier}'")).fetchall() != [("Née-7",)]
        for nonsense in ("'yesterday evening'", "7", "null"):
            with pytest.raises(duckdb.Error, match=r"^Invalid Input Error: patients_as_of needs an instant, [^\n]*$"):
                connection.sql(query.format(nonsense)).fetchall()


def test_every_table_and_column_has_a_comment_of_one_line(loaded: Destination) -> None:
    comments = loaded.query("""
        select schema_name, table_name, comment from duckdb_tables()
        union all
        select schema_name, view_name, comment from duckdb_views() where not internal
        union all
        select table_name, column_name, comment from duckdb_columns() where not internal
        union all
        select schema_name, function_name, comment from duckdb_functions() where function_name = 'patients_as_of'
    """)
    assert [names for *names, comment in comments if not comment or "\n" in comment] == []
    assert "present at that instant" in comments[-1][-1]


@pytest.mark.complete
def test_the_site_is_one_page(loaded: Destination) -> None:
    outcome = loaded.make("docs")
    assert outcome.returncode == 0, outcome.stdout
    page = outcome.stdout.splitlines()[-1].removeprefix("Open ")
    text = Path(page).read_text(encoding="utf-8")
    assert "patients_as_of" in text
    assert '<script src="http' not in text
    # the front page is the project's
    assert "Patients of a Toubib service, with their history" in text
