"""The viewer's HTTP server: GET and HEAD, for this machine alone unless it is opened wider with a token."""

import logging
import secrets
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from socket import AF_INET, AF_INET6
from tempfile import TemporaryDirectory
from threading import BoundedSemaphore
from urllib.parse import parse_qsl, urlsplit

from sparra.engine.machine import processors
from sparra.errors import UserError
from sparra.study.layout import StudyLayout
from sparra.viewer.images import OpenImages
from sparra.viewer.routes import Answer, NotFound, Routes
from sparra.viewer.security import COOKIE, HEADERS, POLICY, Access, is_loopback, path_segments
from sparra.viewer.study import ViewedStudy

TOKEN_BYTES = 32
IDLE_SECONDS = 60
METHODS = "GET, HEAD"
_log = logging.getLogger(__name__)


class ViewerServer(ThreadingHTTPServer):
    """Serves one study.

    Attributes
    ----------
    access : Access
    routes : Routes
    workers : BoundedSemaphore
        How many requests read images at a time, so that many do not fill the memory.
    """

    daemon_threads = True
    # Else a second server could quietly take over the port on some systems.
    allow_reuse_port = False

    def __init__(self, host: str, port: int, routes: Routes) -> None:
        self.access = Access(host, None if is_loopback(host) else secrets.token_urlsafe(TOKEN_BYTES))
        self.routes = routes
        self.workers = BoundedSemaphore(2 * processors())
        self.address_family = AF_INET6 if ":" in host else AF_INET
        super().__init__((host, port), ViewerHandler)

    @property
    def url(self) -> str:
        """Where to point the browser; with the token where there is one."""
        host, port = self.server_address[0], self.server_address[1]
        name = str(host)
        if ip_address(name).is_unspecified:
            name = "127.0.0.1" if self.address_family == AF_INET else "::1"
        place = f"http://[{name}]:{port}/" if ":" in name else f"http://{name}:{port}/"
        return place if self.access.token is None else f"{place}?token={self.access.token}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent where a browser has hung up, as it does whenever one scrolls on."""


class ViewerHandler(BaseHTTPRequestHandler):
    """One connection."""

    server: ViewerServer
    protocol_version = "HTTP/1.1"
    server_version = "sparra"
    sys_version = ""
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        """Answer a request."""
        self._respond()

    def do_HEAD(self) -> None:
        """Answer a request without its body."""
        self._respond()

    def _refuse_method(self) -> None:
        # Its body is not read, and what is left of a connection's input would be taken for the next request.
        self.close_connection = True
        self._send(_plain(HTTPStatus.METHOD_NOT_ALLOWED), {"Allow": METHODS})

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _refuse_method

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a path holds ids, and the first one the token."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer a malformed request without repeating any of it."""
        self.close_connection = True
        self._send(_plain(HTTPStatus(code)))

    def _respond(self) -> None:
        if set(self.headers.get_all("Content-Length", [])) - {"0"} or "Transfer-Encoding" in self.headers:
            # A body that is not read would be taken for the next request.
            self.close_connection = True
        access, target = self.server.access, self.path
        names = ("Host", "Origin", "Sec-Fetch-Site")
        repeated = any(len(self.headers.get_all(name, [])) > 1 for name in names)
        if repeated or access.refusal({name: self.headers.get(name) for name in names}):
            self._send(_plain(HTTPStatus.FORBIDDEN))
            return
        segments = path_segments(target)
        query = _query(target)
        if segments is None or query is None:
            self._send(_plain(HTTPStatus.NOT_FOUND))
        elif not segments and access.is_token(query.get("token", "")):
            self._let_in()
        elif not access.is_let_in(self.headers.get("Cookie")):
            self._send(_plain(HTTPStatus.UNAUTHORIZED))
        else:
            self._send(self._answer(segments, query))

    def _let_in(self) -> None:
        cookie = f"{COOKIE}={self.server.access.token}; Path=/; HttpOnly; SameSite=Strict"
        # The answer leads on to an address without the token, which so stays out of view.
        self._send(_plain(HTTPStatus.SEE_OTHER), {"Set-Cookie": cookie, "Location": "/"})

    def _answer(self, segments: tuple[str, ...], query: dict[str, str]) -> Answer:
        try:
            with self.server.workers:
                return self.server.routes.answer(segments, query)
        except NotFound:
            return _plain(HTTPStatus.NOT_FOUND)
        except UserError as error:
            # Without its place, which is a path of this machine.
            return Answer(error.what.encode(), "text/plain; charset=utf-8", HTTPStatus.UNPROCESSABLE_ENTITY)
        except Exception as error:
            # Neither the address nor the message, which may hold ids: what it was and where is enough to find it.
            frames = traceback.extract_tb(error.__traceback__)[-3:]
            place = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))
            _log.error("a request met an error of the viewer: %s in %s", type(error).__name__, place)
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _send(self, answer: Answer, further: dict[str, str] | None = None) -> None:
        self.send_response(answer.status)
        own = {"Content-Type": answer.content_type, "Content-Security-Policy": answer.policy}
        for name, value in {**HEADERS, **own, **(further or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)


@contextmanager
def viewer(layout: StudyLayout, host: str, port: int) -> Iterator[ViewerServer]:
    """Yield a server of a study, bound but not yet serving; close it and all images afterwards.

    Parameters
    ----------
    layout : StudyLayout
    host : str
        Address to listen on; one that is not loopback gets a token.
    port : int
        0 takes a free one.

    Raises
    ------
    UserError
        If the study has no predictions, or the address cannot be listened on.
    """
    study = ViewedStudy(layout)
    with TemporaryDirectory(prefix="sparra-view-") as room:
        images = OpenImages(study, Path(room))
        try:
            server = ViewerServer(host, port, Routes(study, images))
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            what = f"cannot listen on {host}, port {port} ({reason})"
            raise UserError(what, mend="Choose another --port, or 0 for any free one") from None
        try:
            yield server
        finally:
            server.server_close()
            images.close()


def _plain(status: HTTPStatus) -> Answer:
    return Answer(status.phrase.encode(), "text/plain; charset=utf-8", status, POLICY)


def _query(target: str) -> dict[str, str] | None:
    """Return the query's values by name, None where one occurs twice or it cannot be read."""
    try:
        pairs = parse_qsl(urlsplit(target).query, keep_blank_values=True, max_num_fields=8, errors="strict")
    except ValueError:
        return None
    return dict(pairs) if len(dict(pairs)) == len(pairs) else None
