"""Facts about people at work, valid by default; a test names only what it is about."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid5

import builders

from rfr_stream.conduct import CaseFacts, DecisionFacts
from rfr_stream.events import Support
from rfr_stream.ports import CaseState

MINUTE: Final = timedelta(minutes=1)
PEOPLE: Final = ("person-1", "person-2", "person-3")
NAMESPACE: Final = builders.submission().submission_id


def case(name: str = "case", **fields: Any) -> CaseFacts:  # noqa: ANN401 - any field
    """Return a real case with three candidates that nobody has looked at yet; another name is another case."""
    known: dict[str, Any] = {
        "state": CaseState.AWAITING_REVIEW,
        "opened_at": builders.NOW,
        "listed": PEOPLE,
        "urgency": 4,
        **fields,
    }
    return CaseFacts(uuid5(NAMESPACE, name), **known)


def seed(name: str = "seed", answer: str | None = "person-1", **fields: Any) -> CaseFacts:  # noqa: ANN401
    """Return a known answer that people have assessed."""
    return case(name, is_seed=True, answer=answer, **{"state": CaseState.ASSESSED, **fields})


def said(
    about: CaseFacts | None = None,
    support: Support = Support.STRONG_SAME,
    *,
    by: str = "reviewer-a",
    at: datetime = builders.NOW,
    **fields: Any,  # noqa: ANN401
) -> DecisionFacts:
    """Return a careful decision, by default for the first on the list."""
    about = about or case()
    facts = DecisionFacts(
        about=about,
        reviewer_id=by,
        support=support,
        person_id=None,
        decided_at=at,
        began_at=at - 3 * MINUTE,
        compared_s=120.0,
        viewed_n=len(about.listed),
        zoomed=True,
        dwell_ms=(40_000, 30_000, 0),
    )
    facts = replace(facts, **fields)
    return replace(facts, person_id=facts.person_id or about.listed[0]) if facts.names_somebody else facts


def in_a_row(n: int, *, every: timedelta = 4 * MINUTE, **fields: Any) -> list[DecisionFacts]:  # noqa: ANN401
    """Return so many decisions about different cases, one after another."""
    return [said(case(f"case-{i}"), at=builders.NOW + i * every, **fields) for i in range(n)]
