"""Cookies, and the tokens by which forms are known to come from a page that was served.

A cookie holds a random token, never a name. A form's token is a keyed hash of the cookie that came
with the page, so it needs no memory of the server and stays valid when the server is restarted.
"""

from __future__ import annotations

import hmac
import re
import secrets
from hashlib import sha256
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

Kind = Literal["session", "owner", "visitor"]
"""Whose cookie: an annotator's, the owner's, or that of somebody who has not joined yet."""

DAYS = 60
"""How long a browser keeps a cookie."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,128}")


def is_token(text: str) -> bool:
    """Return whether a text may be a token or an id; nothing else reaches the store."""
    return _TOKEN.fullmatch(text) is not None


class Cookies:
    """The cookies of one collection.

    Browsers share cookies among all ports of a host, so their names carry the ``collection``.
    """

    def __init__(self, collection: str, *, is_encrypted: bool) -> None:
        self.is_encrypted = is_encrypted
        # browsers take a cookie of this prefix only over https and for this host alone
        self._prefix = "__Host-" if is_encrypted else ""
        self._collection = collection

    def read(self, request: Request, kind: Kind) -> str:
        """Return a cookie's token, "" where there is none or what came is no token."""
        token = request.cookies.get(self._name(kind), "")
        return token if is_token(token) else ""

    def write(self, response: Response, kind: Kind, token: str) -> None:
        """Set a cookie that scripts cannot read and that forms of other sites do not send.

        SameSite is Lax: an annotator who follows the invitation link in a message again is known.
        """
        response.set_cookie(
            self._name(kind),
            token,
            max_age=DAYS * 24 * 3600,
            path="/",
            secure=self.is_encrypted,
            httponly=True,
            samesite="lax",
        )

    def clear(self, response: Response, kind: Kind) -> None:
        """Remove a cookie."""
        response.delete_cookie(
            self._name(kind), path="/", secure=self.is_encrypted, httponly=True, samesite="lax"
        )

    def _name(self, kind: Kind) -> str:
        return f"{self._prefix}ethosteer-{kind}-{self._collection}"


def new_token() -> str:
    """Return a random token of 256 bits."""
    return secrets.token_urlsafe(32)


def form_token(cookie: str) -> str:
    """Return the token of forms on pages that are served with a cookie."""
    return hmac.new(cookie.encode(), b"form", sha256).hexdigest()


def is_form_token(cookie: str, given: str) -> bool:
    """Return whether a form came from a page that was served with the cookie."""
    return bool(cookie) and hmac.compare_digest(form_token(cookie).encode(), given.encode())
