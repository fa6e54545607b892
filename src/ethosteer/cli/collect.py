"""``ethosteer collect``: make a collection of human judgements and serve its pages."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ethosteer.cli.collection import extra_named
from ethosteer.cli.completion import complete_study
from ethosteer.cli.errors import print_error
from ethosteer.cli.options import RunsDir
from ethosteer.data.text_files import read_text
from ethosteer.errors import InputError
from ethosteer.files import fingerprint, usable_path
from ethosteer.interruption import Interrupted
from ethosteer.results.preferences import COLLECTION
from ethosteer.study.folder import is_run_folder
from ethosteer.study.load import load_study

if TYPE_CHECKING:
    from socket import socket

    from ethosteer.collect.store import Store
    from ethosteer.collect.web.address import Address


class Choice(StrEnum):
    """How pairs are chosen that are not shown at random."""

    random = "random"
    disagreement = "disagreement"
    uncertainty = "uncertainty"


SourceArgument = Annotated[
    str,
    typer.Argument(
        help="A study or its run's folder, whose arms and controls gave the answers; a file of "
        "prompts and responses (JSONL, CSV, …); or a collection, to resume it.",
        autocompletion=complete_study,
    ),
]
CollectionFolder = Annotated[
    Path | None,
    typer.Option(
        help="The collection's folder. Default: `collection` in the run's folder; for a file, a "
        "folder beside it whose name ends in `-collection`."
    ),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(help="PostgreSQL instead of SQLite in a folder: `postgresql://USER@HOST/NAME`."),
]
Host = Annotated[
    str, typer.Option(help="Where the server listens; only this machine reaches the default.")
]
Port = Annotated[int, typer.Option(min=1, max=65535, help="The server's port.")]
AddressOption = Annotated[
    str | None,
    typer.Option(
        help="The address by which annotators reach the server, such as "
        "`https://judge.example.org` behind a proxy with TLS. Default: host and port."
    ),
]
ExtraFiles = Annotated[
    list[Path] | None,
    typer.Option("--add", help="Also the gold and practice pairs of this file. Repeatable."),
]
Warning_ = Annotated[
    str | None, typer.Option(help="A content warning before every pair that has none of its own.")
]
Title = Annotated[str | None, typer.Option(help="The title of the pages.")]
Guidelines = Annotated[
    Path | None, typer.Option(help="A text file with what annotators are to attend to.")
]
Overlap = Annotated[
    int | None, typer.Option(min=1, help="So many annotators judge each pair. Default: 1.")
]
Goal = Annotated[
    int | None, typer.Option(min=1, help="So many judgements of each annotator. Default: all.")
]
ChoiceOption = Annotated[
    Choice | None,
    typer.Option(
        help="Which pair is next: at random, or first where reward models disagree or are least "
        "sure. Default: random."
    ),
]
RandomShare = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Of the pairs, chosen at random always. Default: 0.2."),
]
RepeatShare = Annotated[
    float | None, typer.Option(min=0, max=1, help="Of hidden repeats. Default: 0.05.")
]
GoldShare = Annotated[
    float | None, typer.Option(min=0, max=1, help="Of gold pairs. Default: 0.05.")
]


def collect(
    source: SourceArgument,
    folder: CollectionFolder = None,
    database: DatabaseUrl = None,
    host: Host = "127.0.0.1",
    port: Port = 8000,
    address: AddressOption = None,
    add: ExtraFiles = None,
    warning: Warning_ = None,
    title: Title = None,
    guidelines: Guidelines = None,
    overlap: Overlap = None,
    goal: Goal = None,
    choice: ChoiceOption = None,
    random_share: RandomShare = None,
    repeat_share: RepeatShare = None,
    gold_share: GoldShare = None,
    runs_dir: RunsDir = Path("runs"),
) -> None:
    """Serve pages on which people judge pairs of answers; a second start resumes.

    It prints the owner's link: on the owner's page invitations are made, and progress, agreement
    and the ranking are shown. Annotators see two answers in random order, never where they come
    from. Judgements are on the disk before the next pair is shown, so Ctrl-C loses none.
    `ethosteer collection export` makes preferences of them.

    Needs `pip install 'ethosteer[collect]'`.

    Example: `ethosteer collect runs/demo --overlap 2`
    """
    with extra_named():
        from ethosteer.collect.database import collection_url
        from ethosteer.collect.web.server import bind

    settings = {
        "title": title,
        "guidelines": None if guidelines is None else read_text(usable_path(guidelines)),
        "overlap": overlap,
        "goal": goal,
        "choice": None if choice is None else choice.value,
        "random_share": random_share,
        "repeat_share": repeat_share,
        "gold_share": gold_share,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    reached = _address(host, port, address)
    path, name = _names(source, runs_dir, folder, database)
    with bind(host, port) as listening:
        url = collection_url(name)
        store = _opened(url)
        if store is None:
            if path is None:
                raise InputError(f"{name}: no such collection")
            store = _created(url, path, add or (), warning or "", given)
        else:
            _check_unchanged(store, {**given, "add": add, "warning": warning})
        _serve(store, reached, host, listening, name)


def _address(host: str, port: int, address: str | None) -> Address:
    """Return the address of links; InputError where no host says which it is."""
    from ethosteer.collect.web.address import Address, is_unspecified

    if address is not None:
        return Address.parse(address)
    if is_unspecified(host):
        raise InputError(
            f"--host {host}: give the address by which annotators reach the server, as in "
            f"--address http://192.168.1.5:{port}"
        )
    return Address("http", host.strip("[]").lower(), port)


def _names(
    source: str, runs_dir: Path, folder: Path | None, database: str | None
) -> tuple[Path | None, str]:
    """Return where pairs come from, and the folder or URL of the collection.

    The first is None where ``source`` is a collection itself.
    """
    from ethosteer.collect.database import FILE

    if folder is not None and database is not None:
        raise InputError("--folder and --database: give one of them")
    is_url = "://" in source
    if is_url or (usable_path(source) / FILE).is_file():
        if folder is not None or database is not None:
            option = "--folder" if database is None else "--database"
            raise InputError(f"{option}: {source} is a collection itself; leave the option out")
        return None, source
    path = Path(source)
    if path.is_file() and path.suffix != ".toml":
        default = path.with_name(path.name.partition(".")[0] + "-collection")
    elif path.suffix not in {"", ".toml"} and not path.exists():
        raise InputError(f"{source}: no such file")
    else:
        if not is_run_folder(path):
            path = runs_dir / load_study(source).name
        if not is_run_folder(path):
            raise InputError(f"{path}: has no answers yet; `ethosteer run {source}` makes them")
        default = path / COLLECTION
    return path, database or str(folder or default)


def _opened(url: str) -> Store | None:
    """Return the collection at a URL; None where there is none yet."""
    from ethosteer.collect.database import Database
    from ethosteer.collect.store import Store

    file = Database(url).path
    if file is not None:
        return Store.open(url) if file.is_file() else None
    try:
        return Store.open(url)
    except InputError:
        return None  # `create` says what is wrong, unless the database is merely empty


def _created(
    url: str, path: Path, add: Iterable[Path], warning: str, settings: Mapping[str, Any]
) -> Store:
    """Make a collection of a run's answers or a file's, and say what it holds."""
    from ethosteer.collect.pool import read_pool
    from ethosteer.collect.records import CollectionSettings
    from ethosteer.collect.store import Store

    pool = read_pool(path, [usable_path(file) for file in add], warning)
    store = Store.create(url, replace(CollectionSettings(), **settings), pool.pairs)
    left_out = ", ".join(f"{reason}: {count}" for reason, count in pool.left_out.items())
    typer.echo(f"{len(pool.pairs)} pairs from {path} (left out: {left_out or 'none'})")
    return store


def _check_unchanged(store: Store, options: Mapping[str, object]) -> None:
    """Raise InputError where an option would change a collection that exists."""
    if option := next((name for name, value in options.items() if value), None):
        raise InputError(
            f"--{option.replace('_', '-')}: {store.name} exists already, and its pairs and "
            "settings stay as they are; leave the option out, or choose another --folder"
        )


def _serve(store: Store, address: Address, host: str, listening: socket, name: str) -> None:
    """Print the owner's link and serve until a signal comes."""
    from ethosteer.collect.web.address import is_loopback
    from ethosteer.collect.web.app import create_app
    from ethosteer.collect.web.server import serve
    from ethosteer.collect.web.sessions import Cookies
    from ethosteer.collect.web.visit import Site

    cookies = Cookies(fingerprint(store.name)[:8], is_encrypted=address.is_encrypted)
    typer.echo(f"collection: {store.name}, {len(store.judgements())} judgements so far")
    if not address.is_encrypted and not (is_loopback(host) and is_loopback(address.host)):
        print_error(
            f"warning: {address.origin} is not encrypted, so whoever is on its network can read "
            "and change what is sent; put a proxy with TLS before it"
        )
    typer.echo(f"owner's page: {address.origin}/owner/open/{store.new_owner_token()}")
    typer.echo("the link is the owner's alone and replaces earlier ones; Ctrl-C stops the server")
    try:
        serve(create_app(Site(store, address, cookies)), listening)
    except Interrupted as stop:
        print_error(
            "stopped; every judgement is stored; resume with "
            f"`ethosteer collect {shlex.quote(name)}`"
        )
        raise typer.Exit(stop.status) from None
    finally:
        store.close()
