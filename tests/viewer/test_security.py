import re
import socket
from urllib.parse import quote

import pytest
from tests.viewer.conftest import Client, SeenStudy

from sparra.viewer.security import COOKIE, Access, file_within, path_segments

SECRET = "not part of the study"
CLIMBS = (
    "../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "%2e%2e%2fsecret.txt", "%252e%252e%252fsecret.txt",
    "..\\secret.txt", "..%5csecret.txt", "figures/../../secret.txt", "figures/%2e%2e/%2e%2e/secret.txt",
    "./../secret.txt", "..;/secret.txt", "%c0%ae%c0%ae/secret.txt", "..%c0%afsecret.txt", "%uff0e%uff0e/secret.txt",
    "....//secret.txt", "..%00/secret.txt", "index.html%00.png", "../settings.json", "%2e%2e/settings.json",
    "../cohort/subjects.csv", "/etc/passwd", "//etc/passwd", "file:///etc/passwd", "%2fetc%2fpasswd",
    "../report/index.html", "..%ef%bc%8fsecret.txt", "link.html", "folder/secret.html", ".hidden.html",
)  # fmt: skip


@pytest.fixture(scope="module")
def baited(seen_study: SeenStudy) -> SeenStudy:
    """Lay secrets around the report, and links and a hidden file in it."""
    report = seen_study.layout.report.parent
    (seen_study.layout.root / "secret.txt").write_text(SECRET)
    outside = seen_study.folder / "outside"
    outside.mkdir()
    (outside / "secret.html").write_text(SECRET)
    (report / "link.html").symlink_to(outside / "secret.html")
    (report / "folder").symlink_to(outside)
    (report / ".hidden.html").write_text(SECRET)
    return seen_study


@pytest.mark.parametrize("climb", CLIMBS)
def test_no_path_leads_out_of_the_report(baited: SeenStudy, client: Client, climb: str) -> None:
    for target in (f"/report/{climb}", f"/static/{climb}", f"/{climb}", climb):
        answer = client.ask(target)
        assert answer.status in (400, 404), target
        assert SECRET.encode() not in answer.body
        assert b"root:" not in answer.body


def test_what_lies_in_the_report_is_served_and_folders_are_not_listed(baited: SeenStudy, client: Client) -> None:
    assert b"report" in client.body("/report/")
    assert b"svg" in client.body("/report/figures/fig.svg")
    assert client.status("/report/figures/") == 404
    assert client.status("/report/figures") == 404
    assert client.status("/static/") == 404


@pytest.mark.parametrize("part", ["/etc/passwd", "../../secret.txt", "slide.tiff", "images.csv", "P001", ""])
def test_images_are_served_by_key_only(seen_study: SeenStudy, client: Client, part: str) -> None:
    name = quote(part, safe="")
    assert client.status(f"/slide/{name}/info.json?modality=joint&aggregator=sparra") == 404
    assert client.status(f"/slide/{name}/picture/8/0/0") == 404
    assert client.status(f"/ct/{name}/picture/axial/0?level=40&width=400") == 404
    # A key of the other kind is none.
    assert client.status(f"/ct/{seen_study.slide_key}/picture/axial/0?level=40&width=400") == 404
    assert client.status(f"/slide/{seen_study.ct_key}/picture/8/0/0") == 404


@pytest.mark.parametrize(
    "target",
    [
        "/slide/{slide}/picture/99/0/0", "/slide/{slide}/picture/-1/0/0", "/slide/{slide}/picture/11/999/0",
        "/slide/{slide}/picture/11/0", "/slide/{slide}/picture/1e1/0/0", "/slide/{slide}/picture/11/0/0/0",
        "/slide/{slide}/picture/%d9%a1/0/0", "/slide/{slide}/nothing/11/0/0", "/slide/{slide}/heat/11/0/0",
        "/slide/{slide}/heat/11/0/0?modality=joint&aggregator=../x&layer=sd",
        "/slide/{slide}/heat/11/0/0?modality=joint&aggregator=sparra&layer=risk", "/slide/{slide}", "/slide",
        "/slide/{slide}/picture/" + "9" * 400 + "/0/0",
        "/ct/{ct}/picture/axial/99?level=40&width=400", "/ct/{ct}/picture/axial/-1?level=40&width=400",
        "/ct/{ct}/picture/oblique/0?level=40&width=400", "/ct/{ct}/picture/axial/0", "/ct/{ct}/picture/axial",
        "/ct/{ct}/picture/axial/0?level=40&width=0", "/ct/{ct}/picture/axial/0?level=nan&width=400",
        "/ct/{ct}/picture/axial/0?level=40&level=41&width=400", "/patients/joint/sparra", "/patients/a/b/c",
        "/patients/joint/sparra/CoxPH/more", "/study.json/more", "/nothing", "/static/index.html",
    ],
)  # fmt: skip
def test_what_is_not_there_is_not_found(seen_study: SeenStudy, client: Client, target: str) -> None:
    assert client.status(target.format(slide=seen_study.slide_key, ct=seen_study.ct_key)) == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"])
