from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_toubib.discovery import read_document
from tap_toubib.records import PageDecoder
from tap_toubib.values import to_utc

MARKER = "Zq7marker"
EXTRA = {"type": ["string", "null"], "contentMediaType": "application/json"}
SCHEMA = read_document({}).schema
SCHEMA["properties"] |= {"extra": EXTRA, "weight": {"type": ["number", "null"]}, "vip": {"type": ["boolean", "null"]}}
DECODER = PageDecoder(SCHEMA)

FIRST, LAST = datetime(1, 1, 2), datetime(9999, 12, 30)  # noqa: DTZ001  # any offset keeps them in range
INSTANTS = st.datetimes(FIRST, LAST) | st.datetimes(FIRST, LAST, timezones=st.timezones())


def page(*rows: Any, meta: Any = None) -> bytes:
    return json.dumps({"data": rows, "meta": meta or {"total_items": len(rows)}}).encode()


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2024-05-01T10:00:00", "2024-05-01T10:00:00.000000Z"),
        ("2024-05-01 10:00:00", "2024-05-01T10:00:00.000000Z"),
        ("2024-05-01T10:00:00Z", "2024-05-01T10:00:00.000000Z"),
        ("2024-05-01T10:00:00.5+00:00", "2024-05-01T10:00:00.500000Z"),
        ("2024-05-01T01:00:00+02:00", "2024-04-30T23:00:00.000000Z"),
        ("2024-05-01T10:00:00.123456789Z", "2024-05-01T10:00:00.123457Z"),
        ("0987-05-01T10:00:00Z", "0987-05-01T10:00:00.000000Z"),
    ],
)
def test_instants_are_written_in_one_form(written: str, expected: str) -> None:
    [record] = DECODER.decode(page({"id": 1, "updated_at": written})).records
    assert record["updated_at"] == expected


@settings(derandomize=True, deadline=None)
@given(INSTANTS, INSTANTS)
def test_instants_sort_as_text_as_they_do_in_time(one: datetime, other: datetime) -> None:
    def in_time(instant: datetime) -> datetime:
        return instant if instant.tzinfo else instant.replace(tzinfo=UTC)

    assert (to_utc(one) < to_utc(other)) == (in_time(one).astimezone(UTC) < in_time(other).astimezone(UTC))


@pytest.mark.parametrize(
    "row",
    [
        {"date_of_birth": "2024-02-29", "total_visits": -(2**63), "weight": 1.5, "vip": True},
        {"total_visits": 2**63 - 1, "email": "élise\u0000\n\U0001f600"},
        {"email": None, "updated_at": None, "date_of_birth": None, "total_visits": None, "extra": None},
        {},
    ],
)
def test_good_values_stay_as_they_are(row: dict[str, Any]) -> None:
    result = DECODER.decode(page({"id": 1} | row))
    assert result.records == [{"id": 1} | row]
    assert not result.rejected


def test_unknown_column_is_left_out() -> None:
    assert DECODER.decode(page({"id": 1, "new": 2})).records == [{"id": 1}]


BAD_VALUES = {
    "no such day": ("date_of_birth", f"2024-02-30{MARKER}"),
    "no such instant": ("updated_at", f"2024-02-30T00:00:00{MARKER}"),
    "instant without time": ("updated_at", "2024-02-28"),
    "leap second": ("updated_at", "2016-12-31T23:59:60Z"),
    "instant before the year 1": ("updated_at", "0001-01-01T00:00:00+02:00"),
    "number for an instant": ("created_at", 1714557600),
    "text for an integer": ("total_visits", MARKER),
    "boolean for an integer": ("total_visits", True),
    "float for an integer": ("total_visits", 1.5),
    "integer of 71 bits": ("total_visits", 2**70),
    "text for a boolean": ("vip", MARKER),
    "object for a text": ("email", {MARKER: MARKER}),
    "null for the id": ("id", None),
    "text for the id": ("id", MARKER),
}


@pytest.mark.parametrize(("field", "value"), BAD_VALUES.values(), ids=BAD_VALUES)
def test_record_with_a_bad_value_is_rejected_and_the_others_stay(field: str, value: object) -> None:
    bad = {"id": 2, "first_name": MARKER, field: value}
    result = DECODER.decode(page({"id": 3}, bad, {"id": 1}))
    assert result.records == [{"id": 3}, {"id": 1}]
    [rejected] = result.rejected
    assert rejected.field == field
    assert rejected.id == (None if bad["id"] is None else str(bad["id"]))
    assert MARKER not in rejected.reason
    assert json.loads(rejected.record) == bad
    assert (len(result.rows), result.total_items) == (3, 3)


@pytest.mark.parametrize("item", [None, 5, MARKER, [MARKER], {"email": MARKER}], ids=str)
def test_item_without_an_id_is_rejected(item: object) -> None:
    result = DECODER.decode(page({"id": 1}, item))
    assert result.records == [{"id": 1}]
    [rejected] = result.rejected
    assert rejected.id is None
    assert MARKER not in rejected.reason
    assert json.loads(rejected.record) == item


