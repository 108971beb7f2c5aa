"""The register of leads: it guards itself, and knows the leads from before there was one."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import builders
import ledger_worker
import pytest
from alembic import command
from alembic.config import Config
from builders import LATER, NOW
from sqlalchemy import Connection, Uuid, column, insert, table, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from rfr_stream import review
from rfr_stream.adapters.desk import SqlDesk
from rfr_stream.adapters.ledger import SqlLedger, migrations, tables
from rfr_stream.events import CandidatesReady, Event
from rfr_stream.ports import Change


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    created: str = request.getfixturevalue("postgresql_server").fresh()
    return created


async def run(url: str, *statements: str) -> None:
    """Do behind the ledger's back what the statements say."""

    def execute(connection: Connection) -> None:
        for statement in statements:
            connection.execute(text(statement))

    await _transact(url, execute)


async def _transact(url: str, work: object) -> None:
    engine = create_async_engine(url.replace("sqlite:", "sqlite+aiosqlite:"), poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(work)  # type: ignore[arg-type]
    finally:
        await engine.dispose()


# --- guards ---------------------------------------------------------------------------------------------------------
async def test_what_a_lead_was_given_out_on_is_never_changed(url: str) -> None:
    columns = tables.leads.c.keys()
    columns.remove("withdrawal_id")
    async with SqlLedger(url) as ledger:
        await ledger.apply(ledger_worker.changes([builders.candidates_ready()]))
        for name in columns:
            with pytest.raises(IntegrityError, match="never changed"):
                await run(url, f"UPDATE leads SET {name} = {name}")  # noqa: S608 - a column's name


async def test_a_lead_that_was_given_out_is_never_forgotten(url: str) -> None:
    async with SqlLedger(url) as ledger:
        await ledger.apply(ledger_worker.changes([builders.candidates_ready()]))
        with pytest.raises(IntegrityError, match="never forgotten"):
            await run(url, "DELETE FROM leads")


async def test_a_lead_and_its_place_in_the_register_are_one_transaction(url: str) -> None:
    async with SqlLedger(url) as ledger:
        await run(url, "DROP TABLE leads")
        with pytest.raises(Exception, match="leads"):
            await ledger.apply(ledger_worker.changes([builders.candidates_ready()]))
        assert await ledger.unpublished(10) == []
        assert await ledger.case(builders.submission().submission_id) is None


# --- before there was a register ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Before:
    """A case of the first schema."""

    found: CandidatesReady
    published: bool = True
    withdrawn: bool = False

    @property
    def said(self) -> list[Event]:
        lead = builders.identification_confirmed(self.found)
        withdrawal = builders.identification_withdrawn(self.found.submission)
        outcome = builders.closed(submission_id=self.found.submission.submission_id)
        return [lead, outcome, *([withdrawal] if self.withdrawn else [])]


_DECISIONS = table(
    "decisions",
    column("submission_id", Uuid),
    *(column(name) for name in ("reviewer_id", "ordinal", "person_id", "body")),
)
"""As they were: without versions."""


def store(connection: Connection, before: Before) -> None:
    """Write what the first version wrote."""
    about = before.found.submission.submission_id
    case = {"submission_id": about, "state": "confirmed", "opened_at": NOW, "outcome": "confirmed", "demo": False}
    connection.execute(
        insert(tables.cases).values({**case, "candidates": before.found.model_dump_json(), "parked": "[]"})
    )
    for ordinal, by in enumerate(("reviewer-a", "reviewer-b")):
        row = {"submission_id": about, "reviewer_id": by, "ordinal": ordinal, "person_id": "person-1", "body": "{}"}
        connection.execute(insert(_DECISIONS).values(row))
    for event in before.said:
        row = {"event_id": event.event_id, "submission_id": about, "type": event.ce_type}
        row |= {"body": event.model_dump_json(), "published": before.published}
        connection.execute(insert(tables.outbox).values(row))
    if before.withdrawn:
        ended = update(tables.cases).where(tables.cases.c.submission_id == about)
        connection.execute(ended.values(state="withdrawn", outcome="withdrawn"))


def first_schema(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "0001")


async def test_leads_from_before_there_was_a_register_are_in_it(url: str) -> None:
    lists = [builders.candidates_ready(builders.submission(str(number))) for number in range(3)]
    stands, withdrawn, owed = (
        Before(lists[0]),
        Before(lists[1], withdrawn=True),
        Before(lists[2], published=False),
    )

    def fill(connection: Connection) -> None:
        first_schema(connection)
        for before in (stands, withdrawn, owed):
            store(connection, before)

    await _transact(url, fill)

    async with SqlLedger(url) as ledger:
        await ledger.subscribe("at the time", NOW - timedelta(days=1))
        await ledger.subscribe("since then", NOW + timedelta(days=1))
        found = {lead.said.submission_id: lead for lead in await SqlDesk(ledger).leads.find(LATER)}
        reminded = await ledger.remind(LATER)

    by_case = [found.pop(each.submission.submission_id) for each in lists]
    assert found == {}
    assert [lead.said for lead in by_case] == [before.said[0] for before in (stands, withdrawn, owed)]
    assert [lead.threshold for lead in by_case] == [0.5] * 3
    assert [lead.withdrawal for lead in by_case] == [None, withdrawn.said[2], None]
    assert [lead.outstanding for lead in by_case] == [("at the time",), ("at the time",), ()]
    assert reminded == 1, "a withdrawal that nobody ever acknowledged"


async def test_an_empty_ledger_of_the_first_schema_is_brought_up_to_date(url: str) -> None:
    await _transact(url, first_schema)

    async with SqlLedger(url) as ledger:
        assert await SqlDesk(ledger).leads.find(NOW) == []
        order = builders.withdrawal()
        (refused,) = await ledger.apply(
            [Change(uuid4(), uuid4(), review.withdrawn(order, builders.supervisor(), LATER))]
        )
        assert "no such case" in str(refused)
