"""The annotator's pages: from the invitation to the last pair.

A pair's two answers are called A and B, in the order in which they are shown. Forms carry a choice
from A's point of view; which of the stored pair's answers is A, the server alone knows.
"""

from __future__ import annotations

import math
import time
from typing import NamedTuple

from starlette.responses import Response

from ethosteer.collect.records import Assignment, Pair, Preference
from ethosteer.collect.web.sessions import is_token
from ethosteer.collect.web.visit import Problem, Visit, check_rate, go_to

LONGEST_NAME = 40
LONGEST_REASON = 1000
DOUBLE_CLICK = 0.3
"""Seconds after a page was served within which a choice is a click on the page before it."""


class Choice(NamedTuple):
    """One step of the scale: its value for A, and its name, whole and for narrow screens."""

    value: Preference
    text: str
    short: str


SCALE = (
    Choice(2, "A is clearly better", "A\nclearly"),
    Choice(1, "A is slightly better", "A\nslightly"),
    Choice(0, "Equally good or bad", "Equal"),
    Choice(-1, "B is slightly better", "B\nslightly"),
    Choice(-2, "B is clearly better", "B\nclearly"),
)
_CHOICES: dict[str, Preference] = {str(choice.value): choice.value for choice in SCALE}
_NAMES = {choice.value: choice.text for choice in SCALE}

NOTICES = {
    "already": "You had judged that pair already, perhaps in another tab. The first judgement "
    "counts; undo it to change it.",
    "fast": "That came so quickly that it was taken for a double click. Nothing was stored: "
    "please judge this pair.",
    "undone": "Your last judgement is undone. Please judge the pair again.",
    "nothing": "There is nothing to undo.",
}


def start(visit: Visit) -> Response:
    """Lead somebody who is known to the next pair; others learn that they need a link."""
    if visit.cookie and visit.store.session(visit.cookie):
        return go_to("/judge")
    raise Problem(
        200,
        "You need an invitation",
        "Open the invitation link that you were given. The owner of this collection makes them.",
    )


def guidelines(visit: Visit) -> Response:
    """Show what annotators are asked to attend to."""
    progress = visit.store.progress(visit.annotator.id)
    return visit.page("guidelines", guidelines=visit.store.settings.guidelines, progress=progress)


def show_pair(visit: Visit) -> Response:
    """Show the open pair or a new one, after its content warning where it carries one."""
    annotator = visit.annotator
    assignment = visit.store.assign(annotator.id)
    progress = visit.store.progress(annotator.id)
    if assignment is None:
        return visit.page("done", progress=progress)
    query = visit.request.query_params
    if assignment.pair.warning and query.get("show") != assignment.id:
        return visit.page("warning", assignment=assignment, progress=progress)
    left, right = _in_order(assignment.pair, assignment.first_is_left)
    return visit.page(
        "pair",
        assignment=assignment,
        left=left,
        right=right,
        scale=SCALE,
        progress=progress,
        practice_left=progress.practice_left if assignment.selection == "practice" else 0,
        notice=NOTICES.get(query.get("notice", ""), ""),
        shown=f"{time.time():.3f}",
        longest_reason=LONGEST_REASON,
    )


def judge(visit: Visit) -> Response:
    """Store a judgement, and lead to the next pair or to the feedback on practice.

    A form that is sent again stores nothing: the first judgement of an assignment counts.
    """
    annotator = visit.annotator
    check_rate(visit.site.limits.judgements.wait(str(annotator.id)))
    identifier = visit.identifier("assignment")
    choice = visit.form.get("choice", "")
    if choice != "flag" and choice not in _CHOICES:
        raise Problem(400, "This form is not valid", "It names no step of the scale.")
    assignment = visit.store.assignment(annotator.id, identifier)
    if assignment is None:
        raise Problem(
            404,
            "This pair is not yours to judge",
            "Nothing was stored.",
            again="/judge",
        )
    seconds = _seconds(visit)
    if seconds is not None and seconds < DOUBLE_CLICK:
        return go_to("/judge?notice=fast" + _reveal(assignment))
    preference = _preference(choice, assignment.first_is_left)
    stored = visit.store.judge(
        annotator.id,
        identifier,
        preference,
        flagged=preference is None or "flagged" in visit.form,
        reason=visit.text("reason", LONGEST_REASON),
        seconds=seconds or 0.0,
    )
    if stored == "unknown":
        raise Problem(404, "This pair is not yours to judge", "Nothing was stored.", again="/judge")
    if assignment.selection == "practice":
        side = "first" if assignment.first_is_left else "second"
        return go_to(f"/practice/{assignment.pair.key}?choice={choice}&a={side}")
    # the page's script sends again what was stored although the answer was lost
    is_new = stored == "stored" or "again" in visit.form
    return go_to("/judge" if is_new else "/judge?notice=already")


