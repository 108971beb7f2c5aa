"""A supervisor's orders that leads must no longer be relied on: which leads, and the words to be signed.

One lead is one order, however many are withdrawn at once: each is signed, counted and told of for itself.
"""

from collections.abc import Iterable
from datetime import datetime

from rfr_stream.desk import Lead
from rfr_stream.events import UNSIGNED, WithdrawalOrdered


def orders(leads: Iterable[Lead], *, reason: str, ordered_by: str, now: datetime) -> list[WithdrawalOrdered]:
    """Return the orders as they are to be signed by `signing.seal`; a lead that is withdrawn already needs none.

    Raises:
        ValueError: the reason, or who orders it, is not what a field of an event may be.

    """
    return [
        WithdrawalOrdered(
            occurred_at=now,
            submission_id=lead.said.submission_id,
            ordered_by=ordered_by,
            reason=reason,
            demo=lead.said.demo,
            signature=UNSIGNED,
        )
        for lead in leads
        if lead.withdrawal is None
    ]
