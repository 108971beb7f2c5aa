"""The rules a lawyer would ask to read: who may be sought where, what may be found, who may decide, who may do what.

Pure tables and functions.
"""

from rfr_stream.policy.deciding import (
    LEAD_SUPPORT,
    MIN_COMPARED_S,
    QUORUM,
    SAME_SUPPORT,
    UNDECIDED_SUPPORT,
    objection,
    require_competent,
    standing,
    verdict,
)
from rfr_stream.policy.holding import (
    EFFECTS,
    ENROLS,
    Effect,
    door_of,
    entrusted,
    ineligibility,
    is_entrusted,
    is_its_own,
    require_enrollable,
)
from rfr_stream.policy.people import CONFLICTS, Role, require_compatible
from rfr_stream.policy.searching import RULES, Rule, regime_of, searchable, seeds_due, stands, urgency
from rfr_stream.policy.stating import (
    MIN_NECESSITY_CHARS,
    MIN_NECESSITY_WORDS,
    RECENT_STATEMENTS,
    Stated,
    is_boilerplate,
    stated,
    words_of,
)

__all__ = [
    "CONFLICTS",
    "EFFECTS",
    "ENROLS",
    "LEAD_SUPPORT",
    "MIN_COMPARED_S",
    "MIN_NECESSITY_CHARS",
    "MIN_NECESSITY_WORDS",
    "QUORUM",
    "RECENT_STATEMENTS",
    "RULES",
    "SAME_SUPPORT",
    "UNDECIDED_SUPPORT",
    "Effect",
    "Role",
    "Rule",
    "Stated",
    "door_of",
    "entrusted",
    "ineligibility",
    "is_boilerplate",
    "is_entrusted",
    "is_its_own",
    "objection",
    "regime_of",
    "require_compatible",
    "require_competent",
    "require_enrollable",
    "searchable",
    "seeds_due",
    "standing",
    "stands",
    "stated",
    "urgency",
    "verdict",
    "words_of",
]
