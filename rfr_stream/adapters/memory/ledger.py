"""`Ledger` in memory: for tests, and for whoever tests against this house. Nothing survives the process."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

from rfr_stream.adapters import _sowing as sowing
from rfr_stream.adapters._fold import fold
from rfr_stream.adapters._grouping import grouped
from rfr_stream.adapters._serving import asked_anew, in_order, is_newer
from rfr_stream.adapters._standing import AGAIN, LAPSED, History, Round, ended, original_of, weigh
from rfr_stream.errors import NotPermitted, Rejected
from rfr_stream.events import (
    CaseDisposed,
    Event,
    FaceEmbedded,
    GalleryName,
    IdentificationConfirmed,
    IdentificationWithdrawn,
    LeadAcknowledged,
    ModelIdentity,
    Source,
    derive_id,
)
from rfr_stream.policy import seeds_due
from rfr_stream.ports import (
    Case,
    CaseState,
    Change,
    Conflict,
    Contribution,
    Ending,
    Extent,
    Meeting,
    Outgoing,
    Reference,
    Reviewer,
    Seed,
    Served,
    StandingProbe,
)


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


@dataclass
class _Met:
    """A meeting, when to look at it, and what came of it."""

    meeting: Meeting
    due_at: datetime
    renewal: UUID | None = None


class MemoryLedger:
    """The database of record, without a database."""

    def __init__(self) -> None:
        """Start empty."""
        self._references: dict[UUID, Reference] = {}
        self._erased: set[UUID] = set()
        self._entrusted: set[tuple[str, Source]] = set()
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
        self._stood: dict[UUID, StandingProbe] = {}
        self._met: dict[tuple[UUID, UUID], _Met] = {}
        self._served: tuple[Served, ...] = ()
        self._rewritten = 0

    # References
    async def hold(self, references: Sequence[Reference]) -> None:
        for reference in references:
            known = self._references.get(reference.reference_id, reference)
            if reference.reference_id not in self._erased and reference.recorded_at >= known.recorded_at:
                self._rewritten += reference.reference_id in self._references
                subject = reference.subject or known.subject
                self._references[reference.reference_id] = replace(reference, subject=subject)

    async def held(self, ids: Sequence[UUID]) -> dict[UUID, Reference]:
        return {id_: self._with_cases(self._references[id_]) for id_ in ids if id_ in self._references}

    async def page(
        self, *, person: str | None = None, after: UUID | None = None, limit: int = 1_000
    ) -> list[Reference]:
        of_them = (id_ for id_, held in self._references.items() if person in {None, held.person_id})
        ids = sorted(id_ for id_ in of_them if after is None or id_ > after)[:limit]
        return list((await self.held(ids)).values())

    async def doors(self, images: Sequence[str]) -> dict[str, set[Source]]:
        found = defaultdict[str, set[Source]](set)
        for reference in self._references.values():
            if reference.image.sha256 in images and reference.door:
                found[reference.image.sha256].add(reference.door)
        held = self._references.values()
        in_custody = {each.image.sha256 for each in held if each.gallery is GalleryName.CUSTODY}
        for image, door in self._entrusted:
            if image in images and image not in in_custody:
                found[image].add(door)
        return found

    async def entrust(self, images: Mapping[str, Source]) -> None:
        self._entrusted |= set(images.items())

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
            pair = (conflict.reference_id, conflict.other_id)
            if self._erased.isdisjoint(pair):
                self._conflicts.setdefault(pair, conflict)
        return list(self._conflicts.values())[known:]

    async def conflicts(self, *, limit: int = 100) -> list[Conflict]:
        return sorted(self._conflicts.values(), key=lambda each: (-each.similarity, each.reference_id))[:limit]

    async def erase(self, ids: Sequence[UUID]) -> None:
        self._erased.update(ids)
        self._conflicts = {pair: each for pair, each in self._conflicts.items() if not set(ids) & set(pair)}
        for id_ in ids:
            self._references.pop(id_, None)
        self._forget(lambda met: met.meeting.reference_id in ids)

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
        for id_ in {original_of(case) for case in folded.cases.values()} & self._stood.keys():
            self._stood[id_] = replace(self._stood[id_], resolved=self._is_resolved(id_))
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

    # Who is still sought
    async def stand(self, probes: Sequence[FaceEmbedded], until: datetime) -> None:
        for probe in probes:
            known = self._stood.setdefault(probe.submission.submission_id, StandingProbe(probe, until))
            if not known.ending and is_newer(probe, known.probe):
                self._stood[probe.submission.submission_id] = replace(known, probe=probe)

    async def standing(self, embedder: ModelIdentity, now: datetime) -> set[UUID]:
        return {id_ for id_, each in self._standing(now).items() if each.probe.template.embedder == embedder}

    async def probes(self, ids: Collection[UUID]) -> dict[UUID, FaceEmbedded]:
        return {id_: self._stood[id_].probe for id_ in ids if id_ in self._stood}

    async def meet(self, meetings: Sequence[Meeting], due_at: datetime) -> None:
        for each in (each for each in meetings if each.reference_id not in self._erased):
            self._met.setdefault((each.submission_id, each.reference_id), _Met(each, due_at))

    async def renew(self, *, people_n: int, now: datetime) -> int:
        waiting = [met for met in self._met.values() if met.renewal is None]
        due = {met.meeting.submission_id for met in waiting if met.due_at <= now} & self._standing(now).keys()
        return sum([await self._renew(id_, people_n, now) for id_ in sorted(due)])

    async def stood(self) -> list[StandingProbe]:
        return sorted(self._stood.values(), key=lambda each: (each.until, each.probe.submission.submission_id))

    async def keep(self, submission_id: UUID, until: datetime, now: datetime) -> None:
        if submission_id not in self._standing(now):
            msg = "submission_id: no probe of this submission stands"
            raise NotPermitted(msg)
        self._stood[submission_id] = replace(self._stood[submission_id], until=until)

    async def end(self, submission_id: UUID, ending: Ending) -> None:
        stood = self._stood.get(submission_id)
        if stood is None or stood.ending:
            msg = "submission_id: no search of this submission that could be ended"
            raise NotPermitted(msg)
        self._stood[submission_id] = replace(stood, ending=ending)
        self._forget(lambda met: met.meeting.submission_id == submission_id)
        outgoing = Outgoing(ended(stood.probe, ending))
        self._promised.setdefault(outgoing.event.event_id, outgoing)

    async def lapse(self, now: datetime) -> int:
        lapsed = [id_ for id_, each in self._stood.items() if each.until <= now and not each.ending]
        for id_ in lapsed:
            await self.end(id_, Ending(now, LAPSED, "nobody kept the search"))
        return len(lapsed)

    def _standing(self, now: datetime) -> dict[UUID, StandingProbe]:
        stood = self._stood.items()
        return {id_: each for id_, each in stood if not each.ending and not each.resolved and each.until > now}

    async def _renew(self, id_: UUID, people_n: int, now: datetime) -> bool:
        mine = [met for met in self._met.values() if met.meeting.submission_id == id_]
        waiting = [met.meeting for met in mine if met.renewal is None]
        history = History(self._cases.get(id_), [self._cases.get(each) for each in self._renewals_of(id_)])
        held = await self.held([each.reference_id for each in waiting])
        come = weigh(self._stood[id_].probe, waiting, history, held, people_n=people_n, now=now)
        self._note(mine, come, now)
        if come.renewal:
            self._promised.setdefault(come.renewal.event_id, Outgoing(come.renewal))
        return come.renewal is not None

    def _note(self, mine: Sequence[_Met], come: Round, now: datetime) -> None:
        for met in mine:
            if met.renewal is None and met.meeting.reference_id in come.taken and come.renewal:
                met.renewal = come.renewal.submission.submission_id
            met.due_at = now + AGAIN
        self._forget(lambda met: met in mine and met.meeting.reference_id in come.dropped)

    def _forget(self, gone: Callable[[_Met], bool]) -> None:
        self._met = {key: met for key, met in self._met.items() if met.renewal or not gone(met)}

    def _renewals_of(self, id_: UUID) -> set[UUID]:
        return {met.renewal for met in self._met.values() if met.renewal and met.meeting.submission_id == id_}

    def _is_resolved(self, id_: UUID) -> bool:
        found = [self._cases[each] for each in (id_, *self._renewals_of(id_)) if each in self._cases]
        return any(case.seeded or case.state is CaseState.CONFIRMED for case in found)

    # Which model serves
    async def served(self) -> tuple[Served, ...]:
        return self._served

    async def extent(self) -> Extent:
        return Extent(len(self._references), len(self._erased), self._rewritten)

    async def serve(self, coming: Served, leaving: Served, *, seen: Extent) -> bool:
        if await self.extent() != seen:
            return False
        self._served = in_order(coming, leaving, self._served)
        stood = [each for each in self._stood.values() if not each.ending and each.until > coming.since]
        for each in stood:
            if each.probe.template.embedder != coming.embedder:
                again = asked_anew(each.probe, coming.since)
                self._promised.setdefault(again.event_id, Outgoing(again))
                self._published[again.event_id] = coming.since
                self._reminders.add(again.event_id)
        return True

    async def retire(self) -> None:
        self._served = self._served[:1]

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
        await self.entrust({each.image.sha256: Source.PUBLIC_APPEAL for each in contributions})
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