@pytest.mark.parametrize(
    "text",
    [
        rf'{{"id":2,"email":"{MARKER}\ud800"}}'.encode(),
        f'{{"id":2,"email":"{MARKER}'.encode() + b'\xff\xfe"}',
        f'{{"id":2,"email":"{MARKER}","weight":NaN}}'.encode(),
        f'{{"id":2,"email":"{MARKER}","weight":1E99999999999999999999}}'.encode(),
    ],
    ids=["lone surrogate", "invalid UTF-8", "NaN", "exponent"],
)
def test_record_that_no_loader_could_read_is_rejected_and_the_others_stay(text: bytes) -> None:
    result = DECODER.decode(b'{"data":[{"id":3},%b,{"id":1}],"meta":{"total_items":3}}' % text)
    assert result.records == [{"id": 3}, {"id": 1}]
    [rejected] = result.rejected
    assert rejected.id == "2"
    assert MARKER not in rejected.reason
    assert MARKER in rejected.record
    assert rejected.record.isascii()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b'"OK"',
        f"<html>{MARKER}</html>".encode(),
        f'{{"detail":"{MARKER}"}}'.encode(),
        page({"id": 1, "email": MARKER})[:-1],
        page({"id": 1, "email": MARKER})[:40],
        b'{"data":null,"meta":{"total_items":1}}',
        b'{"data":[],"meta":{}}',
        b'{"data":[]}',
        page({"id": 1}, meta={"total_items": -1}),
        page({"id": 1}, meta={"total_items": MARKER}),
        page({"id": 1}, meta=[MARKER]),
    ],
    ids=lambda body: body[:50].decode(),
)
def test_body_that_is_not_a_page_is_an_error_that_does_not_quote_it(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        DECODER.decode(body)
    assert MARKER not in str(error.value)


whole_and_taken_apart = pytest.mark.parametrize("other", [b"", b',{"id":2,"email":5}'], ids=["whole", "taken apart"])

VALUES = ["", " ", "NULL", r"\N", "\"'`", "a\r\nb\rc\n", "\t", "\u0000", "\u2028", "\uffff"]
VALUES += ["\U0001f469\u200d\u2695\ufe0f", "e\u0301", "é" * 3_000_000]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: ascii(value[:9]))
@whole_and_taken_apart
def test_text_stays_as_it_is(value: str, other: bytes) -> None:
    row = json.dumps({"id": 1, "email": value, "extra": {value: [value]}}).encode()
    [record] = DECODER.decode(b'{"data":[%b%b],"meta":{"total_items":1}}' % (row, other)).records
    assert record["email"] == value
    assert json.loads(record["extra"]) == {value: [value]}


@pytest.mark.parametrize(
    "text", ["0", "-0.0", "5", "1e3", "0.30000000000000004", "0.1234567890123456789", "9007199254740993", "5e-324"]
)
@whole_and_taken_apart
def test_number_is_loaded_as_a_double(text: str, other: bytes) -> None:
    body = b'{"data":[{"id":1,"weight":%b}%b],"meta":{"total_items":1}}' % (text.encode(), other)
    [record] = DECODER.decode(body).records
    assert str(record["weight"]) == str(float(text))


@pytest.mark.parametrize("text", ["1e400", f"1{'0' * 400}", "true", '"5"'], ids=lambda text: text[:6])
@whole_and_taken_apart
def test_value_that_is_not_a_double_is_rejected(text: str, other: bytes) -> None:
    body = b'{"data":[{"id":1,"weight":%b},{"id":3}%b],"meta":{"total_items":1}}' % (text.encode(), other)
    result = DECODER.decode(body)
    assert result.records == [{"id": 3}]
    assert result.rejected[0].id == "1"
    assert text not in result.rejected[0].reason


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("0.1234567890123456789", "0.12345678901234568"),
        ("1.50", "1.5"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("-9223372036854775809", "-9223372036854775809"),
        ("null", "null"),
        ('"a\\u0000"', '"a\\u0000"'),
        ("[]", "[]"),
    ],
)
@whole_and_taken_apart
def test_json_text_holds_any_value(text: str, kept: str, other: bytes) -> None:
    body = b'{"data":[{"id":1,"extra":[%b]}%b],"meta":{"total_items":1}}' % (text.encode(), other)
    [record] = DECODER.decode(body).records
    assert record["extra"] == f"[{kept}]"


def test_order_of_keys_in_json_text_says_nothing() -> None:
    one, other = '{"b": {"d": 1, "c": [2, 1]}, "a": null}', '{"a":null,"b":{"c":[2,1],"d":1}}'
    body = f'{{"data":[{{"id":1,"extra":{one}}},{{"id":2,"extra":{other}}}],"meta":{{"total_items":2}}}}'
    assert [record["extra"] for record in DECODER.decode(body.encode()).records] == [other, other]


@pytest.mark.parametrize("field", ["a.b", "a[0]", "prénom", "first name", ""])
def test_rejected_record_names_its_field(field: str) -> None:
    decoder = PageDecoder({"properties": {"id": {"type": ["integer"]}, field: {"type": ["integer", "null"]}}})
    [rejected] = decoder.decode(page({"id": 1, field: MARKER})).rejected
    assert rejected.field == field


def test_keys_that_are_not_ascii_come_in_a_process_that_never_met_them() -> None:
    keys = ["prénom", "naïve_ß", "名前", "é", "\U0001f600"]
    escaped = page({"id": 1} | {key: key for key in keys}).decode()
    plain = json.dumps(json.loads(escaped), ensure_ascii=False)
    program = (
        "import json, sys\n"
        "from tap_toubib.records import PageDecoder\n"
        "schema, *bodies = json.loads(sys.stdin.buffer.read())\n"
        "decoder = PageDecoder(schema)\n"
        "print(json.dumps([decoder.decode(body.encode()).records for body in bodies]))\n"
    )
    schema = {"properties": {"id": {"type": ["integer"]}} | {key: {"type": ["string", "null"]} for key in keys}}
    document = json.dumps([schema, escaped, plain])
    outcome = subprocess.run([sys.executable, "-c", program], input=document.encode(), check=True, capture_output=True)
    assert json.loads(outcome.stdout) == [[{"id": 1} | {key: key for key in keys}]] * 2
