"""The owner's pages: invitations, progress, quality, exports and the deletion of annotators."""

from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZIP_DEFLATED, ZipFile

from starlette.responses import Response

from ethosteer.collect.export import export
from ethosteer.collect.records import Annotator
from ethosteer.collect.web.overview import overview
from ethosteer.collect.web.sessions import is_token
from ethosteer.collect.web.visit import Problem, Visit, check_rate, go_to
from ethosteer.data.formats.collected import EXPORT
from ethosteer.errors import InputError
from ethosteer.report.differences import CORRECTIONS

MOST_INVITATIONS = 100
"""That are made at once."""
LONGEST_NOTE = 80


def enter(visit: Visit) -> Response:
    """Exchange the owner's link for a cookie."""
    token = visit.request.path_params["owner"]
    if not is_token(token) or not visit.store.is_owner(token):
        client = visit.request.client
        check_rate(visit.site.limits.failed_links.wait(client.host if client else ""))
        raise _not_owner()
    response = go_to("/owner")
    visit.site.cookies.write(response, "owner", token)
    return response


def show_overview(visit: Visit) -> Response:
    """Show how the collection stands."""
    _check_owner(visit)
    annotators = {annotator.id: annotator for annotator in visit.store.annotators()}
    judgements = visit.store.judgements()
    quality = visit.site.quality.of(judgements)
    return visit.page(
        "owner",
        overview=overview(visit.site.pairs, annotators.values(), judgements, quality.reliability),
        quality=quality,
        correction=CORRECTIONS[quality.correction],
        names=annotators,
        invitations=[
            (invitation, annotators.get(invitation.annotator or 0))
            for invitation in visit.store.invitations()
        ],
        most_invitations=MOST_INVITATIONS,
        longest_note=LONGEST_NOTE,
    )


def invite(visit: Visit) -> Response:
    """Make invitations, whose links are shown once: the store keeps their hashes alone."""
    _check_owner(visit)
    count = _number(visit.form.get("count", ""))
    if not 1 <= count <= MOST_INVITATIONS:
        raise Problem(
            400, "This form is not valid", f"Make 1 to {MOST_INVITATIONS} invitations at once."
        )
    note = visit.line("note", LONGEST_NOTE)
    origin = visit.site.address.origin
    links = [f"{origin}/join/{visit.store.invite(note)}" for _ in range(count)]
    return visit.page("links", links=links, note=note)


def revoke(visit: Visit) -> Response:
    """Revoke an invitation, and end the sessions of whoever used it."""
    _check_owner(visit)
    visit.store.revoke(_number(visit.form.get("invitation", "")))
    return go_to("/owner#invitations")


def export_archive(visit: Visit) -> Response:
    """Send the export, without names, as a ZIP archive."""
    _check_owner(visit)
    check_rate(visit.site.limits.owner.wait("owner"))
    content = io.BytesIO()
    with TemporaryDirectory() as name, ZipFile(content, "w", ZIP_DEFLATED) as archive:
        try:
            export(visit.store, Path(name))
        except InputError as fault:
            raise Problem(409, "There is nothing to export", str(fault), again="/owner") from None
        for path in sorted(Path(name).iterdir()):
            archive.write(path, f"{EXPORT}/{path.name}")
    headers = {"Content-Disposition": f'attachment; filename="{EXPORT}.zip"'}
    return Response(content.getvalue(), media_type="application/zip", headers=headers)


def ask_deletion(visit: Visit) -> Response:
    """Ask whether an annotator's judgements are kept."""
    _check_owner(visit)
    return visit.page("delete", annotator=_annotator(visit))


def delete(visit: Visit) -> Response:
    """Delete an annotator's name and sessions, and the judgements where the form says so."""
    _check_owner(visit)
    annotator = _annotator(visit)
    judgements = visit.form.get("judgements")
    if judgements not in {"keep", "remove"}:
        raise Problem(400, "This form is not valid", "Say whether the judgements are kept.")
    visit.store.delete_annotator(annotator.id, keep_judgements=judgements == "keep")
    return go_to("/owner#annotators")


def leave(visit: Visit) -> Response:
    """Forget the owner in this browser."""
    response = go_to("/")
    visit.site.cookies.clear(response, "owner")
    return response


def _check_owner(visit: Visit) -> None:
    """Raise Problem unless the owner's cookie is valid and the limit of requests is kept."""
    if not visit.cookie or not visit.store.is_owner(visit.cookie):
        raise _not_owner()
    if visit.request.method == "POST":
        check_rate(visit.site.limits.owner.wait("owner"))


def _not_owner() -> Problem:
    return Problem(
        401,
        "This page is the owner's",
        "Open the owner's link, which `ethosteer collect` prints when it starts.",
    )


def _annotator(visit: Visit) -> Annotator:
    """Return the annotator that the address names; Problem where there is none."""
    identifier = _number(visit.request.path_params["annotator"])
    for annotator in visit.store.annotators():
        if annotator.id == identifier:
            return annotator
    raise Problem(404, "There is no such annotator", "Perhaps they were deleted.", again="/owner")


def _number(text: str) -> int:
    """Return an id or a count; Problem where a text is none."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise Problem(400, "This form is not valid", "It has a number that cannot be.")
    return int(text)
