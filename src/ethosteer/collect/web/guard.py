"""What every request passes before a page sees it, and the headers of every response.

A page on another site can make a browser send requests here (cross-site request forgery), and a
name that is resolved to this machine can make them same-origin (DNS rebinding). So the Host header
must name the collection, and a POST must come from one of its pages, by its Origin header.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ethosteer.collect.web.address import Address

LONGEST_BODY = 32 * 1024
"""Bytes of a form. The longest form has a reason of 1,000 characters, 12 bytes encoded at most."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # no-referrer would make browsers send `Origin: null` with forms
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
}

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Guard:
    """Refuse what comes from elsewhere or is too long; add headers to whatever is answered."""

    def __init__(self, app: ASGIApp, address: Address) -> None:
        self.app = app
        self.address = address
        self.hosts = {address.host, *_LOOPBACK}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refused request, or pass it on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        if refusal := self._refusal(scope):
            status, reason = refusal
            response = PlainTextResponse(f"{reason}\n", status)
            await response(scope, receive, send_with_headers)
        else:
            await self.app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return the status and the reason for which a request is refused, None if it is not."""
        headers = Headers(scope=scope)
        if _host_name(headers.get("host", "")) not in self.hosts:
            return 421, "This collection is not served under that host name."
        if scope["method"] in {"GET", "HEAD"}:
            return None
        if scope["method"] != "POST":
            return 405, "Method not allowed."
        return self._form_refusal(headers)

    def _form_refusal(self, headers: Headers) -> tuple[int, str] | None:
        if not self._is_same_origin(headers):
            return 403, "Forms are accepted from the pages of this collection alone."
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            return 415, "Only forms are accepted."
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > LONGEST_BODY:
            return 413, "The form is too long."
        return None

    def _is_same_origin(self, headers: Headers) -> bool:
        """Return whether a browser says that one of the collection's pages sent a form.

        Browsers send Origin with every POST. Behind a proxy with TLS it names the proxy's address.
        """
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return False
        origins = {self.address.origin}
        if not (self.address.is_encrypted and _host_name(headers["host"]) == self.address.host):
            origins.add(f"http://{headers['host']}")
        return headers.get("origin") in origins


def _host_name(host: str) -> str:
    """Return a Host header without its port, and an IPv6 address without its brackets."""
    name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not name or not port.isdecimal():
        name = host
    return name.strip("[]").lower()
