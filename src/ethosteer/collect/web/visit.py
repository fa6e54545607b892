"""One request with what its handler needs: the collection, the form, and who sent it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ethosteer.collect.records import Annotator, Pair
from ethosteer.collect.store import Store
from ethosteer.collect.web.address import Address
from ethosteer.collect.web.guard import LONGEST_BODY
from ethosteer.collect.web.limits import RateLimit
from ethosteer.collect.web.overview import LiveQuality
from ethosteer.collect.web.pages import render
from ethosteer.collect.web.sessions import Cookies, Kind, form_token, is_form_token, is_token
from ethosteer.errors import DIRECTIONS

_INVISIBLE = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff{DIRECTIONS}]")
"""Control characters but tab and line break, and those of the writing direction."""

MOST_FIELDS = 20


class Problem(Exception):  # noqa: N818
    """A request that is refused with a page that says why."""

    def __init__(
        self, status: int, problem: str, explanation: str, *, again: str = "", wait: int = 0
    ) -> None:
        super().__init__(problem)
        self.status = status
        self.problem = problem
        self.explanation = explanation
        self.again = again
        self.wait = wait

    def response(self, title: str) -> Response:
        """Return the page; ``Retry-After`` says when to try again where that would help."""
        response = render(
            "problem",
            self.status,
            title=title,
            problem=self.problem,
            explanation=self.explanation,
            again=self.again,
        )
        if self.wait:
            response.headers["Retry-After"] = str(self.wait)
        return response


@dataclass(frozen=True)
class Limits:
    """How often requests are answered, by key."""

    failed_links: RateLimit = field(default_factory=lambda: RateLimit(1 / 6, 30))
    """Links with an unknown token, by address. Tokens of 256 bits are never guessed."""
    joins: RateLimit = field(default_factory=lambda: RateLimit(1 / 30, 10))
    """Uses of one invitation."""
    judgements: RateLimit = field(default_factory=lambda: RateLimit(3, 60))
    """Forms of one annotator: a pair takes at least a second to read."""
    owner: RateLimit = field(default_factory=lambda: RateLimit(2, 60))
    """Forms of the owner."""


@dataclass(frozen=True)
class Site:
    """A collection that is served."""

    store: Store
    address: Address
    cookies: Cookies
    limits: Limits = field(default_factory=Limits)

    @cached_property
    def title(self) -> str:
        """The collection's title, on every page."""
        return self.store.settings.title

    @cached_property
    def pairs(self) -> list[Pair]:
        """The pool, which does not change while it is served."""
        return self.store.pairs()

    @cached_property
    def quality(self) -> LiveQuality:
        """The statistics of the judgements."""
        return LiveQuality(self.pairs)

    @cached_property
    def practice(self) -> dict[str, Pair]:
        """Practice pairs by key: the only ones whose expected judgement a page may show."""
        return {pair.key: pair for pair in self.pairs if pair.kind == "practice"}


@dataclass(frozen=True)
class Visit:
    """A request, after the checks of its kind."""

    site: Site
    request: Request
    form: Mapping[str, str]
    cookie: str
    """The token of the cookie that the page needs."""

    @property
    def store(self) -> Store:
        """The collection's store."""
        return self.site.store

    @property
    def token(self) -> str:
        """The token of the page's forms."""
        return form_token(self.cookie)

    @cached_property
    def annotator(self) -> Annotator:
        """Who sent the request; Problem where there is no live session."""
        annotator = self.store.session(self.cookie) if self.cookie else None
        if annotator is None:
            raise Problem(
                401,
                "You are not signed in",
                "Open the invitation link that you were given, in this browser. What you judged "
                "before is stored.",
            )
        return annotator

    def page(self, template: str, status: int = 200, /, **values: object) -> Response:
        """Render a template with the collection's title and the token of forms."""
        return render(template, status, **{"title": self.site.title, "token": self.token, **values})

    def text(self, name: str, longest: int) -> str:
        """Return a field's text: composed, at most so many characters, nothing invisible."""
        text = unicodedata.normalize("NFC", self.form.get(name, "")).replace("\r\n", "\n")
        return _INVISIBLE.sub("", text).strip()[:longest]

    def line(self, name: str, longest: int) -> str:
        """Return a field's text as one line."""
        return " ".join(self.text(name, LONGEST_BODY).split())[:longest].strip()

    def identifier(self, name: str) -> str:
        """Return a field that is a token or an id; Problem where it cannot be one."""
        if not is_token(value := self.form.get(name, "")):
            raise Problem(400, "This form is not valid", "It names nothing that exists.")
        return value


Handler = Callable[[Visit], Response]


def endpoint(site: Site, handler: Handler, kind: Kind) -> Callable[[Request], object]:
    """Return the function that answers requests by a handler, which runs in a thread.

    ``kind`` is the cookie by which forms are known to come from the collection's pages.
    """

    def answer(request: Request, form: Mapping[str, str]) -> Response:
        cookie = site.cookies.read(request, kind)
        if request.method == "POST" and not is_form_token(cookie, form.get("token", "")):
            raise Problem(
                403,
                "This form is out of date",
                "You signed in or out since the page was opened, or cookies are switched off. "
                "Nothing was stored. Open the page again.",
                again="/",
            )
        return handler(Visit(site, request, form, cookie))

    async def run(request: Request) -> Response:
        form = await read_form(request) if request.method == "POST" else {}
        return await run_in_threadpool(answer, request, form)

    return run


async def read_form(request: Request) -> dict[str, str]:
    """Return a form's fields, the first of a name; Problem where it is too long or no form."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_BODY:
            raise Problem(413, "The form is too long", "Shorten your text and send it again.")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            errors="replace",
            max_num_fields=MOST_FIELDS,
        )
    except ValueError:
        raise Problem(400, "This form is not valid", "It cannot be read.") from None
    return dict(reversed(pairs))


def check_rate(wait: int) -> None:
    """Raise Problem where a limit asks to wait."""
    if wait:
        raise Problem(
            429,
            "Too many requests",
            f"Please wait {wait} seconds, then try again. What was saved before is stored.",
            wait=wait,
        )


def go_to(path: str) -> Response:
    """Redirect to a page, so that a reload sends no form again."""
    return RedirectResponse(path, 303)
