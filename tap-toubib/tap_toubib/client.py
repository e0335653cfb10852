"""Requests to the Toubib API, their retries and their errors."""

from __future__ import annotations

import logging
import os
import re
import ssl
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from http import HTTPStatus
from itertools import count
from threading import Lock
from typing import Any, TypeVar

import backoff
import requests
from backoff.types import Details
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, ContentDecodingError
from singer_sdk.authenticators import BearerTokenAuthenticator
from singer_sdk.exceptions import ConfigurationError, FatalAPIError, RetriableAPIError
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

OPENAPI_PATH = "/openapi.json"
PATIENTS_PATH = "/v1/patients"

MAX_TRIES = 7
FIRST_WAIT = 0.5
"""Seconds; each further wait is twice as long. A request fails after about half a minute."""

MAX_RETRY_AFTER = 300
"""Seconds; a service that asks for a longer wait ends the run."""

RETRIED = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}

ABOUT_ONE_PATIENT = {HTTPStatus.OK, *range(400, 500)} - {HTTPStatus.UNAUTHORIZED, *RETRIED}
"""Answers that concern one patient, not the service."""

MAY_PASS = (requests.ConnectionError, requests.Timeout, ChunkedEncodingError, ContentDecodingError)

HINTS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "check auth_token (TAP_TOUBIB_AUTH_TOKEN)",
    HTTPStatus.FORBIDDEN: "auth_token (TAP_TOUBIB_AUTH_TOKEN) does not allow this",
    HTTPStatus.NOT_FOUND: "check that api_url (API_BASEURL) is the base URL of a Toubib service",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "try a smaller page_size (TAP_TOUBIB_PAGE_SIZE)",
    HTTPStatus.UNPROCESSABLE_ENTITY: "try a smaller page_size (TAP_TOUBIB_PAGE_SIZE)",
}
RETRY_HINT = "run again when the service is back, or check api_url (API_BASEURL); what was loaded is kept"

TOKEN = re.compile("[!-~]+")

T = TypeVar("T")


