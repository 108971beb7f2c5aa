"""One reviewer's work in numbers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias
from uuid import UUID

from rfr_stream.conduct.facts import DecisionFacts
from rfr_stream.conduct.shares import Proportion, Spread, proportion, spread

BREAK: Final = timedelta(minutes=20)
"""Whoever does nothing here for so long has left off."""

ByCase: TypeAlias = Mapping[UUID, Sequence[DecisionFacts]]


@dataclass(frozen=True, slots=True)
class OnSeeds:
    """How a reviewer fares where the answer is known.

    A conclusion that is wrong is an error; "cannot tell" is none, and is counted by itself.
    """

    false_positives: Proportion
    """Of lists without the person: somebody was named."""
    false_negatives: Proportion
    """Of lists with the person: it was said to be none of them, or somebody else."""
    mistaken: Proportion
    """Of lists with the person: somebody else was named."""
    undecided: Proportion
    """Of all."""


@dataclass(frozen=True, slots=True)
class ReviewerFacts:
    """One reviewer's work in a period: first versions, as they were before anybody saw a score."""

    reviewer_id: str
    decisions: int
    hours: float
    """At work: from the first analysis to the last decision of each stretch without a break."""
    compared_s: Spread | None
    """Of a decision, from the candidates' being served to its being drafted."""
    dwell_s: Spread | None
    """Of a candidate that was looked at."""
    viewed: Proportion
    """Candidates looked at, of those listed."""
    zoomed: Proportion
    """Decisions for which the reviewer went closer."""
    agreed: Proportion
    """With each other reviewer of the same cases."""
    named_first: Proportion
    """The machine's first, of decisions that name somebody."""
    none: Proportion
    """None of these, of all decisions."""
    overrides: Proportion
    """Concluded otherwise than the machine's order suggests, of decisions that conclude anything."""
    revised: int
    """Later versions."""
    on_seeds: OnSeeds

    @property
    def per_hour(self) -> float | None:
        """Decisions in an hour at work."""
        return self.decisions / self.hours if self.hours else None


def reviewer_facts(reviewer_id: str, said: Sequence[DecisionFacts], by_case: ByCase) -> ReviewerFacts:
    """Return one reviewer's numbers.

    Args:
        reviewer_id: who.

        said: by them, every version, in the order of its time.

        by_case: what everybody said of these cases.

    """
    first = [each for each in said if each.version == 1]
    return ReviewerFacts(
        reviewer_id=reviewer_id,
        decisions=len(first),
        hours=sum((end - start).total_seconds() for start, end in stretches(first)) / 3600,
        compared_s=spread(each.compared_s for each in first),
        dwell_s=spread(dwell_ms / 1000 for each in first for dwell_ms in each.dwell_ms if dwell_ms),
        viewed=Proportion(sum(each.viewed_n for each in first), sum(len(each.about.listed) for each in first)),
        zoomed=proportion(each.zoomed for each in first),
        agreed=proportion(_agreements(first, by_case)),
        named_first=proportion(each.names_first for each in first if each.names_somebody),
        none=proportion(each.names_nobody for each in first),
        overrides=proportion(not each.names_first for each in first if not each.is_undecided),
        revised=len(said) - len(first),
        on_seeds=on_seeds(first),
    )


def _agreements(first: Iterable[DecisionFacts], by_case: ByCase) -> Iterator[bool]:
    for mine in first:
        for theirs in by_case[mine.about.submission_id]:
            if theirs.version == 1 and theirs.reviewer_id != mine.reviewer_id:
                yield mine.reading == theirs.reading


def stretches(said: Sequence[DecisionFacts]) -> list[tuple[datetime, datetime]]:
    """Return the stretches of work without a break, from decisions in the order of their time."""
    found: list[tuple[datetime, datetime]] = []
    for each in said:
        if found and each.began_at <= found[-1][1] + BREAK:
            start, _ = found.pop()
            found.append((min(start, each.began_at), each.decided_at))
        else:
            found.append((each.began_at, each.decided_at))
    return found


def on_seeds(said: Iterable[DecisionFacts]) -> OnSeeds:
    """Hold what one reviewer said against what is known."""
    known = [each for each in said if each.about.is_seed]
    mated = [each for each in known if each.about.truth]
    mistaken = [each.names_somebody and each.person_id != each.about.truth for each in mated]
    return OnSeeds(
        false_positives=proportion(each.names_somebody for each in known if not each.about.truth),
        false_negatives=proportion(wrong or each.names_nobody for each, wrong in zip(mated, mistaken, strict=True)),
        mistaken=proportion(mistaken),
        undecided=proportion(each.is_undecided for each in known),
    )
