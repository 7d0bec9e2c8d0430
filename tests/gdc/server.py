"""A local server that answers as the GDC's and NBIA's APIs are documented to."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Archive:
    """What the server holds, what it was asked, and the faults it answers with first."""

    cases: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    series: list[dict[str, Any]] = field(default_factory=list)
    warnings: dict[str, str] = field(default_factory=dict)
    faults: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    address: str = ""


def page(hits: list[dict[str, Any]], request: dict[str, Any], warnings: dict[str, str]) -> dict[str, Any]:
    start, size = int(request.get("from", 0)), int(request.get("size", 10))
    part = hits[start : start + size]
    pagination = {
        "count": len(part),
        "total": len(hits),
        "size": size,
        "from": start,
        "sort": request.get("sort", ""),
        "page": start // size + 1,
        "pages": -(-len(hits) // size),
    }
    return {"data": {"hits": part, "pagination": pagination}, "warnings": warnings}


STATUS = {
    "commit": "0", "data_release": "Data Release 39.0 - December 04, 2023", "status": "OK", "tag": "3.0.0",
    "version": 1,
}  # fmt: skip


def content_of(archive: Archive, name: str, request: Any) -> Any:
    if name in ("status", "getSeries"):
        return STATUS if name == "status" else archive.series
    return page({"cases": archive.cases, "files": archive.files}[name], request, archive.warnings)


@contextmanager
def serving(archive: Archive) -> Iterator[Archive]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_arguments: object) -> None:
            pass

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            self.reply(json.loads(self.rfile.read(length)))

        def do_GET(self) -> None:
            self.reply(None)

        def reply(self, request: Any) -> None:
            archive.asked.append((self.path, request))
            if archive.faults:
                self.answer(*archive.faults.pop(0))
                return
            content = content_of(archive, self.path.partition("?")[0].strip("/"), request)
            self.answer(200, {"Content-Type": "application/json"}, json.dumps(content).encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    archive.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()
