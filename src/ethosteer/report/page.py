"""The report as one HTML page that loads nothing: style, script and drawings are inside it.

Its Content-Security-Policy forbids every request, and every style and script but the page's own,
which are named by their hashes. Without the script, all but the item-by-item view is shown.
"""

from __future__ import annotations

import base64
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ethosteer.report.blocks import Document
from ethosteer.report.glossary import explained
from ethosteer.report.markdown import MARKS

_ENVIRONMENT = Environment(
    loader=PackageLoader("ethosteer", "report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.tests["in_tables"] = lambda name: name.startswith("tables/")
_ENVIRONMENT.filters["explained"] = explained
_ENVIRONMENT.globals["signs"] = MARKS


def html_page(document: Document) -> str:
    """Render a document as a self-contained page."""
    folder = files("ethosteer.report")
    style, script = ((folder / name).read_text("utf-8") for name in ("style.css", "page.js"))
    return _ENVIRONMENT.get_template("page.html.j2").render(
        document=document,
        style=Markup(style),
        style_hash=_digest(style),
        script=Markup(script),
        script_hash=_digest(script),
    )


def _digest(text: str) -> Markup:
    return Markup(base64.b64encode(sha256(text.encode("utf-8")).digest()).decode("ascii"))
