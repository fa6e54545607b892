"""``ethosteer collection``: invitations, export, import and state of collected judgements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer

from ethosteer.data.formats.collected import EXPORT, JUDGEMENTS
from ethosteer.errors import InputError
from ethosteer.files import usable_path
from ethosteer.progress import visible

if TYPE_CHECKING:
    from ethosteer.collect.records import Judgement
    from ethosteer.collect.store import Store

PACKAGES = {"alembic", "sqlalchemy", "starlette", "uvicorn"}
"""What the extra ``collect`` brings."""

CollectionArgument = Annotated[
    str,
    typer.Argument(
        metavar="COLLECTION",
        help="The collection's folder, or the URL of its database (`postgresql://HOST/NAME`).",
    ),
]

collection = typer.Typer(
    no_args_is_help=True,
    help="Invite annotators to a collection of human judgements, export and import it.\n\n"
    "`ethosteer collect` makes a collection and serves its pages.",
)


@contextmanager
def extra_named() -> Iterator[None]:
    """Turn the import of a missing package of the extra ``collect`` into InputError."""
    try:
        yield
    except ModuleNotFoundError as fault:
        if (fault.name or "").partition(".")[0] not in PACKAGES:
            raise
        raise InputError(
            f"collections need the package {fault.name}: pip install 'ethosteer[collect]'"
        ) from fault


def _open(name: str) -> Store:
    with extra_named():
        from ethosteer.collect.database import collection_url
        from ethosteer.collect.store import Store
    return Store.open(collection_url(name))


@collection.command("invite")
def invite(
    name: CollectionArgument,
    count: Annotated[int, typer.Option(min=1, max=1000, help="So many invitations.")] = 1,
    note: Annotated[str, typer.Option(help="For the owner: whom the invitation is for.")] = "",
    address: Annotated[
        str, typer.Option(help="Where annotators reach the server, as `collect` prints it.")
    ] = "http://127.0.0.1:8000",
) -> None:
    """Print a link for each new annotator, which only that person should get.

    A link cannot be shown again: only a hash of its token is stored. The server need not run.

    Example: `ethosteer collection invite mine --count 3 --address https://judge.example.org`
    """
    with _open(name) as store:
        for _ in range(count):
            typer.echo(f"{address.rstrip('/')}/join/{store.invite(note)}")


@collection.command("export")
def export(
    name: CollectionArgument,
    out: Annotated[
        Path | None, typer.Option(help=f"The folder to write; default: COLLECTION/{EXPORT}.")
    ] = None,
    names: Annotated[
        bool, typer.Option("--names", help="Also write the names that annotators chose.")
    ] = False,
) -> None:
    """Write the judgements as preferences, with all judgements and a card beside them.

    An arm reads the export: `[arms.human] collected = "COLLECTION"`. It may run while the server
    does, and again later.

    Example: `ethosteer collection export mine`
    """
    if out is None and "://" in name:
        raise InputError("--out: is needed where the collection is a database's URL")
    folder = usable_path(out) if out is not None else usable_path(name) / EXPORT
    with _open(name) as store:
        from ethosteer.collect.export import export as write

        exported = write(store, folder, names=names)
    left_out = ", ".join(f"{reason} {count}" for reason, count in exported.left_out.items())
    typer.echo(
        f"{folder}: {exported.preferences} preferences of {exported.judgements} judgements "
        f"(left out: {left_out or 'none'})"
    )


@collection.command("import")
def import_(
    name: CollectionArgument,
    exported: Annotated[Path, typer.Argument(help="The folder that `export` wrote.")],
) -> None:
    """Make a new collection of an export, with all of its judgements.

    Invitations are not exported; whoever goes on judging is a new annotator.

    Example: `ethosteer collection import copy mine/export`
    """
    with extra_named():
        from ethosteer.collect.database import collection_url
        from ethosteer.collect.restore import restore
    with restore(usable_path(exported), collection_url(name)) as store:
        pairs, judgements = store.pairs(), store.judgements()
    typer.echo(f"{store.name}: {len(pairs)} pairs, {len(judgements)} judgements")


@collection.command("status")
def status(name: CollectionArgument) -> None:
    """Print how far a collection is: pairs, judgements, annotators and invitations.

    Example: `ethosteer collection status mine`
    """
    with _open(name) as store:
        everything = store.judgements(withdrawn=True)
        judgements = [entry for entry in everything if entry.withdrawn is None]
        lines = (
            visible(store.settings.title),
            _pairs_line(store, judgements),
            _judgements_line(judgements, undone=len(everything) - len(judgements)),
            *_annotator_lines(store, judgements),
            _invitations_line(store),
            _export_line(name, len(everything)),
        )
    typer.echo("\n".join(lines))


def _pairs_line(store: Store, judgements: list[Judgement]) -> str:
    pairs, overlap = store.pairs(), store.settings.overlap
    kinds = Counter(pair.kind for pair in pairs)
    judges = Counter(
        entry.pair_key for entry in judgements if entry.selection not in {"repeat", "practice"}
    )
    done = sum(pair.kind == "pair" and judges[pair.key] >= overlap for pair in pairs)
    return (
        f"pairs: {kinds['pair']}, of which {done} have the {overlap} judgements asked; "
        f"{kinds['gold']} gold, {kinds['practice']} practice"
    )


def _judgements_line(judgements: list[Judgement], undone: int) -> str:
    shown = Counter(entry.selection for entry in judgements)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(shown.items()))
    flagged = sum(entry.flagged for entry in judgements)
    ties = sum(entry.preference == 0 for entry in judgements)
    return (
        f"judgements: {len(judgements)} ({reasons or 'none yet'}); {ties} ties, {flagged} flagged, "
        f"{undone} undone"
    )


def _annotator_lines(store: Store, judgements: list[Judgement]) -> Iterator[str]:
    annotators = store.annotators()
    yield f"annotators: {len(annotators)}"
    for annotator in annotators:
        seconds = [entry.seconds for entry in judgements if entry.annotator == annotator.id]
        speed = f", median {median(seconds):.1f} s" if seconds else ""
        name = visible(annotator.name) or "(no name)"
        yield f"  {annotator.id}  {name}: {len(seconds)} judgements{speed}"


def _invitations_line(store: Store) -> str:
    invitations = store.invitations()
    unused = sum(entry.annotator is None and not entry.revoked for entry in invitations)
    revoked = sum(entry.revoked for entry in invitations)
    return f"invitations: {len(invitations)}, {unused} not used yet, {revoked} revoked"


def _export_line(name: str, judgements: int) -> str:
    """Say whether the folder's export is of the present judgements, undone ones included."""
    path = Path(name) / EXPORT / JUDGEMENTS
    if "://" in name or not path.is_file():
        return "export: none"
    exported = path.read_text("utf-8").count("\n")
    if exported == judgements:
        return f"export: {path.parent}"
    return (
        f"export: {path.parent}, of {exported} judgements where there are {judgements}; repeat it"
    )
