from __future__ import annotations

from typing import Any

import pytest

from tap_toubib.tap import TapToubib
from tap_toubib.testing import TEXT, Api

from .conftest import Runner

MARKER = "Zq7marker"


def catalog_of(api: Api) -> dict[str, Any]:
    """Return the catalog as a runner gets it from `--discover` and hands it on."""
    return TapToubib(config={"api_url": api.url}).catalog_dict


KEYS = ["prénom", "名前", 'say "it"', "o'clock", "a.b", "a%b", "first name", "city, country", "{{ a }}", "back\\slash"]


def test_columns_of_any_name_are_emitted(api: Api, run: Runner, caplog: pytest.LogCaptureFixture) -> None:
    api.offer("id", "updated_at", **dict.fromkeys(KEYS, TEXT))
    api.add(1, **{key: MARKER + key for key in KEYS})
    output = run(catalog=catalog_of(api))
    [record] = output.records()
    assert {key: record[key] for key in KEYS} == {key: MARKER + key for key in KEYS}
    ours = {"_sdc_deleted_at", "_sdc_sync_started_at"}
    assert output.schemas["patients"]["properties"].keys() == {*KEYS, "id", "created_at", "updated_at"} | ours
    assert "WARNING" not in caplog.text


def test_column_is_left_out_if_a_database_cannot_have_it_beside_the_others(
    api: Api, run: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    left_out = ["", "ID", "Town", "_sdc_deleted_at", "_SDC_Extracted_At", "a\x00"]
    api.offer("id", "updated_at", **dict.fromkeys([*left_out, "town", "CITY"], TEXT))
    patient = api.document["components"]["schemas"]["Patient"]
    del patient["additionalProperties"]
    api.add(1, **dict.fromkeys([*left_out, "town", "CITY", "TOWN"], MARKER))
    for catalog in (None, catalog_of(api)):
        caplog.clear()
        output = run(catalog=catalog)
        [record] = output.records()
        assert record.keys() == {"id", "created_at", "updated_at", "town", "CITY"}
        assert output.schemas["patients"]["properties"].keys() == {*record, "_sdc_deleted_at", "_sdc_sync_started_at"}
        [message] = [message for message in caplog.messages if "ID" in message]
        assert message.startswith(
            "Not loaded, since the catalog does not name it: , ID, TOWN, Town, _SDC_Extracted_At,"
        )
        assert MARKER not in message


def test_column_that_came_after_discovery_is_named(api: Api, run: Runner, caplog: pytest.LogCaptureFixture) -> None:
    api.add(1)
    catalog = catalog_of(api)
    api.rows[0]["phone"] = MARKER
    assert run(catalog=catalog).ids == [1]
    [message] = [message for message in caplog.messages if "phone" in message]
    assert message.startswith("Not loaded, since the catalog does not name it: phone. Run discovery again to add it")
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