class ToubibClient:
    """A connection to one Toubib service.

    Its messages name the address and the status, never the body of an answer: that may hold patients.

    Attributes:
        address: Base URL of the service without credentials or query, as people may see it.
        list_requests: How many pages of patients were asked for, failed attempts included.
    """

    def __init__(
        self, api_url: str, *, auth_token: str | None, user_agent: str, timeout: float, max_parallel_requests: int
    ) -> None:
        self._api_url = api_url.rstrip("/")
        self.address = describe_address(self._api_url)
        self._timeout = timeout
        # the environment's proxy cannot reach services of this machine
        exempt = os.environ.get("no_proxy", os.environ.get("NO_PROXY", ""))
        self._proxies = {"no_proxy": f"localhost,127.0.0.0/8,::1,{exempt}"}
        self._logger = logging.getLogger("tap-toubib.client")
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=max_parallel_requests))
        self._session.headers["User-Agent"] = user_agent
        if auth_token:
            # not a pattern in the settings: the SDK would quote the token
            if not TOKEN.fullmatch(auth_token):
                raise ConfigurationError("auth_token (TAP_TOUBIB_AUTH_TOKEN) holds more than visible ASCII characters")
            # a .netrc file would override a header of the session
            self._session.auth = BearerTokenAuthenticator(token=auth_token)
        self.list_requests = 0
        self._lock = Lock()
        # seconds of waiting in the last warning; 0 while the service answers
        self._announced = 0.0

    @cached_property
    def _prepared(self) -> tuple[requests.PreparedRequest, Mapping[str, Any]]:
        """A request and its options, prepared once, since that takes a ninth of the time of a page."""
        request = self._session.prepare_request(requests.Request("GET", self._api_url))
        options = self._session.merge_environment_settings(
            self._api_url, self._proxies, stream=False, verify=None, cert=None
        )
        return request, options

    def get_openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, or an empty one if the service has no readable one."""
        response = self._retry(lambda: self._send(OPENAPI_PATH, accepted=(HTTPStatus.OK, HTTPStatus.NOT_FOUND)))
        try:
            document = response.json()
        except ValueError:
            return {}
        return document if response.ok and isinstance(document, dict) else {}

    def get_patients(self, params: Mapping[str, str | int], decode: Callable[[bytes], T]) -> T:
        """Return one page of patients.

        Args:
            params: The query: `offset`, `limit`, `sort_field`, `sort_dir`.
            decode: Parses a body; raises ValueError if it is not a page.
        """

        def attempt() -> T:
            with self._lock:
                self.list_requests += 1
            response = self._send(PATIENTS_PATH, params)
            try:
                return decode(response.content)
            except ValueError as error:
                raise RetriableAPIError(
                    f"GET {describe_address(response.url)} answered something that is not a page of patients ({error})"
                ) from error

        return self._retry(attempt)

    def is_deleted(self, patient_id: int) -> bool:
        """Return whether `GET /patients/{id}` answers 404."""
        path = f"{PATIENTS_PATH}/{patient_id}"
        response = self._retry(lambda: self._send(path, accepted=ABOUT_ONE_PATIENT))
        if response.status_code in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
            return response.status_code == HTTPStatus.NOT_FOUND
        self._logger.warning("GET %s answered %d: taken for a current patient", path, response.status_code)
        return False

    def _send(
        self, path: str, params: Mapping[str, str | int] | None = None, accepted: Collection[int] = (HTTPStatus.OK,)
    ) -> requests.Response:
        try:
            request, options = self._prepared
            request = request.copy()
            request.prepare_url(self._api_url + path, params)
            # a load balancer can use a cookie to keep a client at one replica
            request.prepare_cookies(self._session.cookies)
            response = self._session.send(request, timeout=self._timeout, **options)
        except requests.RequestException as error:
            raise _explain(error, self.address + path) from error
        if response.status_code in accepted:
            return response
        # after a redirect, the address that it led to
        message = f"GET {describe_address(response.url)} answered {response.status_code} {response.reason}"
        if response.status_code in RETRIED or response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            wait = read_retry_after(response)
            if wait > MAX_RETRY_AFTER:
                raise FatalAPIError(f"{message} and asks for {wait:.0f} s of patience, more than {MAX_RETRY_AFTER} s")
            raise RetriableAPIError(message, response)
        hint = HINTS.get(response.status_code)
        raise FatalAPIError(f"{message}: {hint}" if hint else message)

    def _retry(self, attempt: Callable[[], T]) -> T:
        """Return the result of an attempt. Failures that may pass are retried."""
        waits = (FIRST_WAIT * 2**number for number in count())
        retrying = backoff.on_exception(
            backoff.runtime,
            RetriableAPIError,
            value=lambda error: max(next(waits), read_retry_after(error.response)),
            max_tries=MAX_TRIES,
            jitter=backoff.random_jitter,
            on_backoff=self._announce,
            logger=None,
        )(attempt)
        try:
            result = retrying()
        except RetriableAPIError as error:
            raise RetriableAPIError(f"{error} {MAX_TRIES} times: {RETRY_HINT}", error.response) from error
        self._announced = 0
        return result

    def _announce(self, details: Details) -> None:
        """Log an outage once for all parallel requests, and again only for a longer wait."""
        wait = max(details["wait"], FIRST_WAIT * 2 ** (MAX_TRIES - 1))
        with self._lock:
            if self._announced < wait:
                self._announced = wait
                self._logger.warning("%s; trying again for %.0f s", details["exception"], wait)


def read_retry_after(response: requests.Response | None) -> float:
    """Return the seconds in a Retry-After header, a number or a date (RFC 9110, 10.2.3); 0 without a valid one."""
    try:
        return 0.0 if response is None else Retry().parse_retry_after(response.headers.get("Retry-After", "0"))
    except (InvalidHeader, OverflowError, ValueError):
        return 0.0


def describe_address(url: str) -> str:
    """Return a URL without credentials or query."""
    return re.sub("(?<=//)[^/]*@|[?#].*", "", url)


def _explain(error: requests.RequestException, address: str) -> FatalAPIError | RetriableAPIError:
    """Return an error that names a failed request, the cause and, where the user can act, a remedy."""
    address = describe_address(error.request.url or "") if error.request else address
    cause: BaseException = error
    # the messages of the upper layers repeat the whole URL
    while below := cause.__cause__ or cause.__context__:
        cause = below
    message = f"GET {address} failed: {getattr(cause, 'strerror', None) or type(error).__name__}"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return FatalAPIError(f"{message}; REQUESTS_CA_BUNDLE names a file of the authorities that are trusted")
    if isinstance(error, MAY_PASS):
        return RetriableAPIError(message)
    return FatalAPIError(f"{message}; check api_url (API_BASEURL)")
