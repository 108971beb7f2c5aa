"""What a database adds to a ledger: it outlives processes, is shared by them, and guards itself."""

import asyncio
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import builders
import ledger_worker
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from builders import NOW
from postgresql import PostgreSql
from sqlalchemy import Connection, insert, make_url, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from rfr_stream import review
from rfr_stream.adapters.ledger import SqlLedger, records, tables
from rfr_stream.errors import Unavailable
from rfr_stream.events import IdentificationConfirmed, ReviewDecided, Support
from rfr_stream.ports import Case, CaseState, Change, Conflict, Seed, Served, Step

WORKER = Path(ledger_worker.__file__)
CUT = (
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
    "WHERE usename = current_user AND pid <> pg_backend_pid()"
)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    created: str = request.getfixturevalue("postgresql_server").fresh()
    return created


def raw(url: str) -> AsyncEngine:
    return create_async_engine(url.replace("sqlite:", "sqlite+aiosqlite:"), poolclass=NullPool)


async def run(url: str, statement: str, **values: object) -> None:
    """Do behind the ledger's back what the statement says."""
    engine = raw(url)
    try:
        async with engine.begin() as connection:
            await connection.execute(text(statement), values)
    finally:
        await engine.dispose()


def _decides(decision: ReviewDecided) -> Change:
    reviewer = builders.reviewer(decision.reviewer_id)
    return Change(decision.submission_id, decision.event_id, review.decided(decision, reviewer, NOW))


