"""What is said of a request that got no answer, and whether it may pass another time."""

from __future__ import annotations

import socket
import ssl

import requests
from requests.exceptions import ChunkedEncodingError, ProxyError, SSLError
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

MAY_PASS = (requests.ConnectionError, requests.Timeout, ChunkedEncodingError)

CUT = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""Ends of an encrypted connection that may not end so the next time."""


class UnresolvedNameError(RetriableAPIError):
    """The name of a host is not known, at this moment at least."""


def explain(request: str, error: requests.RequestException) -> FatalAPIError | RetriableAPIError:
    """Return the error that tells what happened to a request and, where one can act, what to do.

    Args:
        request: The method and the address.
        error: What the HTTP library raised.
    """
    cause = _find_root_cause(error)
    message = f"{request} failed: {getattr(cause, 'strerror', None) or type(cause).__name__}"
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
    """Return what went wrong below the layers of the HTTP libraries, whose own messages repeat the whole URL."""
    while below := error.__cause__ or error.__context__:
        error = below
    return error
