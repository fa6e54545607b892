"""How an invitation link becomes a session."""

from __future__ import annotations

from starlette.responses import Response

from ethosteer.collect.records import Invitation
from ethosteer.collect.web.annotator import LONGEST_NAME
from ethosteer.collect.web.sessions import form_token, is_token, new_token
from ethosteer.collect.web.visit import Problem, Visit, check_rate, go_to


def welcome(visit: Visit) -> Response:
    """Ask for a name. The cookie of a visitor makes the form known when it comes back."""
    session = visit.site.cookies.read(visit.request, "session")
    if session and visit.store.session(session):
        return go_to("/judge")
    token = visit.request.path_params["invitation"]
    return _form(visit, token, _invitation(visit, token))


def join(visit: Visit) -> Response:
    """Exchange the invitation for a session, whose token only a cookie carries.

    Used again, in another browser or by a double click, it leads to the same annotator.
    """
    token = visit.form.get("invitation", "")
    invitation = _invitation(visit, token)
    check_rate(visit.site.limits.joins.wait(str(invitation.id)))
    name = visit.line("name", LONGEST_NAME)
    if not name and invitation.annotator is None:
        return _form(visit, token, invitation, "Please enter a name.")
    accepted = visit.store.accept(token, name)
    if accepted is None:
        raise _unknown(visit)
    _, session = accepted
    response = go_to("/guidelines")
    visit.site.cookies.write(response, "session", session)
    visit.site.cookies.clear(response, "visitor")
    return response


def _form(visit: Visit, token: str, invitation: Invitation, problem: str = "") -> Response:
    cookie = visit.cookie or new_token()
    response = visit.page(
        "join",
        400 if problem else 200,
        token=form_token(cookie),
        invitation=token,
        is_known=invitation.annotator is not None,
        problem=problem,
        longest_name=LONGEST_NAME,
    )
    visit.site.cookies.write(response, "visitor", cookie)
    return response


def _invitation(visit: Visit, token: str) -> Invitation:
    """Return a token's invitation; Problem where it is unknown or revoked."""
    invitation = visit.store.invitation(token) if is_token(token) else None
    if invitation is None:
        raise _unknown(visit)
    return invitation


def _unknown(visit: Visit) -> Problem:
    """Return the refusal of a link, after its sender's failures are counted."""
    client = visit.request.client
    check_rate(visit.site.limits.failed_links.wait(client.host if client else ""))
    return Problem(
        404,
        "This invitation is not valid",
        "It was withdrawn, or not copied whole. Ask for a new one.",
    )