def _at_once(work: Coroutine[None, None, None]) -> None:
    """Do it now, in a loop of its own, while this one stands still: a transition cannot await."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


async def leads(ledger: SqlLedger) -> Counter[str]:
    """Count the identifications that are promised for each submission."""
    promised = await ledger.unpublished(1_000_000)
    return Counter(str(out.event.submission_id) for out in promised if isinstance(out.event, IdentificationConfirmed))


class TestGuards:
    """The database itself refuses what no code may do."""

    PROMISE = (
        "INSERT INTO outbox (event_id, submission_id, type, body) "
        "SELECT :event_id, submission_id, 'rfr.identification-confirmed.v1', :body FROM cases"
    )

    async def promise(self, url: str, person_id: str = "person-1") -> None:
        body = json.dumps({"person_id": person_id})
        await run(url, self.PROMISE, event_id=uuid4().hex if "sqlite" in url else uuid4(), body=body)

    async def test_no_lead_to_anybody_whom_two_people_do_not_name(self, url: str) -> None:
        async with SqlLedger(url) as ledger:
            await ledger.apply(ledger_worker.changes([builders.candidates_ready()]))
            with pytest.raises(IntegrityError, match="two reviewers"):
                await self.promise(url, "person-2")

    async def test_no_lead_without_a_confirmed_case(self, url: str) -> None:
        found = builders.candidates_ready()
        async with SqlLedger(url) as ledger:
            await ledger.apply(ledger_worker.changes([found])[:2])
            with pytest.raises(IntegrityError, match="two reviewers"):
                await self.promise(url)
            assert await leads(ledger) == {}

    async def test_no_lead_for_a_case_that_only_says_it_is_confirmed(self, url: str) -> None:
        found = builders.candidates_ready()
        async with SqlLedger(url) as ledger:
            await ledger.apply(ledger_worker.changes([found])[:2])
            await run(url, "UPDATE cases SET state = 'confirmed'")
            with pytest.raises(IntegrityError, match="two reviewers"):
                await self.promise(url)

    async def test_no_lead_for_a_confirmed_case_whose_decisions_are_gone(self, url: str) -> None:
        async with SqlLedger(url) as ledger:
            await ledger.apply(ledger_worker.changes([builders.candidates_ready()]))
            await run(url, f"DROP TRIGGER decisions_are_kept{' ON decisions' if 'postgresql' in url else ''}")
            await run(url, "DELETE FROM decisions WHERE reviewer_id = 'reviewer-b'")
            with pytest.raises(IntegrityError, match="two reviewers"):
                await self.promise(url)

    async def test_two_people_on_a_confirmed_case_pass_the_guard(self, url: str) -> None:
        async with SqlLedger(url) as ledger:
            await ledger.apply(ledger_worker.changes([builders.candidates_ready()]))
            await self.promise(url)

    async def test_no_lead_once_a_second_word_has_taken_support_back(self, url: str) -> None:
        found = builders.candidates_ready()
        taken_back = builders.amended(builders.decision(found, by="reviewer-b"), found, support=Support.INCONCLUSIVE)
        async with SqlLedger(url) as ledger:
            await ledger.apply(ledger_worker.changes([found]))
            await ledger.apply([_decides(taken_back)])
            await run(url, "UPDATE cases SET state = 'confirmed'")
            with pytest.raises(IntegrityError, match="two reviewers"):
                await self.promise(url)

    async def test_no_lead_once_a_second_word_names_somebody_else(self, url: str) -> None:
        found = builders.candidates_ready()
        other = builders.amended(builders.decision(found, by="reviewer-b"), found, person_id="person-2")
        async with SqlLedger(url) as ledger:
            await ledger.apply(ledger_worker.changes([found]))
            await ledger.apply([_decides(other)])
            await run(url, "UPDATE cases SET state = 'confirmed'")
            with pytest.raises(IntegrityError, match="two reviewers"):
                await self.promise(url)

    async def test_a_second_word_for_the_same_person_is_no_second_person(self, url: str) -> None:
        found = builders.candidates_ready()
        again = builders.amended(builders.decision(found), found, support=Support.MODERATE_SAME)
        async with SqlLedger(url) as ledger:
            await ledger.apply([*ledger_worker.changes([found])[:2], _decides(again)])
            await run(url, "UPDATE cases SET state = 'confirmed'")
            with pytest.raises(IntegrityError, match="two reviewers"):
                await self.promise(url)

    async def test_no_lead_for_a_case_whose_answer_is_known(self, url: str) -> None:
        found = builders.candidates_ready()
        async with SqlLedger(url) as ledger:
            await ledger.apply(ledger_worker.changes([found]))
            await run(url, "UPDATE cases SET seeded = true")
            with pytest.raises(IntegrityError, match="two reviewers"):
                await self.promise(url)

    async def test_no_lead_for_a_submission_that_was_sown_whatever_its_case_says(self, url: str) -> None:
        found = builders.candidates_ready()
        async with SqlLedger(url) as ledger:
            await ledger.hold(builders.references_of(found))
            await ledger.plant([Seed(builders.image_submitted(found.submission), "person-1")])
            await run(url, "UPDATE seeds SET sown = true")
            with pytest.raises(IntegrityError, match="two reviewers"):
                await ledger.apply(ledger_worker.changes([found]))
            await ledger.apply(ledger_worker.changes([builders.candidates_ready(builders.submission("other"))]))
            assert len(await leads(ledger)) == 1

    async def test_nobody_decides_twice(self, url: str) -> None:
        async with SqlLedger(url) as ledger:
            await ledger.apply(ledger_worker.changes([builders.candidates_ready()])[:2])
            with pytest.raises(IntegrityError):
                await run(
                    url,
                    "INSERT INTO decisions (submission_id, reviewer_id, version, ordinal, body) "
                    "SELECT submission_id, reviewer_id, version, 1, body FROM decisions",
                )

    @pytest.mark.parametrize(
        ("table", "row"),
        [
            ("analyses", {"submission_id": uuid4(), "account_id": "ash", "version": 1, "body": "{}", "at": NOW}),
            (
                "access_log",
                {
                    "sequence": 1,
                    "at": NOW,
                    "account_id": "ash",
                    "operation": "case.view",
                    "about": "case-1",
                    "detail": "",
                    "digest": "0" * 64,
                },
            ),
        ],
    )
    async def test_what_people_put_on_record_at_the_desk_is_never_changed_or_removed(
        self, url: str, table: str, row: dict[str, object]
    ) -> None:
        async with SqlLedger(url) as ledger:
            await ledger.database.write(
                lambda connection: connection.execute(insert(tables.metadata.tables[table]), row)
            )
            for change in (f"UPDATE {table} SET account_id = 'birch'", f"DELETE FROM {table}"):  # noqa: S608
                with pytest.raises(IntegrityError, match=r"never (changed|deleted|shortened)"):
                    await run(url, change)

    @pytest.mark.parametrize(
        "change",
        [
            "UPDATE decisions SET person_id = 'person-2'",
            "UPDATE decisions SET reviewer_id = 'reviewer-z' WHERE reviewer_id = 'reviewer-a'",
            "UPDATE outbox SET body = '{}'",
            "UPDATE outbox SET type = 'rfr.identification-confirmed.v1'",
        ],
    )
    async def test_what_was_decided_and_promised_is_never_changed(self, url: str, change: str) -> None:
        async with SqlLedger(url) as ledger:
            await ledger.apply(ledger_worker.changes([builders.candidates_ready()]))
            with pytest.raises(IntegrityError, match="never changed"):
                await run(url, change)

    @pytest.mark.parametrize("table", ["decisions", "outbox"])
    async def test_what_was_decided_and_promised_is_never_deleted(self, url: str, table: str) -> None:
        async with SqlLedger(url) as ledger:
            await ledger.apply(ledger_worker.changes([builders.candidates_ready()]))
            with pytest.raises(IntegrityError, match="never deleted"):
                await run(url, f"DELETE FROM {table}")  # noqa: S608 - one of two names
            await ledger.published([out.event.event_id for out in await ledger.unpublished(9)])
            with pytest.raises(IntegrityError, match="never deleted"):
                await run(url, f"DELETE FROM {table}")  # noqa: S608

    async def test_an_outcome_that_was_said_may_be_deleted(self, url: str) -> None:
        async with SqlLedger(url) as ledger:
            await ledger.apply(ledger_worker.changes([builders.candidates_ready()]))
            delete = "DELETE FROM outbox WHERE type NOT LIKE 'rfr.identification-%'"
            with pytest.raises(IntegrityError, match="never deleted"):
                await run(url, delete)
            owed = await ledger.unpublished(9)
            await ledger.published([out.event.event_id for out in owed])
            await run(url, delete)
            await run(url, "UPDATE outbox SET published = false")
            left = [type(out.event) for out in await ledger.unpublished(9)]
        assert len(owed) == 2
        assert left == [IdentificationConfirmed]

    async def test_a_transition_that_promises_an_unearned_lead_is_a_bug_and_stores_nothing(self, url: str) -> None:
        found = builders.candidates_ready()
        unearned = builders.identification_confirmed(found)
        innocent = builders.candidates_ready(builders.submission("other"))

        def confirm_alone(_: Case | None) -> Step:
            case = Case(found.submission.submission_id, CaseState.CONFIRMED, NOW, candidates=found)
            return Step(case, emit=(unearned,))

        async with SqlLedger(url) as ledger:
            with pytest.raises(IntegrityError):
                await ledger.apply(
                    [
                        *ledger_worker.changes([innocent]),
                        Change(found.submission.submission_id, uuid4(), confirm_alone),
                    ]
                )
            assert await ledger.case(found.submission.submission_id) is None
            assert await ledger.case(innocent.submission.submission_id) is None
            assert await ledger.unpublished(10) == []


class TestSharing:
    """Several processes, one database."""

    async def test_the_same_events_to_two_ledgers_at_once_confirm_once(self, url: str) -> None:
        lists = [builders.candidates_ready(builders.submission(str(number))) for number in range(20)]
        by_case = [ledger_worker.changes([found]) for found in lists]
        async with SqlLedger(url) as one, SqlLedger(url) as other:
            shuffle = random.Random(7).shuffle  # noqa: S311 - an order, not a secret
            work = []
            for ledger in (one, other, one, other):
                shuffle(by_case)
                work.append(ledger.apply([change for case in by_case for change in case]))
            results = await asyncio.gather(*work)

            assert all(isinstance(result, Case) for batch in results for result in batch)
            assert await leads(one) == {str(found.submission.submission_id): 1 for found in lists}

    async def test_two_decisions_at_once_on_one_case_are_weighed_one_after_the_other(self, url: str) -> None:
        async with SqlLedger(url) as one, SqlLedger(url) as other:
            for number in range(10):
                found = builders.candidates_ready(builders.submission(str(number)))
                listed, first, second = ledger_worker.changes([found])
                await one.apply([listed])

                await asyncio.gather(one.apply([first]), other.apply([second]))

                case = await one.case(found.submission.submission_id)
                assert case is not None
                assert case.state is CaseState.CONFIRMED
            assert set((await leads(one)).values()) == {1}

    async def test_a_list_and_a_decision_at_once_about_an_unknown_case_lose_neither(self, url: str) -> None:
        async with SqlLedger(url) as one, SqlLedger(url) as other:
            for number in range(10):
                found = builders.candidates_ready(builders.submission(str(number)))
                listed, first, _ = ledger_worker.changes([found])

                await asyncio.gather(one.apply([first]), other.apply([listed]))

                case = await one.case(found.submission.submission_id)
                assert case is not None
                assert case.state is CaseState.AWAITING_SECOND_REVIEW

    async def test_a_reference_that_is_erased_while_it_is_held_anew_stays_erased(self, url: str) -> None:
        references = [builders.reference(f"person-{number}") for number in range(20)]
        ids = [reference.reference_id for reference in references]
        async with SqlLedger(url) as one, SqlLedger(url) as other:
            await asyncio.gather(*(one.hold([r]) for r in references), *(other.erase([id_]) for id_ in ids))

            assert await one.held(ids) == {}
            assert await one.erased(ids) == set(ids)

    async def test_a_reference_that_is_erased_while_a_conflict_of_it_is_reported_has_none(self, url: str) -> None:
        pairs = [(builders.reference(f"person-{n}"), builders.reference(f"other-{n}")) for n in range(20)]
        met = [Conflict.between(one, other, 0.9) for one, other in pairs]
        gone = [pair[number % 2].reference_id for number, pair in enumerate(pairs)]
        async with SqlLedger(url) as one, SqlLedger(url) as other:
            await asyncio.gather(*(one.report([each]) for each in met), *(other.erase([id_]) for id_ in gone))

            assert await one.conflicts() == []

    async def test_several_processes_may_open_a_new_ledger_at_once(self, url: str) -> None:
        workers = [await asyncio.create_subprocess_exec(sys.executable, str(WORKER), url, "0", "2") for _ in range(4)]
        codes = await asyncio.gather(*(worker.wait() for worker in workers))

        assert codes == [0] * 4
        async with SqlLedger(url) as ledger:
            assert list((await leads(ledger)).values()) == [1] * 2 * ledger_worker.BATCH


class TestDurability:
    async def test_a_ledger_opened_again_knows_everything(self, url: str) -> None:
        found = builders.candidates_ready()
        async with SqlLedger(url) as ledger:
            await ledger.apply(ledger_worker.changes([found]))
            kept, promised = await ledger.case(found.submission.submission_id), await ledger.unpublished(10)

        async with SqlLedger(url) as ledger:
            assert await ledger.case(found.submission.submission_id) == kept
            assert await ledger.unpublished(10) == promised

    async def test_what_was_erased_is_gone_from_the_file_too(self, tmp_path: Path) -> None:
        path, reference = tmp_path / "ledger.db", builders.reference("person-to-be-forgotten")
        async with SqlLedger(f"sqlite:///{path}") as ledger:
            await ledger.hold([reference, builders.reference("person-to-be-kept")])
            await ledger.erase([reference.reference_id])

        kept = _bytes_of(tmp_path)
        assert b"person-to-be-kept" in kept
        assert b"person-to-be-forgotten" not in kept

    async def test_kill_9_loses_nothing_that_was_acknowledged_and_halves_nothing(self, url: str) -> None:
        chance = random.Random(3)  # noqa: S311 - moments, not secrets
        first = 0
        for _ in range(4):
            last = await asyncio.to_thread(_killed_worker, url, first, chance)
            async with SqlLedger(url) as ledger:
                promised = await leads(ledger)
                cases = await ledger.cases(list(CaseState), limit=100_000)
            for number in range(last + 1):
                for found in ledger_worker.batch(number):
                    assert promised.pop(str(found.submission.submission_id)) == 1
            on_its_way = {str(found.submission.submission_id): 1 for found in ledger_worker.batch(last + 1)}
            assert promised in ({}, on_its_way), "a batch is whole or absent"
            assert len(cases) == (last + 1) * ledger_worker.BATCH + len(promised)
            first = last  # what was acknowledged last comes again, as after an uncommitted offset

    async def test_the_tables_in_code_are_those_that_the_migrations_make(self, url: str) -> None:
        def differences(connection: Connection) -> list[object]:
            return list(compare_metadata(MigrationContext.configure(connection), tables.metadata))

        async with SqlLedger(url):
            engine = raw(url)
            async with engine.connect() as connection:
                found = await connection.run_sync(differences)
            await engine.dispose()
        assert found == []


def _bytes_of(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.iterdir())


def _killed_worker(url: str, first: int, chance: random.Random) -> int:
    """Start a worker, kill it somewhere in its work; return the number of the last batch it had acknowledged."""
    command = [sys.executable, str(WORKER), url, str(first), "100000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        acknowledged = [worker.stdout.readline() for _ in range(chance.randint(2, 8))]
        time.sleep(chance.uniform(0, 0.02))
        worker.kill()
        acknowledged += worker.stdout.readlines()
    return int([line for line in acknowledged if line.endswith("\n")][-1])


class TestAway:
    """A database that cannot be reached is `Unavailable`; one that comes back is used again."""

    async def test_a_server_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(Unavailable):
            async with SqlLedger(f"postgresql+asyncpg://rfr@/rfr?host={tmp_path}"):
                pass

    async def test_a_server_that_has_no_room(self, postgresql_server: PostgreSql) -> None:
        url = postgresql_server.fresh()
        role = f"ALTER ROLE {make_url(url).username} CONNECTION LIMIT"
        postgresql_server.execute(f"{role} 0")
        with pytest.raises(Unavailable):
            async with SqlLedger(url):
                pass

        postgresql_server.execute(f"{role} 5")
        async with SqlLedger(url) as ledger:
            assert await ledger.reviewer("reviewer-a") is None

    async def test_a_server_that_lets_nobody_in_is_a_mistake_not_an_outage(self, postgresql_server: PostgreSql) -> None:
        stranger = make_url(postgresql_server.fresh()).set(username="nobody")
        with pytest.raises(Exception, match="nobody") as caught:
            async with SqlLedger(stranger.render_as_string()):
                pass
        assert not isinstance(caught.value, Unavailable)

    async def test_a_file_that_another_process_holds(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 'ledger.db'}"
        async with SqlLedger(url, busy_timeout_ms=20) as ledger:
            engine = raw(url)
            async with engine.connect() as holder:
                await holder.exec_driver_sql("BEGIN EXCLUSIVE")
                with pytest.raises(Unavailable, match="OperationalError"):
                    await ledger.register(builders.reviewer())
                await holder.exec_driver_sql("ROLLBACK")
            await engine.dispose()
            await ledger.register(builders.reviewer())

    async def test_a_path_that_cannot_be_opened(self, tmp_path: Path) -> None:
        (tmp_path / "ledger.db").mkdir()
        with pytest.raises(Unavailable):
            async with SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}"):
                pass
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("rfr-ledger")]

    @pytest.mark.parametrize("url", ["postgresql"], indirect=True)
    async def test_connections_that_the_server_cut_are_made_anew(self, url: str) -> None:
        async with SqlLedger(url) as ledger:
            await ledger.register(builders.reviewer())
            await run(url, CUT)
            assert await ledger.reviewer("reviewer-a") == builders.reviewer()

    @pytest.mark.parametrize("url", ["postgresql"], indirect=True)
    async def test_a_connection_cut_in_the_middle_of_a_batch_is_tried_again_and_applies_once(self, url: str) -> None:
        found = builders.candidates_ready()
        *most, last = ledger_worker.changes([found])
        tries = 0

        def cut_once(case: Case | None) -> Step:
            nonlocal tries
            tries += 1
            if tries == 1:
                _at_once(run(url, CUT))
            return last.transition(case)

        async with SqlLedger(url) as ledger:
            results = await ledger.apply([*most, replace(last, transition=cut_once)])

            assert tries == 2
            assert isinstance(results[-1], Case)
            assert results[-1].state is CaseState.CONFIRMED
            assert await leads(ledger) == {str(found.submission.submission_id): 1}

    @pytest.mark.parametrize("url", ["postgresql"], indirect=True)
    async def test_whoever_loses_the_server_loses_the_turn(self, url: str) -> None:
        async with SqlLedger(url) as one, SqlLedger(url) as other:
            turn = await one.take_turn()
            assert turn is not None
            async with turn:
                assert await other.take_turn() is None
                await run(url, CUT)
                assert not await turn.holds()
                others = await other.take_turn()
                assert others is not None
                async with others:
                    assert await others.holds()

    async def test_two_processes_never_have_the_turn_together(self, url: str) -> None:
        async with SqlLedger(url) as one, SqlLedger(url) as other:
            for has, lacks in ((one, other), (other, one)):
                turn = await has.take_turn()
                assert turn is not None
                async with turn:
                    assert await lacks.take_turn() is None

    async def test_a_statement_that_is_wrong_is_a_bug_not_an_outage(self, url: str) -> None:
        async with SqlLedger(url) as ledger:
            await run(url, "DROP TABLE reviewers")
            with pytest.raises(Exception, match="reviewers") as caught:
                await ledger.reviewer("reviewer-a")
        assert not isinstance(caught.value, Unavailable)

    async def test_a_ledger_that_is_not_open_says_so(self, url: str) -> None:
        with pytest.raises(RuntimeError, match="async with"):
            await SqlLedger(url).case(uuid4())


async def test_no_model_is_changed_past_an_enrolment_that_is_being_written(postgresql_server: PostgreSql) -> None:
    url = postgresql_server.fresh()
    old, new = (Served(name, builders.identity(name), 0.5, NOW) for name in ("old", "new"))
    row = records.reference_row(builders.reference("person-1"))
    engine = create_async_engine(url, poolclass=NullPool)
    async with SqlLedger(url) as ledger, engine.connect() as enrolling:
        seen = await ledger.extent()
        await enrolling.execute(insert(tables.held_references), row)
        switching = asyncio.create_task(ledger.serve(new, old, seen=seen))
        done, _ = await asyncio.wait([switching], timeout=0.5)
        assert not done, "it must wait to know who is held"
        await enrolling.commit()
        assert not await switching
    await engine.dispose()
