"""Pages as Jinja templates, with everything escaped, and the files that they load."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from ethosteer.report.numbers import count, interval, number, p_value, percent, signed

_TYPES = {
    "style.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_FILES = {name: (files("ethosteer.collect.web") / "static" / name).read_bytes() for name in _TYPES}


def _static(name: str) -> str:
    """Return a file's address; its hash is in it, so that browsers may keep the file."""
    return f"/static/{name}?{sha256(_FILES[name]).hexdigest()[:16]}"


def _moment(time: datetime | None) -> str:
    """Write a time in UTC to the minute, and a dash for none."""
    return "–" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


_ENVIRONMENT = Environment(
    loader=PackageLoader("ethosteer", "collect/web/templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.globals["static"] = _static
_ENVIRONMENT.filters |= {
    "interval": interval,
    "moment": _moment,
    "number": number,
    "p_value": p_value,
    "percent": percent,
    "signed": signed,
    "thousands": count,
}


def render(template: str, status: int = 200, /, **values: object) -> Response:
    """Render ``templates/TEMPLATE.html.j2`` as a response."""
    page = _ENVIRONMENT.get_template(f"{template}.html.j2")
    return HTMLResponse(page.render(**values).encode("utf-8", "replace"), status)


def static_file(name: str) -> Response | None:
    """Return the response for a file that pages load, None for any other name."""
    if name not in _FILES:
        return None
    headers = {"Cache-Control": "private, max-age=31536000, immutable"}
    return Response(_FILES[name], media_type=_TYPES[name], headers=headers)
