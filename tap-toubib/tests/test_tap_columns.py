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
    left_out = ["", "ID", "RowId", "Town", "_sdc_deleted_at", "_SDC_Extracted_At", "a\x00"]
    api.offer("id", "updated_at", **dict.fromkeys([*left_out, "town", "CITY"], TEXT))
    api.document["components"]["schemas"]["Patient"]["additionalProperties"] = True
    api.add(1, **dict.fromkeys([*left_out, "town", "CITY", "TOWN"], MARKER))
    for catalog in (None, catalog_of(api)):
        caplog.clear()
        output = run(catalog=catalog)
        [message] = [message for message in caplog.messages if "Not loaded" in message]
        assert message.endswith(
            ": , ID, RowId, TOWN, Town, _SDC_Extracted_At, _sdc_deleted_at, a\x00" if not catalog else "a\x00"
        )
        [record] = output.records()
        assert record.keys() == {"id", "created_at", "updated_at", "town", "CITY"}
        assert output.schemas["patients"]["properties"].keys() == {*record, "_sdc_deleted_at", "_sdc_sync_started_at"}


def test_api_that_documents_nothing_is_read(api: Api, run: Runner) -> None:
    api.document = {}
    api.rows.append({"id": 1, "surname": "Tremblay", "last_name": "x"})
    [record] = run().records()
    assert record == {"id": 1, "surname": '"Tremblay"', "last_name": "x"}
