"""Clients that behave as browsers do: they keep cookies, send Origin, and fill in served forms."""

from __future__ import annotations

import re
from html import unescape

from starlette.testclient import TestClient

from ethosteer.collect.store import Store
from ethosteer.collect.web.app import create_app
from tests.collect.web.example import site_of

ORIGIN = "http://127.0.0.1:8765"


class Visitor:
    """A browser without script at a collection."""

    def __init__(self, store: Store, origin: str = ORIGIN) -> None:
        self.store = store
        self.client = TestClient(
            create_app(site_of(store, origin)), base_url=origin, follow_redirects=False
        )
        self.client.headers["Origin"] = origin
        self.html = ""
        self.path = ""

    def get(self, path: str, status: int = 200) -> str:
        """Open a page and follow redirects."""
        response = self.client.get(path, follow_redirects=True)
        assert response.status_code == status, response.text
        self.html, self.path = response.text, response.url.raw_path.decode()
        return self.html

    def fields(self, action: str) -> dict[str, str]:
        """The hidden fields of the served form with an action."""
        form = re.search(rf'<form method="post" action="{action}".*?</form>', self.html, re.DOTALL)
        assert form, self.html
        inputs = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form[0])
        return {name: unescape(value) for name, value in inputs}

    def post(self, path: str, fields: dict[str, str], status: int = 303) -> str:
        """Send a form and follow the redirect."""
        response = self.client.post(path, data=fields)
        assert response.status_code == status, response.text
        if status == 303:
            return self.get(response.headers["location"])
        self.html = response.text
        return self.html

    def join(self, name: str = "Robin") -> Visitor:
        """Use a new invitation."""
        self.get(f"/join/{self.store.invite()}")
        self.post("/join", {**self.fields("/join"), "name": name})
        return self

    def judge(self, choice: str = "1", **changed: str) -> str:
        """Open the next pair and judge it, a second after it was shown."""
        self.get("/judge")
        fields = {**self.fields("/judge"), "seconds": "1.0", "choice": choice, **changed}
        return self.post("/judge", fields)
