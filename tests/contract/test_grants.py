"""What the roles of `deploy/postgresql/grants.sql` may do to the ledger, by PostgreSQL itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import uuid4

import builders
import ledger_worker
import pytest
from postgresql import PostgreSql
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from rfr_stream.adapters.desk import SqlDesk
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.reception import SqlReception
from rfr_stream.desk import Alert, AlertKind, Operation
from rfr_stream.errors import NotPermitted
from rfr_stream.events import Outcome
from rfr_stream.policy import Role, stated
from rfr_stream.ports import CaseState, Ending, Extent, Meeting, Served
from rfr_stream.reception import Client, Door

GRANTS: Final = Path(__file__).parents[2] / "deploy" / "postgresql" / "grants.sql"
ROLES: Final = (
    "rfr_review",
    "rfr_console",
    "rfr_reception",
    "rfr_appeal",
    "rfr_callback",
    "rfr_stage",
    "rfr_embedding",
)
REFUSED: Final = "permission denied for table"


@dataclass(frozen=True)
class Granted:
    """A ledger's tables, whose owner is nobody below, and the roles that may use them."""

    server: PostgreSql
    owner: str
    """The URL of whoever made the tables."""

    @property
    def schema(self) -> str:
        return make_url(self.owner).username or ""

    def by_hand(self, statements: str) -> None:
        """Do something as the owner of the server."""
        self.server.execute(f"SET search_path = {self.schema}; {statements}")

    def grant(self) -> None:
        """Apply the file."""
        self.by_hand(GRANTS.read_text())

    def user(self, role: str) -> str:
        """Return the URL of a user of this role."""
        name = f"{self.schema}_{role}"
        self.by_hand(
            f"DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN IN ROLE {role}; "
            f"ALTER ROLE {name} SET search_path = {self.schema}"
        )
        return make_url(self.owner).set(username=name).render_as_string()

    @asynccontextmanager
    async def connected(self, role: str) -> AsyncIterator[AsyncConnection]:
        """Speak SQL as a user of this role."""
        engine = create_async_engine(self.user(role))
        try:
            async with engine.begin() as connection:
                yield connection
        finally:
            await engine.dispose()

    async def refuses(self, role: str, statement: str, **values: object) -> bool:
        """Whether the database refuses this to the role; anything else that goes wrong is raised."""
        try:
            async with self.connected(role) as connection:
                await connection.execute(text(statement), values)
        except ProgrammingError as error:
            if REFUSED not in str(error):
                raise
            return True
        return False

    async def may(self, role: str, table: str) -> set[str]:
        """Return which verbs the role may use on a table."""
        async with self.connected(role) as connection:
            asked = text("SELECT verb FROM unnest(CAST(:verbs AS text[])) verb WHERE has_table_privilege(:table, verb)")
            found = await connection.execute(asked, {"table": table, "verbs": sorted(EVERYTHING)})
            return set(found.scalars())


WRITING: Final = frozenset({"INSERT", "UPDATE", "DELETE"})
EVERYTHING: Final = WRITING | {"SELECT", "TRUNCATE", "TRIGGER", "REFERENCES"}


@pytest.fixture
async def granted(postgresql_server: PostgreSql) -> Granted:
    granted = Granted(postgresql_server, postgresql_server.fresh())
    async with SqlLedger(granted.owner):
        pass
    granted.grant()
    return granted


async def test_the_console_reads_a_case_and_cannot_promise_anything(granted: Granted) -> None:
    found = builders.candidates_ready()
    async with SqlLedger(granted.owner) as ledger:
        await ledger.apply(ledger_worker.changes([found]))
    async with SqlLedger(granted.user("rfr_console")) as ledger:
        case = await ledger.case(found.submission.submission_id)
    assert case
    assert case.state is CaseState.CONFIRMED
    forged = (
        "INSERT INTO outbox (event_id, submission_id, type, body) "
        "SELECT :event_id, submission_id, 'rfr.identification-confirmed.v1', '{\"person_id\": \"person-1\"}' FROM cases"
    )  # the ledger's own guard would let it pass: the case is confirmed
    assert await granted.refuses("rfr_console", forged, event_id=uuid4())


@pytest.mark.parametrize("table", ["cases", "decisions", "inbox", "outbox", "reviewers", "held_references"])
async def test_the_console_only_reads_the_ledger(granted: Granted, table: str) -> None:
    assert await granted.may("rfr_console", table) == {"SELECT"}
    assert await granted.refuses("rfr_console", f"DELETE FROM {table}")  # noqa: S608 - one of these names


