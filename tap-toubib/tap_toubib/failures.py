"""What is said of requests that fail, and which of them may succeed another time."""

from __future__ import annotations

import re
import socket
import ssl
from http import HTTPStatus

import requests
from requests.exceptions import ChunkedEncodingError, ContentDecodingError, ProxyError, SSLError
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

MAY_PASS = (requests.ConnectionError, requests.Timeout, ChunkedEncodingError, ContentDecodingError)

CUT = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""Ends of an encrypted connection that may not recur."""

HINTS: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "check auth_token (TAP_TOUBIB_AUTH_TOKEN)",
    HTTPStatus.FORBIDDEN: "auth_token (TAP_TOUBIB_AUTH_TOKEN) does not allow this",
    HTTPStatus.NOT_FOUND: "check that api_url (API_BASEURL) is the base URL of a Toubib service",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "try a smaller page_size (TAP_TOUBIB_PAGE_SIZE)",
    HTTPStatus.UNPROCESSABLE_ENTITY: "try a smaller page_size (TAP_TOUBIB_PAGE_SIZE)",
}

RETRY_HINT = "run again when the service is back; what was loaded is kept"


class UnresolvedNameError(RetriableAPIError):
    """The name of a host is not known, at this moment at least."""


def describe_address(url: str) -> str:
    """Return a URL without credentials or query."""
    return re.sub("(?<=//)[^/]*@|[?#].*", "", url)


def explain(request: str, error: requests.RequestException) -> FatalAPIError | RetriableAPIError:
    """Return an error that says what happened to a request and, where one can act, what to do.

    Args:
        request: The method and the address.
        error: The error of the HTTP library.
    """
    cause = _find_root_cause(error)
    reason = "its compressed body is damaged" if isinstance(error, ContentDecodingError) else type(cause).__name__
    message = f"{request} failed: {getattr(cause, 'strerror', None) or reason}"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return FatalAPIError(f"{message}; REQUESTS_CA_BUNDLE names a file of the authorities that are trusted")
    if isinstance(cause, socket.gaierror):
        setting = "HTTP_PROXY and HTTPS_PROXY" if isinstance(error, ProxyError) else "api_url (API_BASEURL)"
        return UnresolvedNameError(f"{message}; check {setting}")
    if isinstance(error, SSLError) and not isinstance(cause, CUT):
        return FatalAPIError(f"{message}; check that the service at api_url (API_BASEURL) speaks https")
    if isinstance(error, MAY_PASS):
        return RetriableAPIError(message)
    return FatalAPIError(f"{message}; check api_url (API_BASEURL)")


def _find_root_cause(error: BaseException) -> BaseException:
    """Return the error below the layers of the HTTP libraries, whose own messages repeat the whole URL."""
    while below := error.__cause__ or error.__context__:
        error = below
    return error
