"""What nobody may do together."""

from itertools import chain, combinations

import pytest

from rfr_stream import policy
from rfr_stream.errors import NotPermitted
from rfr_stream.policy import CONFLICTS, Role

TOGETHER = {
    frozenset({Role.SUBMITTER, Role.REVIEWER}),
    frozenset({Role.SUBMITTER, Role.SUPERVISOR}),
    frozenset({Role.SUBMITTER, Role.GALLERY_ADMIN}),
    frozenset({Role.SUPERVISOR, Role.GALLERY_ADMIN}),
    frozenset({Role.SUPERVISOR, Role.POLICY_ADMIN}),
}
"""The only pairs that one person may hold; whoever submits and reviews never reviews what they submitted."""
PAIRS = [frozenset(pair) for pair in combinations(Role, 2)]
SETS = [frozenset(some) for some in chain.from_iterable(combinations(Role, n) for n in range(1, len(Role) + 1))]


def is_compatible(roles: frozenset[Role]) -> bool:
    try:
        policy.require_compatible(roles)
    except NotPermitted:
        return False
    return True


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: " and ".join(sorted(pair)))
def test_every_pair_of_roles_is_one_that_a_person_may_hold_or_none(pair: frozenset[Role]) -> None:
    assert is_compatible(pair) is (pair in TOGETHER)
    assert (pair in CONFLICTS) is (pair not in TOGETHER)


def test_several_roles_go_together_where_each_pair_of_them_does() -> None:
    allowed = {roles for roles in SETS if is_compatible(roles)}

    assert allowed == {roles for roles in SETS if all(frozenset(pair) in TOGETHER for pair in combinations(roles, 2))}
    assert frozenset({Role.SUBMITTER, Role.SUPERVISOR, Role.GALLERY_ADMIN}) in allowed


def test_an_auditor_is_nothing_else_and_a_reviewer_nothing_but_a_submitter() -> None:
    beside = {role: {other for pair in TOGETHER if role in pair for other in pair - {role}} for role in Role}

    assert beside[Role.AUDITOR] == set()
    assert beside[Role.REVIEWER] == {Role.SUBMITTER}


def test_a_refusal_names_the_two_that_conflict() -> None:
    with pytest.raises(NotPermitted, match=r"^roles: nobody may be auditor and submitter$"):
        policy.require_compatible(frozenset({Role.SUBMITTER, Role.AUDITOR}))


def test_an_account_is_for_something() -> None:
    with pytest.raises(NotPermitted, match="at least one"):
        policy.require_compatible(frozenset())