async def test_the_console_keeps_its_own_books_and_rewrites_none(granted: Granted) -> None:
    about, now = uuid4(), builders.NOW
    async with SqlLedger(granted.user("rfr_console")) as ledger:
        desk = SqlDesk(ledger)
        await desk.accounts.add("reviewer-a", [Role.REVIEWER], now)
        await desk.accounts.enter("reviewer-a", builders.sha256("token"), now)
        assert await desk.queue.claim(about, "reviewer-a", now, builders.LATER)
        await desk.queue.release(about, "reviewer-a")
        await desk.examinations.show(about, "reviewer-a", "seed", now)
        await desk.examinations.alert(Alert(now, AlertKind.TOO_FAST, "reviewer-a", about, "a minute"))
        await desk.log.write("reviewer-a", Operation.CONSULTATION, str(about), "", now)
        assert await desk.log.first_break() is None
    for table in ("analyses", "access_log", "alerts"):
        assert await granted.may("rfr_console", table) == {"SELECT", "INSERT"}


async def test_the_console_registers_nobody_not_even_a_first_supervisor(granted: Granted) -> None:
    async with SqlLedger(granted.user("rfr_console")) as ledger:
        with pytest.raises(NotPermitted, match="the command below does"):
            await SqlDesk(ledger).accounts.register_first(builders.supervisor())


async def test_the_review_stage_does_its_whole_work(granted: Granted) -> None:
    async with SqlLedger(granted.user("rfr_review")) as ledger:
        await ledger.register(builders.reviewer("reviewer-a"))
        results = await ledger.apply(ledger_worker.changes([builders.candidates_ready()]))
        owed = await ledger.unpublished(9)
        await ledger.published([out.event.event_id for out in owed])
        assert len(owed) == 2
        assert await ledger.unpublished(9) == []
    assert results
    assert await granted.may("rfr_review", "decisions") == {"SELECT", *WRITING}


async def test_the_reception_lets_nobody_in_and_changes_no_case(granted: Granted) -> None:
    now = builders.NOW
    async with SqlLedger(granted.owner) as ledger:
        await SqlReception(ledger).add("portal-1", Door.OFFICER)
    async with SqlLedger(granted.user("rfr_reception")) as ledger:
        store = SqlReception(ledger)
        assert await store.client("portal-1") == Client("portal-1", Door.OFFICER)
        assert await store.reserve("portal-1", "key", "digest", now)
        await store.require_own_words("officer-1", stated("case-1", "words of one's own"), now)
        about = uuid4()
        await store.note("portal-1", [about], now)
        assert await store.has_sent("portal-1", about)
        assert await ledger.case(about) is None
        with pytest.raises(ProgrammingError, match=REFUSED):
            await store.add("portal-2", Door.OFFICER)
    for table in ("cases", "decisions", "clients"):
        assert await granted.may("rfr_reception", table) == {"SELECT"}
    for table in ("reviewers", "held_references", "accounts", "outbox", "seeds"):
        assert await granted.may("rfr_reception", table) == set()


async def test_whoever_tells_clients_reads_who_sent_what_and_of_a_case_how_it_stands(granted: Granted) -> None:
    about, now = uuid4(), builders.NOW
    closed = builders.closed(Outcome.NO_FACE, submission_id=about)
    async with SqlLedger(granted.owner) as ledger:
        client = await SqlReception(ledger).add("portal-1", Door.OFFICER, "https://portal.example/outcomes")
        await SqlReception(ledger).note("portal-1", [about], now)
    async with SqlLedger(granted.user("rfr_callback")) as ledger:
        assert await SqlReception(ledger).to_tell([closed]) == {closed.event_id: [client]}
        with pytest.raises(ProgrammingError, match=REFUSED):
            await ledger.case(about)
    async with granted.connected("rfr_callback") as connection:  # the view shows a role what it may read
        seen = text("SELECT column_name FROM information_schema.columns WHERE table_name = 'cases'")
        assert set((await connection.execute(seen)).scalars()) == {"submission_id", "state", "outcome"}
    for table in ("clients", "received"):
        assert await granted.may("rfr_callback", table) == {"SELECT"}
    for table in ("cases", "decisions", "held_references", "receipts", "outbox"):
        assert await granted.may("rfr_callback", table) == set()


