"""Words for codes, moments and lengths, as people read them."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from rfr_stream.events import Outcome
from rfr_stream.faces import Box, Point
from rfr_stream.ports import Case, CaseState

STANDING: Final = {
    CaseState.AWAITING_CANDIDATES: "Open: no list yet",
    CaseState.AWAITING_SUBJECT: "Open: nobody has said which face is meant",
    CaseState.AWAITING_REVIEW: "Open: nobody has decided",
    CaseState.AWAITING_SECOND_REVIEW: "Open: one person has decided",
    CaseState.AWAITING_THIRD_REVIEW: "Open: two have decided, and disagree",
    CaseState.CONFIRMED: "A lead was given out",
    CaseState.NOT_CONFIRMED: "No lead: the reviewers support none",
    CaseState.INCONCLUSIVE: "No lead: the reviewers could not tell, or did not agree",
    CaseState.EXPIRED: "No lead: nobody decided in time",
    CaseState.WITHDRAWN: "A lead was given out, and withdrawn",
    CaseState.CLOSED: "Closed",
    CaseState.ASSESSED: "Known answer",
}
_CLOSED: Final = {
    Outcome.NO_CANDIDATES: "Blank: nobody reached the threshold",
    Outcome.NO_FACE: "Ended before a search: no face",
    Outcome.UNSUITABLE_QUALITY: "Ended before a search: unsuitable quality",
    Outcome.UNREADABLE: "Ended before a search: unreadable",
    Outcome.REFUSED: "Ended before a search: refused",
}


def standing(case: Case) -> str:
    """Say how a case stands."""
    ended_early = _CLOSED.get(case.outcome) if case.outcome and case.state is CaseState.CLOSED else None
    return ended_early or STANDING[case.state]


def plain(code: str) -> str:
    """Return a code as words."""
    return code.replace("_", " ").capitalize()


def listed(codes: Iterable[str]) -> str:
    """Return codes as words, in a row."""
    return ", ".join(code.replace("_", " ") for code in codes) or "none"


def moment(at: datetime) -> str:
    """Return a moment in UTC, to the second."""
    return f"{at.astimezone(UTC):%d %B %Y, %H:%M:%S} UTC"


def stamp(at: datetime) -> str:
    """Return a moment in UTC, short."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def place(subject: Box | Point) -> str:
    """Say where in the image."""
    if isinstance(subject, Point):
        return f"at ({subject.x:g}, {subject.y:g}) px"
    return f"from ({subject.x1:g}, {subject.y1:g}) to ({subject.x2:g}, {subject.y2:g}) px"
