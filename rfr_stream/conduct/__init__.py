"""How people work at the desk, in numbers, and what a supervisor should look at: pure, over values read elsewhere.

It serves two ends: to show that people weigh what machines propose, and to find out how often they err. It is not
meant for discipline: an alert says that somebody should look, and small numbers say little, which is why every share
comes with its interval.
"""

from rfr_stream.conduct.alerts import LIMITS, RULES, Limits, remarks, unsaid
from rfr_stream.conduct.facts import CaseFacts, DecisionFacts, SeedCount
from rfr_stream.conduct.report import Day, Report, report
from rfr_stream.conduct.reviewers import OnSeeds, ReviewerFacts, on_seeds, reviewer_facts, stretches
from rfr_stream.conduct.shares import Proportion, Spread, proportion, spread

__all__ = [
    "LIMITS",
    "RULES",
    "CaseFacts",
    "Day",
    "DecisionFacts",
    "Limits",
    "OnSeeds",
    "Proportion",
    "Report",
    "ReviewerFacts",
    "SeedCount",
    "Spread",
    "on_seeds",
    "proportion",
    "remarks",
    "report",
    "reviewer_facts",
    "spread",
    "stretches",
    "unsaid",
]
