"""What supervisors are told of how somebody works, when that somebody has just decided.

The desk tells what the latest decisions show; what a longer time shows, the supervisors' page counts when it is read.
"""

from producers.console._desk import Desk
from rfr_stream.conduct import LIMITS, remarks, unsaid
from rfr_stream.desk import Account, Alert


async def look_back(desk: Desk, account: Account) -> None:
    """Tell supervisors of whatever is remarkable about this person's latest decisions, and has not been told lately."""
    now, who = desk.clock(), account.account_id
    recent = await desk.store.statistics.recent(who)
    told = await desk.store.statistics.alerted(who, now - LIMITS.quiet)
    for kind, detail in unsaid(remarks(recent), told).items():
        await desk.store.examinations.alert(Alert(now, kind, who, recent[-1].about.submission_id, detail))
