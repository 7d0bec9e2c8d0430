"""The one module that fetches: encrypted, bounded, and from no server but the one that was asked."""

import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sparra.errors import UserError
from sparra.gdc.barcodes import choose_slides, read_slide
from sparra.gdc.series import choose_series, read_rules, read_series
from sparra.web import JsonClient, _opener

Answers = dict[str, tuple[int, dict[str, str], list[bytes]]]


@contextmanager
def serving(
    answers: Answers, tls: ssl.SSLContext | None = None, pause_s: float = 0.0
) -> Iterator[tuple[str, list[str]]]:
    """Serve answers by path, in pieces with a pause between, and note what was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            status, headers, pieces = answers[self.path]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                for piece in pieces:
                    self.wfile.write(piece)
                    time.sleep(pause_s)
            except OSError:
                pass

        do_POST = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()


def client(address: str, **limits: float) -> JsonClient:
    return JsonClient(address, timeout_s=5, attempts=1, sleep=lambda _: None, **limits)  # type: ignore[arg-type]


def own_certificate(folder: Path) -> ssl.SSLContext:
    """Make a certificate for 127.0.0.1 that nobody vouches for."""
    pytest.importorskip("cryptography")
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "server.pem").write_bytes(key.private_bytes(pem, *plain) + made.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


def test_a_server_that_nobody_vouches_for_is_not_believed(tmp_path: Path) -> None:
    with (
        serving({"/status": (200, {}, [b"{}"])}, own_certificate(tmp_path)) as (address, asked),
        pytest.raises(UserError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client(address).get("status")
    assert asked == []


@pytest.mark.parametrize("address", ["http://api.gdc.cancer.gov", "http://10.0.0.7:8080", "http://127.0.0.1.evil.org"])
def test_plain_http_is_for_this_machine_alone(address: str) -> None:
    with pytest.raises(UserError, match="not encrypted"):
        client(address).get("status")


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_plain_http_goes_past_the_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for excepted in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(excepted, raising=False)
    answers: Answers = {"/status": (200, {}, [b'{"who": "server"}'])}
    with serving(answers) as (address, asked), serving({}) as (proxy, asked_of_proxy):
        monkeypatch.setenv(name, proxy)
        _opener.cache_clear()
        try:
            assert client(address).get("status") == {"who": "server"}
        finally:
            _opener.cache_clear()
    assert asked == ["GET /status"]
    assert asked_of_proxy == []


@pytest.mark.parametrize("address", ["file:///etc", "ftp://a.org", "data:,", "gopher://a.org", "//a.org", "https://"])
def test_other_schemes_are_refused(address: str) -> None:
    with pytest.raises(UserError, match="no web address"):
        client(address).get("passwd")


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirection_to_another_server_is_told_and_not_followed(code: int) -> None:
    with serving({"/status": (200, {}, [b"{}"])}) as (other, asked_there):
        redirected: Answers = {"/status": (code, {"Location": f"{other}/status"}, [])}
        with serving(redirected) as (address, _), pytest.raises(UserError, match=f"redirects to {other}"):
            client(address).get("status")
    assert asked_there == []


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://169.254.169.254/meta-data"])
def test_a_redirection_to_a_file_or_a_neighbour_is_refused(target: str) -> None:
    with serving({"/status": (302, {"Location": target}, [])}) as (address, _):
        with pytest.raises(UserError) as caught:
            client(address).get("status")
        assert "redirect" in str(caught.value) or "302" in str(caught.value)


def test_a_redirection_within_the_server_is_followed_for_a_question_but_not_for_what_is_sent() -> None:
    answers: Answers = {"/a": (302, {"Location": "/b"}, []), "/b": (200, {}, [b'{"c": 1}'])}
    with serving(answers) as (address, asked):
        assert client(address).get("a") == {"c": 1}
        with pytest.raises(UserError, match="redirects"):
            client(address).post("a", {})
    assert asked == ["GET /a", "GET /b", "POST /a"]


def test_a_ring_of_redirections_ends() -> None:
    with serving({"/a": (302, {"Location": "/a"}, [])}) as (address, asked), pytest.raises(UserError, match="302"):
        client(address).get("a")
    assert len(asked) < 20


@pytest.mark.parametrize("announced", [{}, {"Content-Length": "99999999999"}])
def test_an_answer_without_end_is_cut_off(announced: dict[str, str]) -> None:
    with (
        serving({"/a": (200, announced, [b"1" * 65536] * 200)}) as (address, _),
        pytest.raises(UserError, match="larger than 1000000 bytes"),
    ):
        client(address, max_bytes=1_000_000).get("a")


def test_an_answer_that_drips_is_given_up() -> None:
    started = time.monotonic()
    with (
        serving({"/a": (200, {}, [b" "] * 1000)}, pause_s=0.02) as (address, _),
        pytest.raises(UserError, match=r"took more than 0\.2 s"),
    ):
        client(address, longest_s=0.2).get("a")
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"a":' * 100_000, b"\xff\xfe", b"NaN,"])
def test_an_answer_that_no_parser_takes_is_one_sentence(body: bytes) -> None:
    with serving({"/a": (200, {}, [body])}) as (address, _), pytest.raises(UserError, match="no usable answer"):
        client(address).get("a")


@pytest.mark.parametrize(
    "name", ["../../.bashrc", "/etc/cron.d/x", "a\tb.svs", "a\nb.svs", "..", "", "C:\\a.svs", ".hidden", "a/b.svs"]
)
def test_names_of_files_that_lead_elsewhere_are_left_out(name: str) -> None:
    hit = {
        "file_id": "0a1b", "file_name": name, "experimental_strategy": "Diagnostic Slide",
        "cases": [{"submitter_id": "C3L-00004", "samples": [{"sample_type": "Primary Tumor"}]}],
    }  # fmt: skip
    for odd in (hit, hit | {"file_id": name, "file_name": "C3L-00004-21.svs"}):
        # An id that is empty is absent.
        odd = odd if odd["file_id"] else odd | {"id": ""}
        chosen, dropped = choose_slides([read_slide(odd)], ["C3L-00004"], "diagnostic", ["01"])
        assert chosen == []
        assert dropped[0][1] == "its name is no plain file name"
    good = hit | {"file_name": "C3L-00004-21.svs"}
    assert choose_slides([read_slide(good)], ["C3L-00004"], "diagnostic", ["01"])[0]


@pytest.mark.parametrize("uid", ["../../x", "1.2/3", "1.2\n3", "", "１.２"])
def test_uids_that_lead_elsewhere_are_left_out(uid: str) -> None:
    row = {"PatientID": "P", "Modality": "CT", "SeriesDescription": "ART", "ImageCount": 100}
    (judged,) = choose_series([read_series(row | {"SeriesInstanceUID": uid})], ["P"], read_rules(None))
    assert judged.reason == "its SeriesInstanceUID is none"
    (judged,) = choose_series([read_series(row | {"SeriesInstanceUID": "1.2.3"})], ["P"], read_rules(None))
    assert judged.reason == ""