def feedback(visit: Visit) -> Response:
    """Compare a judgement of a practice pair with the expected one."""
    progress = visit.store.progress(visit.annotator.id)
    pair = visit.site.practice.get(visit.request.path_params["key"])
    query = visit.request.query_params
    choice, side = query.get("choice", ""), query.get("a")
    if pair is None or pair.expected is None or side not in {"first", "second"}:
        return go_to("/judge")
    first_is_left = side == "first"
    left, right = _in_order(pair, first_is_left)
    expected = pair.expected if first_is_left else -pair.expected
    given = _CHOICES.get(choice)
    return visit.page(
        "feedback",
        pair=pair,
        left=left,
        right=right,
        given="Flagged, not judged" if given is None else _NAMES[given],
        expected=_NAMES[expected],
        outcome=_outcome(given, expected),
        progress=progress,
    )


def undo(visit: Visit) -> Response:
    """Withdraw the last judgement and show its pair again."""
    annotator = visit.annotator
    check_rate(visit.site.limits.judgements.wait(str(annotator.id)))
    assignment = visit.store.undo(annotator.id)
    if assignment is None:
        return go_to("/judge?notice=nothing")
    return go_to("/judge?notice=undone" + _reveal(assignment))


def pause(visit: Visit) -> Response:
    """Show that all is stored."""
    return visit.page("pause", progress=visit.store.progress(visit.annotator.id))


def leave(visit: Visit) -> Response:
    """End the session in this browser."""
    visit.store.end_session(visit.cookie)
    response = go_to("/")
    visit.site.cookies.clear(response, "session")
    return response


def _in_order(pair: Pair, first_is_left: bool) -> tuple[str, str]:
    """Return the texts of the answers A and B. No page of an annotator's has their sources."""
    first, second = pair.first.text, pair.second.text
    return (first, second) if first_is_left else (second, first)


def _preference(choice: str, first_is_left: bool) -> Preference | None:
    """Return a choice as a preference for the pair's first answer, None for a mere flag."""
    value = _CHOICES.get(choice)
    return value if value is None or first_is_left else -value


def _outcome(given: Preference | None, expected: int) -> str:
    """Say how a practice judgement compares with the expected one."""
    if given is None:
        return "flagged"
    if given == expected:
        return "as expected"
    same_side = (given > 0) == (expected > 0) and (given < 0) == (expected < 0)
    return "almost as expected" if same_side else "differs from what is expected"


def _seconds(visit: Visit) -> float | None:
    """Return for how long a pair was visible, None where the form does not say.

    The page's script measures it; without it, it is the time since the page was served.
    """
    try:
        since = time.time() - float(visit.form["shown"]) if visit.form.get("shown") else None
        measured = float(visit.form["seconds"]) if visit.form.get("seconds") else since
    except ValueError:
        raise Problem(400, "This form is not valid", "Its time is no number.") from None
    if measured is None:
        return None
    if not math.isfinite(measured):
        raise Problem(400, "This form is not valid", "Its time is no number.")
    return max(measured, 0.0)


def _reveal(assignment: Assignment) -> str:
    """Return the query by which a pair that was seen is shown without its warning again."""
    return f"&show={assignment.id}" if is_token(assignment.id) else ""