async def test_a_stage_knows_references_and_no_case(granted: Granted) -> None:
    reference = builders.reference("person-1")
    async with SqlLedger(granted.user("rfr_stage")) as ledger:
        await ledger.hold([reference])
        assert list(await ledger.held([reference.reference_id])) == [reference.reference_id]
        await ledger.erase([reference.reference_id])
        assert await ledger.erased([reference.reference_id]) == {reference.reference_id}
        with pytest.raises(ProgrammingError, match=REFUSED):
            await ledger.case(uuid4())
    for table in ("cases", "decisions", "inbox", "outbox", "reviewers"):
        assert await granted.may("rfr_stage", table) == set()


async def test_a_stage_says_who_stands_and_who_met_whom_and_not_what_comes_of_it(granted: Granted) -> None:
    probe, now = builders.face_embedded(), builders.NOW
    about = probe.submission.submission_id
    async with SqlLedger(granted.user("rfr_stage")) as ledger:
        await ledger.stand([probe], builders.LATER)
        assert await ledger.standing(probe.template.embedder, now) == {about}
        anew = builders.template(embedder=builders.identity("new"))
        await ledger.stand([probe.model_copy(update={"template": anew, "occurred_at": builders.LATER})], builders.LATER)
        assert await ledger.standing(anew.embedder, now) == {about}
        await ledger.meet([Meeting(about, uuid4(), "person-1", 0.9)], now)
        for refused in (
            ledger.keep(about, builders.LATER, now),
            ledger.end(about, Ending(now, "search", "found")),
            ledger.renew(people_n=1, now=now),
        ):
            with pytest.raises(ProgrammingError, match=REFUSED):
                await refused
    async with SqlLedger(granted.user("rfr_review")) as ledger:
        await ledger.renew(people_n=1, now=now)
        await ledger.end(about, Ending(now, "unit-1", "found"))


@pytest.mark.parametrize("role", ["rfr_stage", "rfr_embedding"])
async def test_a_stage_asks_which_model_serves_and_does_not_say_it(granted: Granted, role: str) -> None:
    model = Served("new", builders.identity("new"), 0.6, builders.NOW)
    async with SqlLedger(granted.user(role)) as ledger:
        assert await ledger.served() == ()
        with pytest.raises(ProgrammingError, match=REFUSED):
            await ledger.serve(model, model, seen=Extent(0, 0, 0))
    assert await granted.may(role, "serving") == {"SELECT"}
    for table in ("cases", "outbox"):
        assert await granted.may(role, table) == set()


async def test_a_table_that_comes_later_gets_its_rights_when_the_file_is_applied_again(granted: Granted) -> None:
    granted.by_hand("DROP TABLE alerts, claims")
    granted.grant()
    granted.by_hand(
        "CREATE TABLE alerts (number bigserial PRIMARY KEY, why text); "
        "CREATE TABLE claims (number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, why text)"
    )
    assert await granted.may("rfr_console", "alerts") == set()
    granted.grant()
    assert await granted.may("rfr_console", "alerts") == {"SELECT", "INSERT"}
    assert await granted.may("rfr_console", "claims") == {"SELECT", *WRITING}
    for table in ("alerts", "claims"):
        assert not await granted.refuses("rfr_console", f"INSERT INTO {table} (why) VALUES ('asked')")  # noqa: S608
        assert await granted.may("rfr_stage", table) == set()


async def test_a_right_that_the_file_does_not_say_is_taken_away(granted: Granted) -> None:
    granted.by_hand("GRANT ALL ON outbox TO rfr_console; GRANT USAGE ON outbox_sequence_seq TO rfr_console")
    assert "INSERT" in await granted.may("rfr_console", "outbox")
    granted.grant()
    assert await granted.may("rfr_console", "outbox") == {"SELECT"}
    async with granted.connected("rfr_console") as connection:
        usable = await connection.execute(text("SELECT has_sequence_privilege('outbox_sequence_seq', 'USAGE')"))
        assert not usable.scalar_one()


async def test_every_table_of_the_ledger_is_named_in_the_file(granted: Granted) -> None:
    async with granted.connected("rfr_review") as connection:
        found = await connection.execute(
            text("SELECT tablename FROM pg_tables WHERE schemaname = :schema"), {"schema": granted.schema}
        )
        tables = set(found.scalars())
    assert tables
    assert {table for table in tables if not any([await granted.may(role, table) for role in ROLES])} == set()


async def test_nobody_but_the_owner_changes_the_tables_or_their_guards(granted: Granted) -> None:
    for role in ROLES:
        for statement in ("CREATE TABLE mine ()", "DROP TRIGGER outbox_needs_two_people ON outbox"):
            with pytest.raises(ProgrammingError, match=r"permission denied for schema|must be owner"):
                await granted.refuses(role, statement)
