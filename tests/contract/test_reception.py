"""One law for the reception's tables, on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import builders
import pytest
from builders import NOW
from postgresql import PostgreSql

from rfr_stream import review
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.reception import RECEIPTS_KEPT, SqlReception
from rfr_stream.errors import NotPermitted
from rfr_stream.events import Outcome
from rfr_stream.policy import RECENT_STATEMENTS, stated
from rfr_stream.ports import Change
from rfr_stream.reception import Client, Door


@pytest.fixture(params=["sqlite", "postgresql"])
async def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SqlLedger]:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    if request.param == "postgresql":
        server: PostgreSql = request.getfixturevalue("postgresql_server")
        url = server.fresh()
    async with SqlLedger(url) as ledger:
        yield ledger


@pytest.fixture
async def store(ledger: SqlLedger) -> SqlReception:
    return SqlReception(ledger)


async def test_a_client_is_let_in_kept_out_and_let_in_anew(store: SqlReception) -> None:
    assert await store.client("portal-1") is None
    assert await store.add("portal-1", Door.OFFICER) == Client("portal-1", Door.OFFICER, 1)
    with pytest.raises(NotPermitted, match="revoke it first"):
        await store.add("portal-1", Door.UNIT)
    await store.revoke("portal-1", NOW)
    await store.revoke("portal-1", NOW + timedelta(days=1))
    assert await store.client("portal-1") == Client("portal-1", Door.OFFICER, 1, NOW)
    assert await store.add("portal-1", Door.UNIT) == Client("portal-1", Door.UNIT, 2)
    assert await store.clients() == [Client("portal-1", Door.UNIT, 2)]


async def test_whoever_is_not_there_cannot_be_kept_out(store: SqlReception) -> None:
    with pytest.raises(NotPermitted, match="no client"):
        await store.revoke("portal-1", NOW)


async def test_a_client_asks_about_what_it_sent_alone(store: SqlReception) -> None:
    mine, theirs = uuid4(), uuid4()
    for _ in range(2):
        await store.note("portal-1", [mine, mine], NOW)
    await store.note("portal-2", [mine, theirs], NOW)
    assert [await store.has_sent("portal-1", each) for each in (mine, theirs)] == [True, False]
    assert [await store.has_sent("portal-2", each) for each in (mine, theirs)] == [True, True]


async def test_whoever_sent_it_and_has_an_address_is_told(store: SqlReception) -> None:
    about, url = uuid4(), "https://portal.example/outcomes"
    for name, callback in (("portal-1", url), ("portal-2", url), ("portal-3", None), ("portal-4", url)):
        await store.add(name, Door.OFFICER, callback)
        if name != "portal-4":
            await store.note(name, [about], NOW)
    ended, other = (builders.closed(Outcome.CONFIRMED, submission_id=each) for each in (about, uuid4()))
    both = await store.to_tell([ended, other])
    assert {id_: [each.name for each in clients] for id_, clients in both.items()} == {
        ended.event_id: ["portal-1", "portal-2"]
    }
    assert await store.to_tell([other]) == await store.to_tell([]) == {}
    await store.revoke("portal-1", NOW)
    await store.call_back("portal-2", None)
    await store.call_back("portal-3", f"{url}/3")
    told = {ended.event_id: [Client("portal-3", Door.OFFICER, callback=f"{url}/3")]}
    assert await store.to_tell([ended]) == told
    for name in ("portal-1", "portal-9"):
        with pytest.raises(NotPermitted, match="no client of this name that may hand in"):
            await store.call_back(name, url)


async def test_nobody_is_told_what_review_has_overtaken(store: SqlReception, ledger: SqlLedger) -> None:
    found = builders.candidates_ready()
    about = found.submission.submission_id
    await store.add("portal-1", Door.OFFICER, "https://portal.example/outcomes")
    await store.note("portal-1", [about], NOW)
    unseen, confirmed = (builders.closed(each, submission_id=about) for each in (Outcome.NO_FACE, Outcome.CONFIRMED))

    async def told() -> set[Outcome]:
        said = await store.to_tell([unseen, confirmed])
        return {closed.outcome for closed in (unseen, confirmed) if closed.event_id in said}

    assert await told() == {Outcome.NO_FACE, Outcome.CONFIRMED}
    await ledger.apply([Change(about, found.event_id, review.candidates_ready(found, NOW))])
    assert await told() == {Outcome.CONFIRMED}


async def test_a_key_stands_for_one_request(store: SqlReception) -> None:
    assert await store.reserve("portal-1", "key", "a", NOW)
    assert await store.reserve("portal-1", "key", "a", NOW)
    assert not await store.reserve("portal-1", "key", "b", NOW)
    assert await store.reserve("portal-2", "key", "b", NOW)


async def test_of_two_at_once_with_one_key_one_is_refused(store: SqlReception) -> None:
    both = [store.reserve("portal-1", "key", digest, NOW) for digest in ("a", "b")]
    assert sorted(await asyncio.gather(*both)) == [False, True]


async def test_a_key_is_forgotten_in_time(store: SqlReception) -> None:
    await store.reserve("portal-1", "key", "a", NOW)
    await store.reserve("portal-2", "key", "a", NOW)
    later = NOW + RECEIPTS_KEPT + timedelta(seconds=1)
    assert await store.reserve("portal-1", "key", "b", later)
    assert await store.reserve("portal-1", "key", "b", later)


async def test_the_same_is_not_said_of_two_cases(store: SqlReception) -> None:
    said = "Nobody on the street knew them, and there is no other image."
    for _ in range(2):
        await store.require_own_words("officer-1", stated("case-1", said), NOW)
    with pytest.raises(NotPermitted, match=r"^necessity: "):
        await store.require_own_words("officer-1", stated("case-2", said.upper()), NOW)
    await store.require_own_words("officer-2", stated("case-2", said), NOW)


async def test_of_two_at_once_with_the_same_words_one_is_refused(store: SqlReception) -> None:
    both = [store.require_own_words("officer-1", stated(case, "the same words"), NOW) for case in ("case-1", "case-2")]
    refused = await asyncio.gather(*both, return_exceptions=True)
    assert [type(each) for each in refused].count(NotPermitted) == 1


async def test_so_many_statements_are_remembered_and_no_more(store: SqlReception) -> None:
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    texts = [f"{first} and {second}" for first in words for second in words][: RECENT_STATEMENTS + 1]
    for number, said in enumerate(texts):
        await store.require_own_words("officer-1", stated(f"case-{number}", said), NOW)
    with pytest.raises(NotPermitted):
        await store.require_own_words("officer-1", stated("another", texts[1]), NOW)
    await store.require_own_words("officer-1", stated("another", texts[0]), NOW)