def test_only_get_and_head_are_methods(client: Client, method: str) -> None:
    answer = client.ask("/study.json", method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"
    assert client.status("/study.json", "PROPFIND") == 501


def test_head_has_headers_without_a_body(client: Client) -> None:
    whole, head = client.ask("/study.json"), client.ask("/study.json", "HEAD")
    assert head.status == 200
    assert head.body == b""
    assert head.headers["Content-Length"] == str(len(whole.body))


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "localhost.evil", "",
             "192.168.0.7", "0.0.0.0", "[::ffff:8.8.8.8]", "127.0.0.1:port", "127.0.0.1/../x", "127.0.0.1#evil"],
)  # fmt: skip
def test_a_host_that_is_not_this_machine_is_refused(client: Client, host: str) -> None:
    assert client.status("/study.json", headers={"Host": host}) == 403


@pytest.mark.parametrize("host", ["localhost:9999", "127.0.0.1", "[::1]:8731", "LOCALHOST:80"])
def test_a_tunnel_may_have_another_port(client: Client, host: str) -> None:
    assert client.status("/study.json", headers={"Host": host}) == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1:1"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "Same-Origin, cross-site"},
    ],
)
def test_other_origins_are_refused(client: Client, headers: dict[str, str]) -> None:
    for target in ("/", "/study.json", "/report/"):
        assert client.status(target, headers=headers) == 403


def test_the_own_origin_is_answered_and_no_other_may_read(client: Client) -> None:
    port = client.server.server_address[1]
    own = {"Origin": f"http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-origin"}
    answer = client.ask("/study.json", headers=own)
    assert answer.status == 200
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_every_answer_carries_the_protecting_headers(client: Client) -> None:
    for target in ("/", "/study.json", "/nothing", "/report/", "/../x", "/static/viewer.js"):
        headers = client.ask(target).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Frame-Options"] == "DENY"
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"https?:|\*|unsafe-eval|script-src[^;]*unsafe", policy)


def test_open_to_others_a_token_is_needed_once_and_then_a_cookie(open_client: Client) -> None:
    token = open_client.server.access.token
    assert token is not None
    assert len(token) >= 43
    assert open_client.server.url.endswith(f"?token={token}")
    for target in (
        "/",
        "/study.json",
        "/report/",
        "/static/viewer.js",
        "/?token=",
        "/?token=wrong",
        f"/?token={token}x",
    ):
        assert open_client.status(target) == 401
    assert open_client.status(f"/study.json?token={token}") == 401
    first = open_client.ask(f"/?token={token}")
    assert first.status == 303
    assert first.headers["Location"] == "/"
    cookie = first.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    given = {"Cookie": cookie.partition(";")[0]}
    assert open_client.status("/study.json", headers=given) == 200
    assert open_client.status("/study.json", headers={"Cookie": f"{COOKIE}=wrong"}) == 401
    assert open_client.status("/study.json", headers={"Cookie": f"other={token}"}) == 401
    assert open_client.status("/study.json", headers=given | {"Host": "evil.example"}) == 403
    assert open_client.status("/study.json", headers=given | {"Origin": "http://evil.example"}) == 403


def test_tokens_differ_and_this_machine_alone_needs_none(client: Client, open_client: Client, seen_study) -> None:
    from tests.viewer.conftest import serve

    assert client.server.access.token is None
    again = next(other := serve(seen_study.layout, "0.0.0.0"))
    assert again.server.access.token != open_client.server.access.token
    other.close()


def test_a_repeated_host_is_refused(client: Client) -> None:
    from http.client import HTTPConnection

    connection = HTTPConnection(*client.server.server_address[:2], timeout=20)
    connection.putrequest("GET", "/study.json", skip_host=True)
    connection.putheader("Host", "localhost")
    connection.putheader("Host", "evil.example")
    connection.endheaders()
    assert connection.getresponse().status == 403
    connection.close()


def test_nothing_identifies_a_patient_but_the_given_id(seen_study: SeenStudy, client: Client) -> None:
    for target in ("/study.json", "/patients/joint/sparra/network"):
        text = client.body(target).decode()
        for secret in (str(seen_study.folder), "slide.tiff", "ct.nii.gz", "images.csv"):
            assert secret not in text


