"""A stand-in for the hub and for authors' servers, on loopback: it sends what a test gives it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Answer:
    """What the server answers to requests for one path.

    ``cuts`` are the bytes after which the connection breaks, one for each request in turn; then
    the answer is whole. ``statuses`` likewise are errors before the right answer.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)


@dataclass
class Server:
    """Answers by path, and the requests that came: method, path and ``Range``."""

    url: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    requests: list[tuple[str, str, str]] = field(default_factory=list)

    def file(self, path: str, body: bytes, **answer: object) -> str:
        """Publish a file with a strong ETag; return its address."""
        headers = {"ETag": f'"{sha256(body).hexdigest()}"', "Content-Type": "text/plain"}
        self.answers[path] = Answer(body, headers=headers, **answer)  # type: ignore[arg-type]
        return self.url + path

    def hub_file(
        self,
        repository: str,
        path: str,
        body: bytes,
        *,
        large: bool = False,
        revision: str = COMMIT,
    ) -> Answer:
        """Publish a file of a dataset of the hub at a commit; ``large`` files have a sha256."""
        tag = sha256(body) if large else _git_hash(body)
        headers = {
            "ETag": f'"{tag.hexdigest()}"',
            "X-Repo-Commit": revision,
            "X-Linked-Size": str(len(body)),
            "Content-Type": "text/plain",
        }
        answer = Answer(body, headers=headers)
        self.answers[f"/datasets/{repository}/resolve/{revision}/{path}"] = answer
        return answer

    def refuse(self, repository: str, path: str, code: str, status: int, revision: str = COMMIT):
        """Refuse a file of a dataset as the hub does, with its code for the reason."""
        self.answers[f"/datasets/{repository}/resolve/{revision}/{path}"] = Answer(
            status=status, headers={"X-Error-Code": code, "X-Error-Message": code}
        )

    def bodies(self) -> list[tuple[str, str]]:
        """Return path and range of the requests for content."""
        return [(path, span) for method, path, span in self.requests if method == "GET"]


def _git_hash(body: bytes):
    return sha1(b"blob %d\0" % len(body) + body, usedforsecurity=False)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stand_in: Server

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path, span = urlsplit(self.path).path, self.headers.get("Range", "")
        self.stand_in.requests.append((self.command, path, span))
        answer = self.stand_in.answers.get(path, Answer(status=404))
        status, body, headers = answer.status, answer.body, dict(answer.headers)
        if with_body and answer.statuses:
            status, body = answer.statuses.pop(0), b""
        if span and answer.ranges and status == 200:
            start = int(span.removeprefix("bytes=").split("-")[0])
            if self.headers.get("If-Range", headers.get("ETag")) == headers.get("ETag"):
                status, body = 206, body[start:]
                headers["Content-Range"] = (
                    f"bytes {start}-{len(answer.body) - 1}/{len(answer.body)}"
                )
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(body)),
            "Connection": "close",
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body and answer.cuts and status in (200, 206):
            self.wfile.write(body[: answer.cuts.pop(0)])
            self.close_connection = True
        elif with_body:
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server for as long as a block does."""
    stand_in = Server()
    handler = type("Handler", (_Handler,), {"stand_in": stand_in})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    stand_in.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
