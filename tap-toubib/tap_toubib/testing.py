"""An API that does what a test says: any columns, any order, any answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import sample
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tap_toubib import client

Row = dict[str, Any]

LATER = "2024-02-01T00:00:00Z"
ANY_TIME = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}
TEXT = {"type": "string"}

INSTANT = {"type": "string", "format": "date-time"}


def ref(name: str) -> Row:
    return {"$ref": f"#/components/schemas/{name}"}


def openapi(
    *sortable: str,
    nullable: tuple[str, ...] = (),
    without: tuple[str, ...] = (),
    limit: Row | None = None,
    **columns: Row,
) -> Row:
    """Return the document that FastAPI writes for such an API.

    Args:
        sortable: The values of sort_field.
        nullable: The columns that need not have a value.
        without: Columns that the API does not have.
        limit: The schema of the parameter.
        columns: Columns beside, or instead of, `id`, `created_at` and `updated_at`.
    """
    properties = {"id": {"type": "integer"}, "created_at": INSTANT, "updated_at": INSTANT, **columns}
    properties = {name: schema for name, schema in properties.items() if name not in without}
    required = [name for name in properties if name not in nullable]
    parameters = {
        "sort_field": {**ref("SortField"), "default": "last_name"},
        "offset": {"type": "integer", "minimum": 0, "default": 0},
        "limit": limit or {"type": "integer", "minimum": 1, "maximum": 100, "default": 10},
    }
    return {
        "openapi": "3.1.0",
        "paths": {
            "/v1/patients": {
                "get": {
                    "parameters": [
                        {"name": name, "in": "query", "required": False, "schema": schema}
                        for name, schema in parameters.items()
                    ],
                    "responses": {"200": {"content": {"application/json": {"schema": ref("Page_Patient_")}}}},
                }
            },
            "/v1/patients/{patient_id}": {"get": {}},
        },
        "components": {
            "schemas": {
                "SortField": {"type": "string", "enum": list(sortable)},
                "Patient": {"type": "object", "properties": properties, "required": required},
                "Page_Patient_": {"type": "object", "properties": {"data": {"type": "array", "items": ref("Patient")}}},
            }
        },
    }


def day(number: int) -> str:
    """Return the instant at which the patient of an id was last updated."""
    return f"2024-01-{number:02}T00:00:00.000000Z"


def fill(api: Api, last: int) -> None:
    """Add patients up to an id."""
    for key in range(1, last + 1):
        api.add(key)


@dataclass
class Answer:
    status: int = 200
    body: Any = b"null"
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass
class Request:
    path: str
    query: dict[str, str]
    headers: dict[str, str]


@dataclass
class Api:
    """An API over a list of rows.

    Attributes:
        rows: The collection.
        script: Answers given to the next requests instead of the usual ones.
        before: What happens right before the nth page (from 1) is read.
        before_each: What happens right before any page is read.
        before_one: What happens right before a single patient is read.
        one_status: What every request for a single patient is answered with, if anything else than usual.
        shuffled: Whether rows of equal values come in another order in every answer.
        nulls_first: Where the newest-first order puts rows without an instant.
        largest_page: What it gives at most, whatever it documents.
        count: How many patients it says that it has, of so many.
        window: The offset from which on it shows nothing.
        rewrite: What it makes of the query for a page.
        document: The OpenAPI document.
        requests: What was asked for.
    """

    url: str = ""
    rows: list[Row] = field(default_factory=list)
    script: list[Answer] = field(default_factory=list)
    before: dict[int, Callable[[], object]] = field(default_factory=dict)
    before_each: Callable[[], object] = field(default=lambda: None)
    before_one: Callable[[], object] = field(default=lambda: None)
    one_status: int | None = None
    nulls_first: bool = False
    shuffled: bool = False
    largest_page: int = 100
    count: Callable[[int], int] = lambda patients: patients
    window: int = 2**63
    rewrite: Callable[[dict[str, str]], dict[str, str]] = lambda query: query
    document: Any = None
    requests: list[Request] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def offer(self, *sortable: str, **described: Any) -> None:
        """Document what `openapi` is told."""
        self.document = openapi(*sortable, **described)

    def add(self, key: int, **columns: Any) -> Row:
        """Add a patient, last updated on the day of January 2024 that its id says."""
        instant = f"2024-01-{key:02}T00:00:00Z"
        row = {"id": key, "created_at": instant, "updated_at": instant, **columns}
        self.rows.append(row)
        return row

    def fail(self, status: int = 500, times: int = client.MAX_TRIES, body: bytes = b"", **headers: str) -> None:
        """Give this answer to the next requests; an underscore in a header's name stands for a hyphen."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.script += [Answer(status, body, named)] * times

    @property
    def confirmed(self) -> list[int]:
        """The ids that were asked for one by one."""
        return [int(r.path.rpartition("/")[2]) for r in self.requests if r.path.startswith("/v1/patients/")]

    @property
    def pages(self) -> list[dict[str, str]]:
        """The queries of all requests for a page."""
        return [request.query for request in self.requests if request.path == "/v1/patients"]

    def answer(self, request: Request) -> Answer:
        # one at a time: a page is a view of one moment
        with self._lock:
            self.requests.append(request)
            if request.path == "/v1/patients":
                self.before_each()
                self.before.get(len(self.pages), lambda: None)()
            if self.script:
                return self.script.pop(0)
            if request.path == "/health":
                return Answer(body="OK")
            if request.path == "/openapi.json":
                return Answer(body=self.document)
            if request.path.startswith("/v1/patients/"):
                return self._one(int(request.path.rpartition("/")[2]))
            return Answer(body=json.dumps(self.page(self.rewrite(request.query))).encode())

    def _one(self, key: int) -> Answer:
        self.before_one()
        if self.one_status:
            return Answer(self.one_status)
        found = [row for row in self.rows if row["id"] == key]
        return Answer(body={"data": found[0]}) if found else Answer(404)

    def page(self, query: dict[str, str]) -> Row:
        rows = sample(self.rows, len(self.rows)) if self.shuffled else list(self.rows)
        if key := query.get("sort_field"):
            rows.sort(
                key=lambda row: ((row.get(key) is None) == self.nulls_first, "" if row.get(key) is None else row[key]),
                reverse=query["sort_dir"] == "desc",
            )
        start = int(query["offset"])
        size = min(int(query["limit"]), self.largest_page) if start < self.window else 0
        return {"data": rows[start : start + size], "meta": {"total_items": self.count(len(rows))}}


@contextmanager
def serving(api: Api) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            address = urlsplit(self.path)
            answer = api.answer(Request(address.path, dict(parse_qsl(address.query)), dict(self.headers)))
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(body) + answer.cut), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        api.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