def test_paths_are_read_once_and_strictly() -> None:
    assert path_segments("/") == ()
    assert path_segments("/a/b%20c?x=../..") == ("a", "b c")
    assert path_segments("/a/") == ("a",)
    for odd in ("", "a", "//a", "/a//b", "/./a", "/%2e%2e", "/%2525", "/a%0ab", "/\\a", "/%ff", "/C:/x", "http://h/x"):
        assert path_segments(odd) is None


def test_a_file_is_found_by_its_suffix_within_the_folder(tmp_path) -> None:
    (tmp_path / "page.html").write_text("x")
    assert file_within(tmp_path, ("page.html",), (".html",)) == (tmp_path / "page.html").resolve()
    assert file_within(tmp_path, ("page.html",), (".csv",)) is None
    assert file_within(tmp_path, ("none.html",), (".html",)) is None
    assert file_within(tmp_path / "nothing", ("page.html",), (".html",)) is None
    assert file_within(tmp_path, ("x" * 5000,), (".html",)) is None


def test_opened_wider_addresses_and_own_names_are_hosts() -> None:
    access = Access("0.0.0.0", "secret")
    assert access.knows_host("192.168.0.7:8731")
    assert not access.knows_host("rebound.example:8731")
    assert Access("viewer.hospital.example", "secret").knows_host("viewer.hospital.example:80")


def spoken(client: Client, request: bytes) -> bytes:
    """Send bytes as they are and return all that comes back until the server hangs up."""
    with socket.create_connection(client.server.server_address[:2], timeout=20) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


SMUGGLED = b"GET /study.json HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 999",
        b"OPTIONS / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: 999",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked",
        b"PROPFIND / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999",
    ],
)
def test_a_body_is_never_taken_for_a_request(client: Client, head: bytes) -> None:
    """A page of another site may post any body; a request within it would bring a host name of its choice."""
    said = spoken(client, head + b"\r\n\r\n" + SMUGGLED)
    assert said.count(b"HTTP/1.1 ") == 1
    assert b"outcome" not in said.partition(b"<!")[0]
    assert b"Connection: close" in said


@pytest.mark.parametrize(
    ("request_line", "further", "status"),
    [
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1", b"", b"414"),
        (b"GET /report/" + b"%2e%2e%2f" * 6000 + b" HTTP/1.1", b"", b"404"),
        (b"GET /study.json HTTP/1.1", b"X-Long: " + b"a" * 70_000 + b"\r\n", b"431"),
        (b"GET /study.json HTTP/1.1", b"".join(b"X-%d: 1\r\n" % k for k in range(200)), b"431"),
        (b"GET /study.json\x00 HTTP/1.1", b"", b"404"),
        (b"GET /study.json?a=\x00&b=%00 HTTP/1.1", b"", b"200"),
        (b"GET http://localhost/study.json HTTP/1.1", b"", b"404"),
        (b"GET /report/%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1", b"", b"404"),
        (b"GET /report/figures%2ffig.svg/..%2f..%2f..%2fsecret.txt HTTP/1.1", b"", b"404"),
    ],
)
def test_odd_and_overlong_requests_end_in_an_error_without_a_secret(
    baited: SeenStudy, client: Client, request_line: bytes, further: bytes, status: bytes
) -> None:
    said = spoken(client, request_line + b"\r\nHost: localhost\r\n" + further + b"Connection: close\r\n\r\n")
    assert said.split(b" ", 2)[1] == status
    assert SECRET.encode() not in said
    assert b"root:" not in said


def test_a_request_without_a_host_is_refused(client: Client) -> None:
    assert b" 403 " in spoken(client, b"GET /study.json HTTP/1.1\r\n\r\n")
    assert b"outcome" not in spoken(client, b"GET /study.json\r\n\r\n")


@pytest.mark.parametrize("value", ["bytes=0-0", "bytes=0-" + "9" * 500, "bytes=" + ",".join(["0-1"] * 2000), "x"])
def test_a_range_is_not_looked_at(client: Client, value: str) -> None:
    answer = client.ask("/static/viewer.js", headers={"Range": value})
    assert answer.status == 200
    assert answer.body == client.body("/static/viewer.js")


def test_a_report_folder_that_is_a_link_out_of_the_study_is_not_served(tmp_path) -> None:
    outside, study = tmp_path / "outside", tmp_path / "study"
    outside.mkdir()
    study.mkdir()
    (outside / "index.html").write_text(SECRET)
    (study / "report").symlink_to(outside)
    assert file_within(study / "report", ("index.html",), (".html",), study) is None
    (study / "kept").mkdir()
    (study / "kept" / "index.html").write_text("x")
    (study / "within").symlink_to(study / "kept")
    assert file_within(study / "within", ("index.html",), (".html",), study) is not None
