"""How a case is shown to a reviewer: in an order of their own, without score, rank or threshold."""

from collections.abc import Mapping

from rfr_stream.commands._context import say
from rfr_stream.desk import in_order, order_seed
from rfr_stream.events import CAVEAT, Candidate, CandidatesReady


def shuffled(found: CandidatesReady, reviewer: str) -> list[Candidate]:
    """Return the candidates in this reviewer's own order, always the same: the list's would tell who is nearest."""
    return list(in_order(found, order_seed(found, reviewer)))


def print_case(found: CandidatesReady, reviewer: str, *, places: Mapping[str, str]) -> None:
    """Print where the probe's image and each candidate's lie.

    Args:
        found: the list that is to be judged.

        reviewer: who is looking.

        places: of each image, by its reference's uri.

    """
    submission = found.submission
    lines = [f"Case {submission.submission_id}", f"  probe  {places[submission.image.uri]}"]
    for number, candidate in enumerate(shuffled(found, reviewer), start=1):
        lines.append(f"  {number:<5}  {places[candidate.reference.uri]}  {candidate.person_id}")
    say("\n".join([*lines, CAVEAT]))
