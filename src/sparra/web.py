"""JSON over HTTPS, for the few commands that ask a public archive: time limits, size limits, patient retries.

Certificates are checked. Plain http is for servers on this machine alone, which are asked without a proxy. A
redirection is followed only within the server that was asked and to https; to another, the user is told its address.
"""

import http.client
import ipaddress
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode, urlsplit

from sparra.errors import UserError

#: Answers that mean "later": the server is busy or briefly out of order.
RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT_S = 60.0
BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class JsonClient:
    """Asks one server for JSON.

    Attributes
    ----------
    base : str
        Address that paths are appended to; https, or http on loopback.
    timeout_s : float
        Limit of each network operation.
    longest_s : float
        Limit of a whole answer, however slowly it drips.
    attempts : int
        How often a request is tried before it is given up.
    first_wait_s : float
        Wait before the second attempt, doubled after each; a server's ``Retry-After`` replaces it (at most 60 s).
    max_bytes : int
        Largest answer that is read.
    sleep : callable
        Waits that many seconds.
    """

    base: str
    timeout_s: float = 60.0
    attempts: int = 5
    first_wait_s: float = 1.0
    max_bytes: int = 256 * 1024 * 1024
    longest_s: float = 900.0
    sleep: Callable[[float], None] = time.sleep

    def get(self, path: str, parameters: Mapping[str, str] | None = None) -> Any:
        """Send a GET and return the decoded JSON; see `post` for the errors."""
        query = f"?{urlencode(parameters)}" if parameters else ""
        return self._ask(urllib.request.Request(self._address(path) + query))

    def post(self, path: str, content: Any) -> Any:
        """Send `content` as JSON and return the decoded JSON.

        Raises
        ------
        UserError
            If the address is not https (nor http on loopback), the server refuses the request, redirects it to
            another server, answers no JSON or too much, or does not answer after all attempts.
        """
        body = json.dumps(content).encode()
        headers = {"Content-Type": "application/json"}
        return self._ask(urllib.request.Request(self._address(path), data=body, headers=headers))

    def _address(self, path: str) -> str:
        parts = urlsplit(self.base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"'{self.base}' is no web address", mend="Give one that begins with https://")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise UserError(f"'{self.base}' is not encrypted", mend="Give one that begins with https://")
        return f"{self.base.rstrip('/')}/{path.lstrip('/')}"

    def _ask(self, request: urllib.request.Request) -> Any:
        request.add_header("Accept", "application/json")
        request.add_header("User-Agent", "sparra")
        where = request.full_url.partition("?")[0]
        wait, trouble = self.first_wait_s, "no attempt was made"
        for attempt in range(1, self.attempts + 1):
            asked: float | None = None
            try:
                return self._read(request, where)
            except urllib.error.HTTPError as error:
                trouble = f"status {error.code}{_message(error)}"
                if error.code not in RETRIED_STATUS:
                    raise UserError(f"the server refused the request ({trouble})", where) from None
                asked = _retry_after(error)
            except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
                trouble = f"{type(error).__name__}: {error}"
            if attempt < self.attempts:
                self.sleep(min(asked if asked is not None else wait, LONGEST_WAIT_S))
                wait *= 2
        mend = "Try again later, or give another address"
        raise UserError(f"the server gave no usable answer in {self.attempts} attempts ({trouble})", where, mend)

    def _read(self, request: urllib.request.Request, where: str) -> Any:
        opener = _opener(direct=_is_loopback(urlsplit(where).hostname or ""))
        with opener.open(request, timeout=self.timeout_s) as answer:
            # An answer that is cut short raises IncompleteRead only where it is read to its end.
            content = self._content(answer, where)
            announced = answer.headers.get("Content-Length")
        if announced is not None and announced.isdigit() and len(content) < int(announced):
            raise ValueError(f"the answer was cut short ({len(content)} of {announced} bytes)")
        return json.loads(content)

    def _content(self, answer: Any, where: str) -> bytes:
        until, content = time.monotonic() + self.longest_s, bytearray()
        while block := answer.read1(BLOCK_BYTES):
            content += block
            if len(content) > self.max_bytes:
                raise UserError(f"the server's answer is larger than {self.max_bytes} bytes", where, "Ask for less")
            if time.monotonic() > until:
                raise TimeoutError(f"the answer took more than {self.longest_s:g} s")
        return bytes(content)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _SameServer(urllib.request.HTTPRedirectHandler):
    """Follows a redirection of a GET within the server that was asked, never from https to http."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        upgraded = (old.scheme, new.scheme) == ("http", "https") and old.hostname == new.hostname
        same = (old.scheme, old.netloc) == (new.scheme, new.netloc)
        if req.get_method() != "GET" or not (same or upgraded):
            what = f"the server redirects to {new.scheme}://{new.netloc}, which was not asked"
            raise UserError(what, req.full_url.partition("?")[0], "If you trust that server, give its address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@lru_cache
def _opener(direct: bool) -> urllib.request.OpenerDirector:
    """Build an opener that knows http and https alone: no file:, ftp: or data: even after a redirection.

    Parameters
    ----------
    direct : bool
        Whether the environment's proxies are passed by: what is sent to this machine, unencrypted, must not leave it.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler({} if direct else None),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        _SameServer(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _message(error: urllib.error.HTTPError) -> str:
    """Return what the server says of the error, where it says it as GDC does: ``{"message": ...}``."""
    try:
        content = json.loads(error.read(10_000))
    except (OSError, ValueError, http.client.HTTPException):
        return ""
    text = content.get("message") or content.get("error") if isinstance(content, dict) else None
    return f": {' '.join(str(text).split())[:300]}" if text else ""


def _retry_after(error: urllib.error.HTTPError) -> float | None:
    value = error.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None
