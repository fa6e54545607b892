"""The collection as an ASGI application."""

from __future__ import annotations

import logging

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ethosteer.collect.web import annotator, joining, owner
from ethosteer.collect.web.guard import Guard
from ethosteer.collect.web.pages import static_file
from ethosteer.collect.web.sessions import Kind
from ethosteer.collect.web.visit import Handler, Problem, Site, endpoint
from ethosteer.errors import InputError

_log = logging.getLogger("uvicorn.error")

_PAGES: tuple[tuple[str, str, Handler, Kind], ...] = (
    ("GET", "/", annotator.start, "session"),
    ("GET", "/join/{invitation}", joining.welcome, "visitor"),
    ("POST", "/join", joining.join, "visitor"),
    ("GET", "/guidelines", annotator.guidelines, "session"),
    ("GET", "/judge", annotator.show_pair, "session"),
    ("POST", "/judge", annotator.judge, "session"),
    ("GET", "/practice/{key}", annotator.feedback, "session"),
    ("POST", "/undo", annotator.undo, "session"),
    ("GET", "/pause", annotator.pause, "session"),
    ("POST", "/leave", annotator.leave, "session"),
    ("GET", "/owner", owner.show_overview, "owner"),
    ("GET", "/owner/open/{owner}", owner.enter, "owner"),
    ("POST", "/owner/invite", owner.invite, "owner"),
    ("POST", "/owner/revoke", owner.revoke, "owner"),
    ("GET", "/owner/export.zip", owner.export_archive, "owner"),
    ("GET", "/owner/annotators/{annotator}/delete", owner.ask_deletion, "owner"),
    ("POST", "/owner/annotators/{annotator}/delete", owner.delete, "owner"),
    ("POST", "/owner/leave", owner.leave, "owner"),
)


def create_app(site: Site) -> ASGIApp:
    """Return the application that serves a collection."""
    site.store.pairs()  # the pool is read now, not while the first annotators wait

    def problem(request: Request, fault: Exception) -> Response:
        assert isinstance(fault, Problem)
        return fault.response(site.title)

    def no_page(request: Request, fault: Exception) -> Response:
        assert isinstance(fault, HTTPException)
        names = {404: "There is no such page", 405: "This page takes no forms"}
        name = names.get(fault.status_code, "This request is not valid")
        return Problem(fault.status_code, name, "", again="/").response(site.title)

    def failure(request: Request, fault: Exception) -> Response:
        if isinstance(fault, InputError):  # the database's, whose message has no one's data
            _log.error("%s", fault)
        return Problem(
            503,
            "The server could not do this",
            "What was stored before is safe. Try again in a moment.",
            wait=2,
        ).response(site.title)

    async def static(request: Request) -> Response:
        response = static_file(request.path_params["name"])
        if response is None:
            raise HTTPException(404)
        return response

    routes = [
        Route(path, endpoint(site, handler, kind), methods=[method])
        for method, path, handler, kind in _PAGES
    ]
    app = Starlette(
        routes=[*routes, Route("/static/{name}", static)],
        exception_handlers={
            Problem: problem,
            HTTPException: no_page,
            InputError: failure,
            Exception: failure,
        },
    )
    return Guard(app, site.address)
