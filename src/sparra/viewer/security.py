"""Who may ask the viewer for what: host, origin, token, and the headers that every answer carries."""

import hmac
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

COOKIE = "sparra_view"
#: What a browser says of a request that no other site has caused.
OWN_SITES = ("same-origin", "none")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: The report holds its style and pictures itself, and no script.
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Pictures of patients do not stay in the browser's cache on disk.
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Access:
    """Rules of one server.

    Attributes
    ----------
    host : str
        Address it listens on.
    token : str or None
        Secret that the first request brings along; None on a loopback address.
    """

    host: str
    token: str | None

    def refusal(self, headers: Mapping[str, str | None]) -> str | None:
        """Return why a request is refused for where it comes from, None if it is not.

        Parameters
        ----------
        headers : mapping
            ``Host``, ``Origin`` and ``Sec-Fetch-Site``; None or absent where the request has none.
        """
        host = headers.get("Host") or ""
        if not self.knows_host(host):
            return "this host name is not served here"
        origin = headers.get("Origin")
        if origin is not None and origin.lower() != f"http://{host}".lower():
            return "requests of other origins are not answered"
        site = headers.get("Sec-Fetch-Site")
        if site is not None and site not in OWN_SITES:
            return "requests of other sites are not answered"
        return None

    def knows_host(self, header: str) -> bool:
        """Tell whether a ``Host`` header names this machine.

        A name that an attacker has pointed to this machine's address (DNS rebinding) is none of ours. The port is
        left alone: behind a tunnel it is another.
        """
        name = _name_in(header)
        if name is None:
            return False
        if name == "localhost" or _is_loopback(name):
            return True
        if is_loopback(self.host):
            return False
        return name in (self.host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()) or _is_address(name)

    def is_let_in(self, cookies: str | None) -> bool:
        """Tell whether the request's cookie holds the token, or none is needed."""
        if self.token is None:
            return True
        try:
            morsel = SimpleCookie(cookies or "").get(COOKIE)
        except CookieError:
            return False
        return morsel is not None and self.is_token(morsel.value)

    def is_token(self, given: str) -> bool:
        """Compare in a time that does not tell how much of it was right."""
        return self.token is not None and hmac.compare_digest(given.encode(), self.token.encode())


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen on is reached from this machine only."""
    return host == "localhost" or _is_loopback(host)


def path_segments(target: str) -> tuple[str, ...] | None:
    """Return the decoded segments of a request's path, None if it tries anything odd.

    Odd are: an encoding within an encoding, dots that climb, empty segments, backslashes, control characters,
    bytes that are no UTF-8, and a target that is no plain path.
    """
    if not target.startswith("/") or target.startswith("//"):
        return None
    try:
        text = unquote_to_bytes(target.partition("?")[0].partition("#")[0]).decode("utf-8")
    except UnicodeDecodeError:
        return None
    if any(character in "\\%:" or not character.isprintable() for character in text):
        return None
    segments = tuple(text[1:].split("/"))
    # A path may end in a slash, and the root is one empty segment.
    inner = segments[:-1] if segments[-1] == "" else segments
    if any(segment in ("", ".", "..") for segment in inner):
        return None
    return inner


def file_within(
    folder: Path, segments: tuple[str, ...], suffixes: tuple[str, ...], study: Path | None = None
) -> Path | None:
    """Return a regular file below `folder`, None if there is none, or a link leads out of it or it out of `study`."""
    root = folder.resolve()
    if study is not None and not root.is_relative_to(study.resolve()):
        return None
    try:
        path = root.joinpath(*segments).resolve(strict=True)
        inside = path.relative_to(root)
    except (OSError, ValueError, RuntimeError):
        return None
    hidden = any(part.startswith(".") for part in inside.parts)
    return path if path.is_file() and path.suffix in suffixes and not hidden else None


def _name_in(header: str) -> str | None:
    try:
        parts = urlsplit(f"//{header}")
        _ = parts.port  # raises where it is no number
    except ValueError:
        return None
    plain = parts.netloc == header and "@" not in header and not (parts.path or parts.query or parts.fragment)
    return parts.hostname.rstrip(".") if plain and parts.hostname else None


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
