from __future__ import annotations

from typing import Any

import pytest

from tap_toubib.columns import describe, get_key, name_columns
from tap_toubib.tap import TapToubib
from tap_toubib.testing import TEXT, Api

from .conftest import Runner

MARKER = "Zq7marker"


@pytest.mark.parametrize(
    "key",
    [
        "email",
        "Email",
        "prénom",
        "名前",
        "first name",
        "a.b",
        "a__b",
        "sex-at-birth",
        "select",
        "1st",
        "_sdc_level",
        "%",
        "a%b",
    ],
)
def test_key_that_a_database_takes_is_the_name(key: str) -> None:
    assert name_columns([key]) == {key: key}


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ('a"b', "a_b"),
        ("o'clock", "o_clock"),
        ("a\\b`c", "a_b_c"),
        ("city, country", "city_ country"),
        ("{{ a }}", "__ a __"),
        ("a\nb\x00", "a_b_"),
        ("a\ud800", "a_"),
        ("", "_"),
        ("_sdc_deleted_at", "_sdc_deleted_at_2"),
        ("_SDC_Extracted_At", "_SDC_Extracted_At_2"),
    ],
)
def test_key_that_no_database_takes_gets_a_name(key: str, name: str) -> None:
    assert name_columns([key]) == {key: name}


def test_names_that_differ_only_in_case_get_numbers_whatever_their_order() -> None:
    expected = {
        "ID": "ID_2",
        "Id": "Id_3",
        "id": "id",
        "ID_2": "ID_2_2",
        "É": "É_2",
        "é": "é",
        'a"': "a__2",
        "a'": "a__3",
        "a_": "a_",
    }
    assert name_columns(expected) == expected
    assert name_columns([*reversed(expected)]) == expected
    assert list(name_columns([*reversed(expected)])) == [*reversed(expected)]


def test_name_that_is_taken_gets_a_number() -> None:
    assert name_columns(["email", "town"], ["Email"]) == {"email": "email_2", "town": "town"}


def test_column_tells_its_key() -> None:
    assert get_key("a_b", describe('a"b', "a_b", {"type": ["string"]})) == 'a"b'
    assert describe("a", "a", {"type": ["string"]}) == {"type": ["string"]}


def catalog_of(api: Api) -> dict[str, Any]:
    """Return the catalog as a runner gets it from `--discover` and hands it on."""
    return TapToubib(config={"api_url": api.url}).catalog_dict


def test_columns_of_any_name_are_emitted(api: Api, run: Runner, caplog: pytest.LogCaptureFixture) -> None:
    names = {
        "prénom": "prénom",
        "名前": "名前",
        "ID": "ID_2",
        'say "it"': "say _it_",
        "o'clock": "o_clock",
        "a.b": "a.b",
    }
    columns: dict[str, Any] = dict.fromkeys(names, TEXT)
    api.offer("id", "updated_at", **columns)
    api.add(1, **{key: MARKER + key for key in names})
    output = run(catalog=catalog_of(api))
    [record] = output.records()
    assert {name: record[name] for name in names.values()} == {name: MARKER + key for key, name in names.items()}
    ours = {"_sdc_deleted_at", "_sdc_sync_started_at"}
    assert output.schemas["patients"]["properties"].keys() == {*names.values(), "id", "created_at", "updated_at"} | ours
    assert caplog.text.count("'ID' as ID_2, ") == 2
    assert MARKER not in caplog.text


def test_column_that_is_not_documented_is_emitted_as_json_text(api: Api, run: Runner) -> None:
    described = api.document["components"]["schemas"]["Patient"]
    del described["additionalProperties"]
    api.add(1, phone="5")
    api.add(2, phone=5)
    for catalog in (None, catalog_of(api)):
        output = run(catalog=catalog)
        assert [record["phone"] for record in output.records()] == ['"5"', "5"]


def test_column_that_came_after_discovery_is_named(api: Api, run: Runner, caplog: pytest.LogCaptureFixture) -> None:
    api.add(1)
    catalog = catalog_of(api)
    api.rows[0]["phone"] = MARKER
    assert run(catalog=catalog).ids == [1]
    assert [message for message in caplog.messages if "phone" in message] == [
        "Not loaded, since the catalog does not name it: phone. A new discovery finds it"
    ]
    assert MARKER not in caplog.text


def test_documented_column_that_never_comes_is_named(api: Api, run: Runner, caplog: pytest.LogCaptureFixture) -> None:
    api.offer("id", "updated_at", town=TEXT)
    api.add(1)
    run()
    assert caplog.messages.count("No patient that was read has a column that the API documents: town") == 1


def test_text_ids_are_emitted_as_they_are_and_changes_are_found(api: Api, run: Runner) -> None:
    api.offer("id", "updated_at", id={"type": "string", "format": "uuid"})
    texts = ["00001", "1", "0b1e8c9a-5d4f-4d55-9d0e-1f4b9f0c2a11"]
    for number, text in enumerate(texts, start=1):
        api.add(number)["id"] = text
    first = run(page_size=2)
    assert sorted(first.ids) == sorted(texts)
    api.rows[1]["updated_at"] = "2024-02-01T00:00:00Z"
    assert run(state=first.state, lookback_seconds=0).ids[0] == "1"


def test_zero_and_negative_ids_are_emitted(api: Api, run: Runner) -> None:
    for number, key in enumerate((0, -1, -(2**63)), start=1):
        api.add(number)["id"] = key
    assert sorted(run().ids) == [-(2**63), -1, 0]


def test_api_that_documents_nothing_is_read(api: Api, run: Runner) -> None:
    api.document = {}
    api.rows.append({"id": "00001", "surname": "Tremblay", "last_name": "x"})
    [record] = run().records()
    assert record == {"id": "00001", "surname": '"Tremblay"', "last_name": "x"}


def test_patients_are_read_where_the_document_says(api: Api, run: Runner) -> None:
    api.prefix = "/api"
    api.document["paths"] = {f"/api{path}": item for path, item in api.document["paths"].items()}
    api.add(1)
    api.add(2)
    first = run()
    assert sorted(first.ids) == [1, 2]
    del api.rows[0]
    assert [record["id"] for record in run(state=first.state).records() if "_sdc_deleted_at" in record] == [1]
