"""One file over HTTPS: resumed where it was cut, checked, refused where it is not the file.

HTTP without TLS is for loopback addresses alone. The name of a file is never the server's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import file_digest
from http.client import HTTPException, HTTPMessage
from ipaddress import ip_address
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from ethosteer.errors import InputError
from ethosteer.files import from_json, publish, temporary_name, write_json

Received = Callable[[int, int | None], None]
"""Called with the bytes that are there, and all of them where the server states it."""

ATTEMPTS = 4
"""Times that a broken connection is tried, first one included."""
PAUSE = 1.0
"""Seconds before the second attempt; doubled before each later one."""
TIMEOUT = 30.0
CHUNK = 1 << 16
LARGEST = 512 * 1024**2
"""Bytes; no published file is nearly as large."""
SEVERAL = (408, 429, 500, 502, 503, 504)
"""Statuses of a server that may answer otherwise the next time."""


class OutOfReachError(InputError):
    """A server that was not reached in several attempts: its other files need not be tried."""

    def __init__(self, server: str, message: str) -> None:
        super().__init__(message)
        self.server = server


class _BrokenError(Exception):
    """The connection broke, or the server was busy: another attempt may succeed."""


class _SafeRedirects(HTTPRedirectHandler):
    """Redirects lead to HTTPS or to this machine, never to an unprotected address."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        try:
            require_safe(newurl)
        except InputError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def require_safe(address: str) -> None:
    """Raise InputError unless an address is HTTPS, or HTTP on this machine."""
    parts = urlsplit(address)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        return
    raise InputError(f"{address}: refused, since only https addresses are fetched")


def server_of(address: str) -> str:
    """Return the host of an address, with the port where it has one, without user and password."""
    return urlsplit(address).netloc.rpartition("@")[2]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def download(address: str, target: Path, sha256: str, received: Received) -> None:
    """Download ``address`` to ``target``, which appears only when it is whole.

    A partial file beside the target is continued, where the server still has the same file.
    ``sha256`` "" means that the file's hash is not known. Raises OutOfReachError after ``ATTEMPTS``
    broken connections, and InputError, in one line with the address, for a refused answer, a wrong
    hash (the file is removed), a web page in place of data, or more than ``LARGEST`` bytes.
    """
    require_safe(address)
    partial = temporary_name(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    opener = build_opener(_SafeRedirects())
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            _continue(opener, address, partial, received)
            break
        except _BrokenError as fault:
            problem = fault
    else:
        raise OutOfReachError(
            server_of(address), f"{address}: failed in {ATTEMPTS} attempts: {problem}"
        ) from problem
    _state(partial).unlink(missing_ok=True)
    with partial.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    if sha256 and digest != sha256:
        partial.unlink()
        raise InputError(
            f"{address}: has sha256 {digest[:12]}… where {sha256[:12]}… is expected, so it was "
            "removed; the published file has changed, or something on the way changed it"
        )
    publish(partial, target)


def size_of(address: str) -> int | None:
    """Return the bytes at an address; None where the server does not state them.

    Raises OutOfReachError where the server is not reached, InputError where it has no such file.
    """
    require_safe(address)
    try:
        with build_opener(_SafeRedirects()).open(
            Request(address, method="HEAD"), timeout=TIMEOUT
        ) as answer:
            return _length(answer.headers)
    except HTTPError as fault:
        fault.close()
        raise InputError(f"{address}: {_reason(fault)}") from fault
    except (OSError, HTTPException) as fault:
        raise OutOfReachError(server_of(address), f"{address}: {_reason(fault)}") from fault


def _continue(opener: OpenerDirector, address: str, partial: Path, received: Received) -> None:
    """Download what a partial file lacks, or all of it where it cannot be continued."""
    start, validator = _partial(partial, address)
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    try:
        with opener.open(Request(address, headers=headers), timeout=TIMEOUT) as answer:
            if start and (answer.status != 206 or not _starts_at(answer.headers, start)):
                start = 0  # the server ignores ranges, or has another file by now
            _refuse_page(address, answer.headers)
            length = _length(answer.headers)
            total = None if length is None else start + length
            if total is not None and total > LARGEST:
                raise InputError(f"{address}: {total:,} bytes, more than {LARGEST:,}")
            write_json(_state(partial), {"address": address, "validator": _validator(answer)})
            with partial.open("r+b" if start else "wb") as file:
                file.seek(start)
                file.truncate()
                done = start
                while chunk := answer.read(CHUNK):
                    if not done:
                        _refuse_markup(address, chunk)
                    done += len(chunk)
                    if done > LARGEST:
                        raise InputError(f"{address}: more than {LARGEST:,} bytes")
                    file.write(chunk)
                    received(done, total)
            if total is not None and done != total:
                raise _BrokenError(f"the connection broke after {done:,} of {total:,} bytes")
    except HTTPError as fault:
        fault.close()
        if fault.code == 416:  # the partial file is longer than the file by now
            partial.unlink(missing_ok=True)
            raise _BrokenError("the file has changed meanwhile") from fault
        if fault.code in SEVERAL:
            raise _BrokenError(_reason(fault)) from fault
        raise InputError(f"{address}: {_reason(fault)}") from fault
    except (URLError, TimeoutError, ConnectionError, HTTPException) as fault:
        raise _BrokenError(_reason(fault)) from fault


def _partial(partial: Path, address: str) -> tuple[int, str]:
    """Return how many bytes are there, and what identifies the file that they are of.

    0 where the server gave nothing to tell by, since then another file may be there by now.
    """
    if not partial.is_file() or not _state(partial).is_file():
        return 0, ""
    try:
        state = from_json(_state(partial).read_text("utf-8"), dict[str, str], str(partial))
    except InputError:
        return 0, ""
    if state.get("address") != address or not state.get("validator"):
        return 0, ""
    return partial.stat().st_size, state["validator"]


def _state(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _validator(answer: IO[bytes]) -> str:
    """Return a strong ETag, else the time of the last change, else ""; as ``If-Range`` takes it."""
    headers: HTTPMessage = answer.headers  # type: ignore[attr-defined]
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _starts_at(headers: HTTPMessage, start: int) -> bool:
    return headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _length(headers: HTTPMessage) -> int | None:
    text = headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def _refuse_page(address: str, headers: HTTPMessage) -> None:
    if headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise InputError(f"{address}: answers with a web page where data is expected")


def _refuse_markup(address: str, beginning: bytes) -> None:
    if beginning.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise InputError(f"{address}: answers with a web page where data is expected")


def _reason(fault: Exception) -> str:
    if isinstance(fault, HTTPError):
        return f"the server answers {fault.code} {fault.reason}"
    reason = fault.reason if isinstance(fault, URLError) else fault
    return f"{reason}" or type(fault).__name__
