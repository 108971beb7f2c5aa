"""Signs that somebody waves through what a machine proposes, or works too long to weigh it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Final

from rfr_stream.conduct.facts import DecisionFacts
from rfr_stream.conduct.reviewers import stretches
from rfr_stream.desk import AlertKind
from rfr_stream.policy import MIN_COMPARED_S


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on a supervisor is told; no finding of research, but a house's own judgement."""

    run: int = 20
    """Decisions in a row from which a habit shows."""
    compared_s: float = 2 * MIN_COMPARED_S
    """The median of a run."""
    per_hour: int = 30
    at_work: timedelta = timedelta(hours=2)
    """Without a break."""
    quiet: timedelta = timedelta(hours=8)
    """How long the same is not said again."""


LIMITS: Final = Limits()


def _too_fast(recent: Sequence[DecisionFacts], limits: Limits) -> str | None:
    times = [each.compared_s for each in recent if each.compared_s is not None]
    if recent[-1].compared_s is not None and recent[-1].compared_s < MIN_COMPARED_S:
        return f"compared for {recent[-1].compared_s:.1f} s"
    run = times[-limits.run :]
    if len(run) == limits.run and median(run) < limits.compared_s:
        return f"compared for {median(run):.1f} s (median of {limits.run})"
    return None


def _never_closer(recent: Sequence[DecisionFacts], limits: Limits) -> str | None:
    run = recent[-limits.run :]
    if len(run) == limits.run and not any(each.zoomed for each in run):
        return f"{limits.run} decisions without going closer once"
    return None


def _always_first(recent: Sequence[DecisionFacts], limits: Limits) -> str | None:
    """Whoever always agrees with the machine adds nothing to it; a list of one has no other."""
    run = [each for each in recent if len(each.about.listed) > 1][-limits.run :]
    if len(run) == limits.run and all(each.names_first for each in run):
        return f"named the machine's first {limits.run} times in a row"
    return None


def _too_many(recent: Sequence[DecisionFacts], limits: Limits) -> str | None:
    hour = [each for each in recent if each.decided_at > recent[-1].decided_at - timedelta(hours=1)]
    return f"{len(hour)} decisions in an hour" if len(hour) > limits.per_hour else None


def _too_long(recent: Sequence[DecisionFacts], limits: Limits) -> str | None:
    start, end = stretches(recent)[-1]
    minutes = (end - start) // timedelta(minutes=1)
    return f"{minutes} minutes without a break" if end - start > limits.at_work else None


RULES: Final[Mapping[AlertKind, Callable[[Sequence[DecisionFacts], Limits], str | None]]] = {
    AlertKind.TOO_FAST: _too_fast,
    AlertKind.NEVER_CLOSER: _never_closer,
    AlertKind.ALWAYS_FIRST: _always_first,
    AlertKind.TOO_MANY: _too_many,
    AlertKind.TOO_LONG: _too_long,
}


def remarks(recent: Iterable[DecisionFacts], limits: Limits = LIMITS) -> dict[AlertKind, str]:
    """Return what is remarkable about a reviewer's latest decisions, each kind with its measure.

    Args:
        recent: of one reviewer, in the order of their time; first versions count.

        limits: from when on something is remarkable.

    """
    first = [each for each in recent if each.version == 1]
    if not first:
        return {}
    return {kind: said for kind, rule in RULES.items() if (said := rule(first, limits))}


def unsaid(found: Mapping[AlertKind, str], said_lately: Collection[AlertKind]) -> dict[AlertKind, str]:
    """Return what no alert has said lately: one habit is one alert, not one for each decision."""
    return {kind: detail for kind, detail in found.items() if kind not in said_lately}
