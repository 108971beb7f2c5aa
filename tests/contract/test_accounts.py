"""Accounts on both databases: what several people want at once, one of them gets."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import builders
import pytest
from builders import LATER, NOW

from rfr_stream.adapters.desk import SqlDesk
from rfr_stream.adapters.desk.accounts import Accounts
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.desk import Account
from rfr_stream.errors import NotPermitted
from rfr_stream.policy import Role

MANY = 8
CODE = builders.sha256("code")


@pytest.fixture(params=["sqlite", "postgresql"])
async def accounts(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Accounts]:
    """Accounts of a database that allows many connections at once."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_server").fresh()
    async with SqlLedger(url, pool_size=MANY) as ledger:
        yield SqlDesk(ledger).accounts


async def test_an_invitation_is_used_by_one_however_many_are_quick(accounts: Accounts) -> None:
    await accounts.add("r-ash", [Role.REVIEWER], NOW, invitation_sha256=CODE, invited_until=LATER)

    used = await asyncio.gather(*(accounts.accept(CODE, f"hash {n}", NOW) for n in range(MANY)))

    (winner,) = [each for each in used if each]
    assert await accounts.account("r-ash") == winner
    assert await accounts.accept(CODE, "another", NOW) is None


async def test_one_supervisor_is_the_first_however_many_want_to_be(accounts: Accounts) -> None:
    people = [builders.supervisor(f"s-{n}") for n in range(MANY)]

    registered = await asyncio.gather(*(accounts.register_first(each) for each in people))

    assert registered.count(True) == 1
    assert await accounts.registered() == {
        each.reviewer_id: each for each, first in zip(people, registered, strict=True) if first
    }


async def test_nobody_is_the_first_twice(accounts: Accounts) -> None:
    assert await accounts.register_first(builders.supervisor("s-1"))

    assert not await accounts.register_first(builders.supervisor("s-1"))
    assert not await accounts.register_first(builders.supervisor("s-2"))


async def test_a_person_of_the_provider_has_one_account(accounts: Accounts) -> None:
    async def add(account_id: str) -> Account | None:
        try:
            return await accounts.add(account_id, [Role.REVIEWER], NOW, subject="https://provider.example 0001")
        except NotPermitted:
            return None

    added = await asyncio.gather(*(add(f"r-{n}") for n in range(MANY)))

    assert len([each for each in added if each]) == 1
    (known,) = await accounts.all()
    assert await accounts.known_as("https://provider.example 0001") == known


async def test_linking_takes_nobodys_account_away(accounts: Accounts) -> None:
    await accounts.add("r-ash", [Role.REVIEWER], NOW, subject="https://provider.example 0001")
    await accounts.add("r-oak", [Role.REVIEWER], NOW)

    with pytest.raises(NotPermitted, match="another account"):
        await accounts.link("r-oak", "https://provider.example 0001")

    await accounts.link("r-oak", "https://provider.example 0002")
    assert (await accounts.known_as("https://provider.example 0002")) == await accounts.account("r-oak")


async def test_a_hash_that_was_changed_meanwhile_is_not_renewed(accounts: Accounts) -> None:
    await accounts.add("r-ash", [Role.REVIEWER], NOW, password_hash="newer")  # noqa: S106 - of a test

    await accounts.rehash("r-ash", "older", "renewed")

    kept = await accounts.account("r-ash")
    assert kept
    assert kept.password_hash == "newer"  # noqa: S105
