"""`Ledger` in memory: for tests, and for whoever tests against this house. Nothing survives the process."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

from rfr_stream.adapters import _sowing as sowing
from rfr_stream.adapters._fold import fold
from rfr_stream.adapters._grouping import grouped
from rfr_stream.errors import NotPermitted, Rejected
from rfr_stream.events import (
    CaseDisposed,
    Event,
    IdentificationConfirmed,
    IdentificationWithdrawn,
    LeadAcknowledged,
    Source,
    derive_id,
)
from rfr_stream.policy import seeds_due
from rfr_stream.ports import Case, CaseState, Change, Conflict, Contribution, Outgoing, Reference, Reviewer, Seed


@dataclass
class MemoryTurn:
    """The turn to carry what is owed, within one process."""

    taken: bool = False

    async def __aenter__(self) -> Self:
        """Have it."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Leave it."""
        self.taken = False

    async def holds(self) -> bool:
        return self.taken


class MemoryLedger:
    """The database of record, without a database."""

    def __init__(self) -> None:
        """Start empty."""
        self._references: dict[UUID, Reference] = {}
        self._erased: set[UUID] = set()
        self._disposed: dict[UUID, CaseDisposed] = {}
        self._conflicts: dict[tuple[UUID, UUID], Conflict] = {}
        self._reviewers: dict[str, Reviewer] = {}
        self._cases: dict[UUID, Case] = {}
        self._inbox: set[UUID] = set()
        self._promised: dict[UUID, Outgoing] = {}
        self._published: dict[UUID, datetime] = {}
        self._seeds: dict[UUID, Seed] = {}
        self._sown: set[UUID] = set()
        self._reminders: set[UUID] = set()
        self._turn = MemoryTurn()
        self._subscribers: dict[str, datetime] = {}
        self._acknowledged: dict[tuple[UUID, str], LeadAcknowledged] = {}
        self._contributions: dict[UUID, Contribution] = {}
        self._groups: dict[UUID, UUID] = {}

    # References
    async def hold(self, references: Sequence[Reference]) -> None:
        for reference in references:
            known = self._references.get(reference.reference_id, reference)
            if reference.reference_id not in self._erased and reference.recorded_at >= known.recorded_at:
                self._references[reference.reference_id] = reference

    async def held(self, ids: Sequence[UUID]) -> dict[UUID, Reference]:
        return {id_: self._with_cases(self._references[id_]) for id_ in ids if id_ in self._references}

    async def page(self, *, after: UUID | None = None, limit: int = 1_000) -> list[Reference]:
        ids = sorted(id_ for id_ in self._references if after is None or id_ > after)[:limit]
        return list((await self.held(ids)).values())

    async def doors(self, images: Sequence[str]) -> dict[str, set[Source]]:
        found = defaultdict[str, set[Source]](set)
        for reference in self._references.values():
            if reference.image.sha256 in images and reference.door:
                found[reference.image.sha256].add(reference.door)
        return found

    def _with_cases(self, reference: Reference) -> Reference:
        said = [each for _, each in sorted(self._disposed.items()) if each.person_id == reference.person_id]
        return replace(reference, disposed=tuple(said))

    async def erased(self, ids: Sequence[UUID]) -> set[UUID]:
        return self._erased.intersection(ids)

    async def dispose(self, said: Sequence[CaseDisposed]) -> None:
        for each in said:
            if each.occurred_at >= self._disposed.get(each.case_id, each).occurred_at:
                self._disposed[each.case_id] = each

    async def report(self, conflicts: Sequence[Conflict]) -> list[Conflict]:
        known = len(self._conflicts)
        for conflict in conflicts:
            self._conflicts.setdefault((conflict.reference_id, conflict.other_id), conflict)
        return list(self._conflicts.values())[known:]

    async def conflicts(self, *, limit: int = 100) -> list[Conflict]:
        return sorted(self._conflicts.values(), key=lambda each: (-each.similarity, each.reference_id))[:limit]

    async def erase(self, ids: Sequence[UUID]) -> None:
        self._erased.update(ids)
        self._conflicts = {pair: each for pair, each in self._conflicts.items() if not set(ids) & set(pair)}
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
        if reviewer.recorded_at >= self._reviewers.get(reviewer.reviewer_id, reviewer).recorded_at:
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
    async def take_turn(self) -> MemoryTurn | None:
        if self._turn.taken:
            return None
        self._turn = MemoryTurn(taken=True)
        return self._turn

    async def unpublished(self, limit: int) -> list[Outgoing]:
        return [
            replace(outgoing, again=id_ in self._reminders)
            for id_, outgoing in self._promised.items()
            if id_ not in self._published or id_ in self._reminders
        ][:limit]

    async def published(self, event_ids: Sequence[UUID]) -> None:
        self._published |= dict.fromkeys(self._promised.keys() & set(event_ids), datetime.now(UTC))
        self._reminders.difference_update(event_ids)

    # Known answers
    async def plant(self, planted: Sequence[Seed]) -> None:
        for seed in planted:
            held = {ref.gallery for ref in self._references.values() if ref.person_id == seed.person_id}
            sowing.require_sowable(seed, held, in_earnest=seed.submission_id in self._cases.keys() - self._sown)
        for seed in planted:
            self._seeds.setdefault(seed.submission_id, seed)

    async def seeded(self, ids: Sequence[UUID]) -> set[UUID]:
        return self._sown.intersection(ids)

    async def sow(self, share: float, now: datetime) -> int:
        came = {id_ for id_, case in self._cases.items() if case.state in sowing.CAME}
        lost = {id_ for id_ in self._sown if id_ in self._cases and self._cases[id_].state is CaseState.CLOSED}
        waiting = self._seeds.keys() - self._sown - self._cases.keys()
        due = seeds_due(waiting, sown_n=len(self._sown - lost), real_n=len(came - self._sown), share=share)
        for id_ in due:
            outgoing = Outgoing(sowing.submitted(self._seeds[id_], now))
            self._promised.setdefault(outgoing.event.event_id, outgoing)
        self._sown.update(due)
        return len(due)

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

    # What the public sent in
    async def contribute(self, contributions: Sequence[Contribution]) -> None:
        for each in contributions:
            if each.contribution_id not in self._contributions:
                founders = [
                    first
                    for id_, first in self._contributions.items()
                    if self._groups.get(id_) == id_ and (first.appeal_ref, first.demo) == (each.appeal_ref, each.demo)
                ]
                self._groups |= grouped([*founders, each], {}).groups
                self._contributions[each.contribution_id] = each

    async def grouped(self, ids: Sequence[UUID]) -> dict[UUID, UUID | None]:
        return {id_: self._groups.get(id_) for id_ in ids if id_ in self._contributions}

    def _is_lacking(self, event: Event) -> bool:
        """Whether this is a withdrawal that somebody who was told of the lead has not acknowledged."""
        if not isinstance(event, IdentificationWithdrawn):
            return False
        lead = derive_id(IdentificationConfirmed.ce_type, event.submission_id)
        told = {subscriber for id_, subscriber in self._acknowledged if id_ == lead}
        if published_at := self._published.get(lead):
            told |= {subscriber for subscriber, since in self._subscribers.items() if since <= published_at}
        return any((event.event_id, subscriber) not in self._acknowledged for subscriber in told)
