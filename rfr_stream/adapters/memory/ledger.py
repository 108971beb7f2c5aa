"""`Ledger` in memory: for tests, and for whoever tests against this house. Nothing survives the process."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from rfr_stream.adapters._fold import fold
from rfr_stream.errors import NotPermitted, Rejected
from rfr_stream.events import (
    Event,
    IdentificationConfirmed,
    IdentificationWithdrawn,
    LeadAcknowledged,
    derive_id,
)
from rfr_stream.ports import Case, CaseState, Change, Outgoing, Reference, Reviewer, Seed


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
        self._published: dict[UUID, datetime] = {}
        self._seeds: dict[UUID, Seed] = {}
        self._sown: set[UUID] = set()
        self._reminders: set[UUID] = set()
        self._subscribers: dict[str, datetime] = {}
        self._acknowledged: dict[tuple[UUID, str], LeadAcknowledged] = {}

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
            or (known.reviewer_id == reviewer.reviewer_id and known.duty is not reviewer.duty)
        ]
        if others:
            msg = "public_key: one person, one key, one duty, for good; a new key needs a new reviewer_id"
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
        return [
            replace(outgoing, again=id_ in self._reminders)
            for id_, outgoing in self._promised.items()
            if id_ not in self._published or id_ in self._reminders
        ][:limit]

    async def published(self, event_ids: Sequence[UUID]) -> None:
        self._published |= dict.fromkeys(event_ids, datetime.now(UTC))
        self._reminders.difference_update(event_ids)

    # Known answers
    async def plant(self, planted: Sequence[Seed]) -> None:
        for seed in planted:
            self._seeds.setdefault(seed.event.submission.submission_id, seed)

    async def seeded(self, ids: Sequence[UUID]) -> set[UUID]:
        return self._seeds.keys() & set(ids)

    async def sow(self, share: float) -> int:
        real = sum(1 for case in self._cases.values() if case.candidates and not case.seeded)
        due = max(0, int(real * share / (1 - share)) - len(self._sown))
        waiting = sorted(self._seeds.keys() - self._sown)[:due]
        for id_ in waiting:
            outgoing = Outgoing(self._seeds[id_].event)
            self._promised.setdefault(outgoing.event.event_id, outgoing)
        self._sown.update(waiting)
        return len(waiting)

    # Who was told
    async def subscribe(self, subscriber: str, since: datetime) -> None:
        self._subscribers[subscriber] = min(since, self._subscribers.get(subscriber, since))

    async def subscribed(self) -> dict[str, datetime]:
        return dict(sorted(self._subscribers.items()))

    async def acknowledge(self, received: Sequence[LeadAcknowledged]) -> None:
        for each in received:
            self._acknowledged.setdefault((each.acknowledged, each.subscriber), each)

    async def remind(self, before: datetime) -> int:
        overdue = {id_ for id_, at in self._published.items() if at < before} - self._reminders
        lacking = {id_ for id_ in overdue if id_ in self._promised and self._is_lacking(self._promised[id_].event)}
        self._reminders |= lacking
        return len(lacking)

    def _is_lacking(self, event: Event) -> bool:
        """Whether this is a withdrawal that somebody who was told of the lead has not acknowledged."""
        if not isinstance(event, IdentificationWithdrawn):
            return False
        lead = derive_id(IdentificationConfirmed.ce_type, event.submission_id)
        told = {subscriber for id_, subscriber in self._acknowledged if id_ == lead}
        if published_at := self._published.get(lead):
            told |= {subscriber for subscriber, since in self._subscribers.items() if since <= published_at}
        return any((event.event_id, subscriber) not in self._acknowledged for subscriber in told)
