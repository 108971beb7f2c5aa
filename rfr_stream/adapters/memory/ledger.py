"""`Ledger` in memory: for tests, and for whoever tests against this house. Nothing survives the process."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from rfr_stream.adapters._fold import fold
from rfr_stream.errors import NotPermitted, Rejected
from rfr_stream.ports import Case, CaseState, Change, Outgoing, Reference, Reviewer


class MemoryLedger:
    """The database of record, without a database."""

    def __init__(self) -> None:
        """Start empty."""
        self._references: dict[UUID, Reference] = {}
        self._erased: set[UUID] = set()
        self._reviewers: dict[str, Reviewer] = {}
        self._cases: dict[UUID, Case] = {}
        self._inbox: set[UUID] = set()
        self._promised: dict[UUID, Outgoing] = {}
        self._published: set[UUID] = set()

    # References
    async def hold(self, references: Sequence[Reference]) -> None:
        for reference in references:
            known = self._references.get(reference.reference_id, reference)
            if reference.reference_id not in self._erased and reference.recorded_at >= known.recorded_at:
                self._references[reference.reference_id] = reference

    async def held(self, ids: Sequence[UUID]) -> dict[UUID, Reference]:
        return {id_: self._references[id_] for id_ in ids if id_ in self._references}

    async def erased(self, ids: Sequence[UUID]) -> set[UUID]:
        return self._erased.intersection(ids)

    async def erase(self, ids: Sequence[UUID]) -> None:
        self._erased.update(ids)
        for id_ in ids:
            self._references.pop(id_, None)

    # Reviewers
    async def register(self, reviewer: Reviewer) -> None:
        others = [
            known
            for known in self._reviewers.values()
            if (known.reviewer_id == reviewer.reviewer_id) != (known.public_key == reviewer.public_key)
        ]
        if others:
            msg = "public_key: one reviewer, one key, for good; a new key needs a new reviewer_id"
            raise NotPermitted(msg)
        self._reviewers[reviewer.reviewer_id] = reviewer

    async def reviewer(self, reviewer_id: str) -> Reviewer | None:
        return self._reviewers.get(reviewer_id)

    # Cases
    async def apply(self, changes: Sequence[Change]) -> list[Case | Rejected]:
        folded = fold(changes, self._cases, self._inbox)
        self._cases |= folded.cases
        self._inbox.update(folded.applied)
        for _, outgoing in folded.outgoing:
            self._promised.setdefault(outgoing.event.event_id, outgoing)
        return folded.results

    async def case(self, submission_id: UUID) -> Case | None:
        return self._cases.get(submission_id)

    async def cases(
        self, states: Sequence[CaseState], *, limit: int = 100, opened_before: datetime | None = None
    ) -> list[Case]:
        found = [
            case
            for case in self._cases.values()
            if case.state in states and (opened_before is None or case.opened_at < opened_before)
        ]
        return sorted(found, key=lambda case: (case.opened_at, str(case.submission_id)))[:limit]

    # Outbox
    async def unpublished(self, limit: int) -> list[Outgoing]:
        waiting = [outgoing for id_, outgoing in self._promised.items() if id_ not in self._published]
        return waiting[:limit]

    async def published(self, event_ids: Sequence[UUID]) -> None:
        self._published.update(event_ids)
