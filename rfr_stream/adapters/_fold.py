"""What every ledger makes of a batch of changes, before it stores anything: pure."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from uuid import UUID

from rfr_stream.errors import Rejected, settle
from rfr_stream.ports import Case, Change, Outgoing, Step


@dataclass(frozen=True, slots=True)
class Folded:
    """What a batch of changes comes to; a ledger writes all of it in one transaction."""

    results: list[Case | Rejected]
    cases: dict[UUID, Case]
    """The cases that changed, as they are now."""
    applied: dict[UUID, UUID]
    """New for the inbox: event id to submission id."""
    outgoing: list[tuple[UUID, Outgoing]]
    """New for the outbox, each with the submission it is about."""


def fold(changes: Iterable[Change], cases: Mapping[UUID, Case], applied: AbstractSet[UUID]) -> Folded:
    """Apply changes in order to these cases, skipping the event ids that were applied before.

    A `Rejected` transition leaves its case and the inbox as they were.
    """
    folded = Folded([], {}, {}, [])
    for change in changes:
        case = folded.cases.get(change.submission_id) or cases.get(change.submission_id)
        if case and (change.event_id in applied or change.event_id in folded.applied):
            folded.results.append(case)
        else:
            folded.results.append(_apply(change, case, folded))
    return folded


def _apply(change: Change, case: Case | None, folded: Folded) -> Case | Rejected:
    step = settle(change.transition, case)
    if isinstance(step, Rejected):
        return step
    if step.case is not case:
        folded.cases[change.submission_id] = step.case
    folded.applied[change.event_id] = change.submission_id
    folded.outgoing.extend((change.submission_id, outgoing) for outgoing in _promised(step))
    return step.case


def _promised(step: Step) -> Sequence[Outgoing]:
    return [*map(Outgoing, step.emit), *(Outgoing(decision, why) for decision, why in step.refused)]
