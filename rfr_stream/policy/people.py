"""What people may do here, and what nobody may do together."""

from enum import StrEnum
from itertools import combinations
from typing import Final

from rfr_stream.errors import NotPermitted


class Role(StrEnum):
    """What an account is for."""

    SUBMITTER = "submitter"
    REVIEWER = "reviewer"
    SUPERVISOR = "supervisor"
    GALLERY_ADMIN = "gallery_admin"
    POLICY_ADMIN = "policy_admin"
    AUDITOR = "auditor"


_R = Role

CONFLICTS: Final[frozenset[frozenset[Role]]] = frozenset(
    {
        # Whoever sees how others decided, or certifies them, does not decide.
        frozenset({_R.REVIEWER, _R.SUPERVISOR}),
        # Whoever chooses the references, or the rules, does not judge what they lead to.
        frozenset({_R.REVIEWER, _R.GALLERY_ADMIN}),
        frozenset({_R.REVIEWER, _R.POLICY_ADMIN}),
        frozenset({_R.SUBMITTER, _R.POLICY_ADMIN}),
        frozenset({_R.GALLERY_ADMIN, _R.POLICY_ADMIN}),
        # Whoever audits takes no part.
        *(frozenset({_R.AUDITOR, role}) for role in Role if role is not _R.AUDITOR),
    }
)
"""Pairs of roles that nobody holds together."""


def require_compatible(roles: frozenset[Role]) -> None:
    """Refuse roles that nobody may hold together.

    Raises:
        NotPermitted: two of them conflict, or there is none.

    """
    if not roles:
        msg = "roles: at least one"
        raise NotPermitted(msg)
    for one, other in combinations(sorted(roles), 2):
        if frozenset({one, other}) in CONFLICTS:
            msg = f"roles: nobody may be {one} and {other}"
            raise NotPermitted(msg)
