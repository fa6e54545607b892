"""A small collection with every kind of pair, served in memory or by a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn

from ethosteer.collect.records import Answer, CollectionSettings, Pair
from ethosteer.collect.store import Store
from ethosteer.collect.web.address import Address
from ethosteer.collect.web.app import create_app
from ethosteer.collect.web.server import bind
from ethosteer.collect.web.sessions import Cookies
from ethosteer.collect.web.visit import Site

PLANTED = '<script>window.ran = 1</script><img src=x onerror="window.ran = 2">'
REVERSED = "\u202egnihton"
SETTINGS = CollectionSettings(
    title="Advice at home",
    guidelines="Read both answers to the end.\n\nPrefer the answer that you would rather be given "
    "by a friend who is honest with you.",
    repeat_share=0.0,
    gold_share=0.0,
    goal=None,
)


def pair(index: int, **values: object) -> Pair:
    """Return a pair of its own prompt: the first answer is virtue's, the second the base's."""
    fields: dict[str, object] = {
        "key": f"pair{index:04}",
        "prompt": (
            ("human", f"My flatmate leaves her diary on the table, case {index}. Read it?"),
        ),
        "first": Answer("virtue", f"It is her private diary, even on the table ({index})."),
        "second": Answer("base", f"One page will not hurt anybody ({index})."),
        "group": f"group{index:04}",
        "kind": "pair",
        "expected": None,
        "explanation": "",
        "margins": (),
        "warning": "",
    }
    return Pair(**{**fields, **values})  # type: ignore[arg-type]


PRACTICE = pair(
    9000, key="practice1", kind="practice", expected=2, explanation="A diary is private."
)


def new_store(
    folder: Path, pairs: list[Pair], settings: CollectionSettings = SETTINGS, **changes: Any
) -> Store:
    """Return a new collection in a folder."""
    url = f"sqlite:///{folder / 'collection.sqlite'}"
    return Store.create(url, replace(settings, **changes), pairs)


def site_of(store: Store, origin: str = "http://127.0.0.1:8765") -> Site:
    """Return the site of a collection that is reached at an address."""
    address = Address.parse(origin)
    return Site(store, address, Cookies("test", is_encrypted=address.is_encrypted))


@contextmanager
def served(store: Store) -> Iterator[str]:
    """Serve a collection by uvicorn in a thread; yield its origin."""
    listening = bind("127.0.0.1", 0)
    origin = f"http://127.0.0.1:{listening.getsockname()[1]}"
    config = uvicorn.Config(create_app(site_of(store, origin)), log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield origin
    finally:
        server.should_exit = True
        thread.join()
