"""Requests to the Toubib API: what is sent, what is tried again, and what is said when it fails."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Generator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from ipaddress import ip_address
from threading import Lock
from typing import Any, TypeVar
from urllib.parse import urlsplit

import backoff
import requests
from backoff.types import Details
from requests.adapters import HTTPAdapter
from singer_sdk.authenticators import BearerTokenAuthenticator
from singer_sdk.exceptions import ConfigurationError, FatalAPIError, RetriableAPIError

from tap_toubib.failures import UnresolvedNameError, explain

OPENAPI_PATH = "/openapi.json"
PATIENTS_PATH = "/v1/patients"
PATIENT_PATH = "/v1/patients/{}"

MAX_TRIES = 7
FIRST_WAIT = 0.5
"""Seconds; each further wait is twice as long, so that a request is given up after about half a minute."""

MAX_RETRY_AFTER = 300
"""Seconds; a service that asks for a longer wait than this has failed the run."""

RETRIED = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}

REFUSED = {HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY}

ABOUT_ONE_PATIENT = {HTTPStatus.OK, *range(400, 500)} - {HTTPStatus.UNAUTHORIZED, *RETRIED}
"""Answers that tell something of the patient asked for, not of the service."""

HINTS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "check auth_token (TAP_TOUBIB_AUTH_TOKEN)",
    HTTPStatus.FORBIDDEN: "auth_token (TAP_TOUBIB_AUTH_TOKEN) does not allow this",
    HTTPStatus.NOT_FOUND: "check that api_url (API_BASEURL) is the base URL of a Toubib service",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "a smaller page_size (TAP_TOUBIB_PAGE_SIZE) may be accepted",
    HTTPStatus.UNPROCESSABLE_ENTITY: "a smaller page_size (TAP_TOUBIB_PAGE_SIZE) may be accepted",
}

TOKEN = re.compile("[!-~]+")

T = TypeVar("T")


class RefusedRequestError(FatalAPIError):
    """The service does not accept a query."""


class ToubibClient:
    """A connection to one Toubib service.

    What it logs and raises names the address and the status, never the body of an answer: that may hold patients.

    Args:
        auth_token: Sent as a bearer token, if given.
        timeout: Seconds without an answer after which an attempt is given up.
        max_parallel_requests: How many threads will ask at once; each connection is used again.

    Attributes:
        api_url: Base URL of the service.
        address: The same without credentials or query, as people may see it.
        patients_path: Where patients are listed, below the base URL.
        patient_path: Where one patient is, with `{}` in place of its id.
        list_requests: How many pages of patients were asked for, failed attempts included.
    """

    def __init__(
        self, api_url: str, *, auth_token: str | None, user_agent: str, timeout: float, max_parallel_requests: int
    ) -> None:
        self.api_url = api_url.rstrip("/")
        self.address = re.sub("(?<=//)[^/]*@|[?#].*", "", self.api_url)
        self.patients_path = PATIENTS_PATH
        self.patient_path: str | None = PATIENT_PATH
        self._timeout = timeout
        self._logger = logging.getLogger("tap-toubib.client")
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=max_parallel_requests))
        self._session.headers["User-Agent"] = user_agent
        if auth_token:
            # the setting has no pattern: the SDK quotes what does not match one
            if not TOKEN.fullmatch(auth_token):
                raise ConfigurationError("auth_token (TAP_TOUBIB_AUTH_TOKEN) holds more than visible ASCII characters")
            # as a header of the session it would give way to what a .netrc file says of the host
            self._session.auth = BearerTokenAuthenticator(token=auth_token)
        self.list_requests = 0
        self._counting = Lock()

    def get_openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document; an empty one when the service has none that can be read."""
        response = self._add_retries(self._send)(OPENAPI_PATH, {}, accepted=(HTTPStatus.OK, HTTPStatus.NOT_FOUND))
        try:
            document = response.json()
        except ValueError:
            return {}
        return document if response.ok and isinstance(document, dict) else {}

    def get_patients(self, params: Mapping[str, str | int], decode: Callable[[bytes], T]) -> T:
        """Return one page of patients.

        Args:
            params: The query: `offset`, `limit`, `sort_field`, `sort_dir`.
            decode: Makes the page of the body; a ValueError from it says that the body is not a page.
        """

        def attempt() -> T:
            with self._counting:
                self.list_requests += 1
            response = self._send(self.patients_path, params)
            try:
                return decode(response.content)
            except ValueError as error:
                request = f"GET {self.address}{self.patients_path}"
                reason = f"{request} answered something that is not a page of patients: {error}"
                raise RetriableAPIError(reason) from error

        return self._add_retries(attempt)()

    def is_deleted(self, patient_id: int) -> bool:
        """Tell whether the service says that it has no patient of an id, by 404 and nothing else."""
        path = (self.patient_path or PATIENT_PATH).replace("{}", str(patient_id))
        response = self._add_retries(self._send)(path, {}, accepted=ABOUT_ONE_PATIENT)
        if response.status_code in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
            return response.status_code == HTTPStatus.NOT_FOUND
        self._logger.warning("GET %s answered %d: taken for a current patient", path, response.status_code)
        return False

    def _send(
        self, path: str, params: Mapping[str, str | int], accepted: Collection[int] = (HTTPStatus.OK,)
    ) -> requests.Response:
        try:
            response = self._session.get(
                self.api_url + path, params=params, timeout=self._timeout, proxies=self._bypass_proxy()
            )
        except requests.RequestException as error:
            raise explain(f"GET {self.address}{path}", error) from error
        if response.status_code in accepted:
            return response
        message = f"GET {self.address}{path} answered {response.status_code} {response.reason}"
        if response.status_code in RETRIED or response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise RetriableAPIError(message, response)
        hint = HINTS.get(response.status_code)
        kind = RefusedRequestError if response.status_code in REFUSED else FatalAPIError
        raise kind(f"{message}: {hint}" if hint else message)

    def _bypass_proxy(self) -> dict[str, str]:
        """Return what makes requests leave out the proxy of the environment for a service on this machine."""
        try:
            host = urlsplit(self.api_url).hostname or ""
            is_here = host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return {}
        return {"no_proxy": host} if is_here else {}

    def _add_retries(self, function: Callable[..., T]) -> Callable[..., T]:
        # what a name stands for is not known a second later either, as a rule
        asked_twice = backoff.on_exception(
            backoff.constant, UnresolvedNameError, max_tries=2, interval=FIRST_WAIT, jitter=None, logger=None
        )(function)
        return backoff.on_exception(
            _generate_waits,
            RetriableAPIError,
            max_tries=MAX_TRIES,
            giveup=lambda error: isinstance(error, UnresolvedNameError) or _get_retry_after(error) > MAX_RETRY_AFTER,
            jitter=backoff.random_jitter,
            on_backoff=self._log_retry,
            logger=None,
        )(asked_twice)

    def _log_retry(self, details: Details) -> None:
        self._logger.warning("%s; trying again in %.1f s", details["exception"], details["wait"])


def _generate_waits() -> Generator[float, Any, None]:
    """Yield the seconds to wait: twice as long each time, and never less than the service asked for."""
    wait = FIRST_WAIT
    error = yield 0
    while True:
        error = yield max(wait, _get_retry_after(error))
        wait *= 2


def read_retry_after(value: str) -> float:
    """Return the seconds that a Retry-After header asks for: a number or a date (RFC 9110, 10.2.3); 0 without sense."""
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0


def _get_retry_after(error: Exception) -> float:
    response = getattr(error, "response", None)
    return read_retry_after(response.headers.get("Retry-After", "")) if response is not None else 0.0
