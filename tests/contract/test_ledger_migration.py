"""A ledger of the first version becomes one of the second: nothing is lost, and every guard stands."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import builders
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from builders import LATER, NOW
from sqlalchemy import Connection, Uuid, bindparam, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from rfr_stream import review
from rfr_stream.adapters.ledger import SqlLedger, migrations, tables
from rfr_stream.events import CandidatesReady, Event, Outcome, Purpose, ReviewDecided, Submission, Support
from rfr_stream.policy import urgency
from rfr_stream.ports import Case, CaseState, Change, Outgoing

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATER_FIELDS: Final = {
    *("harm", "masks", "passkey", "features", "examination", "reason"),
    *("regime", "provenance", "age_at_capture", "found", "renewal"),
}
"""What the events of the first version did not have, beside a decision's version."""


HELD_THEN: Final = (
    *("reference_id", "person_id", "legal_basis", "source", "captured_at", "review_due", "restricted", "recorded_at"),
)
"""What of a reference was kept then as it is."""


def found(name: str, **fields: Any) -> CandidatesReady:  # noqa: ANN401 - any field of a submission
    return builders.candidates_ready(builders.submission(name, **fields))


def old(about: CandidatesReady, by: str, support: Support = Support.STRONG_SAME) -> ReviewDecided:
    """Return a decision as it was signed then."""
    return builders.decision(about, by=by, support=support, features=(), examination=None)


CONFIRMED, WAITING = found("confirmed"), found("waiting", purpose=Purpose.MISSING, submitted_by="officer-2")
VICTIM = found("victim", purpose=Purpose.VICTIM, authoriser="chief-1", necessity="the only lead")
EARLY, CROWD = found("early"), found("crowd")
CASES: Final = [
    Case(
        CONFIRMED.submission.submission_id,
        CaseState.CONFIRMED,
        NOW,
        candidates=CONFIRMED,
        case_ref=CONFIRMED.submission.case_ref,
        decisions=(old(CONFIRMED, "reviewer-a"), old(CONFIRMED, "reviewer-b")),
        outcome=Outcome.CONFIRMED,
    ),
    Case(
        WAITING.submission.submission_id,
        CaseState.AWAITING_SECOND_REVIEW,
        LATER,
        candidates=WAITING,
        case_ref=WAITING.submission.case_ref,
        decisions=(old(WAITING, "reviewer-b"),),
    ),
    Case(
        VICTIM.submission.submission_id,
        CaseState.AWAITING_REVIEW,
        LATER,
        candidates=VICTIM,
        case_ref=VICTIM.submission.case_ref,
    ),
    Case(EARLY.submission.submission_id, CaseState.AWAITING_CANDIDATES, NOW, parked=(old(EARLY, "reviewer-c"),)),
    Case(
        CROWD.submission.submission_id,
        CaseState.AWAITING_SUBJECT,
        NOW,
        outcome=Outcome.SUBJECT_SELECTION_REQUIRED,
        demo=True,
    ),
]
OWED: Final[Sequence[Event]] = [
    builders.identification_confirmed(CONFIRMED),
    builders.closed(Outcome.CONFIRMED, submission_id=CONFIRMED.submission.submission_id),
]
REVIEWER: Final = builders.reviewer("reviewer-a")
REFERENCE: Final = builders.reference()
ERASED: Final = uuid4()


# --- a ledger of the first version ----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Database:
    """One database, behind the ledger's back."""

    url: str

    async def run(self, work: Any) -> Any:  # noqa: ANN401 - whatever it returns
        engine = create_async_engine(self.url.replace("sqlite:", "sqlite+aiosqlite:"), poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(work)
        finally:
            await engine.dispose()

    async def rows(self, statement: str) -> Sequence[Any]:
        found: Sequence[Any] = await self.run(lambda connection: connection.execute(text(statement)).all())
        return found

    async def do(self, statement: str) -> None:
        await self.run(lambda connection: connection.execute(text(statement)))


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        made = Database(f"sqlite:///{tmp_path / 'ledger.db'}")
    else:
        made = Database(request.getfixturevalue("postgresql_server").fresh())
    await made.run(_first_version)
    return made


def _first_version(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    command.upgrade(config, "0001")
    for case in CASES:
        _insert(connection, "cases", _case_row(case))
        for ordinal, decision in enumerate(case.decisions):
            body = {"ordinal": ordinal, "person_id": decision.person_id, "body": _as_then(decision)}
            about = {"submission_id": case.submission_id, "reviewer_id": decision.reviewer_id}
            _insert(connection, "decisions", about | body)
            _insert(connection, "inbox", {"event_id": decision.event_id, "submission_id": case.submission_id})
    for event in OWED:
        row = {"event_id": event.event_id, "submission_id": CONFIRMED.submission.submission_id, "type": event.ce_type}
        _insert(connection, "outbox", row | {"body": _as_then(event)})
    _insert(connection, "erased_references", {"reference_id": ERASED})
    person = {"reviewer_id": REVIEWER.reviewer_id, "public_key": REVIEWER.public_key}
    _insert(connection, "reviewers", person | {"competent_until": REVIEWER.competent_until})
    held = {name: getattr(REFERENCE, name) for name in HELD_THEN}
    image = REFERENCE.image.model_dump_json()
    _insert(connection, "held_references", held | {"image": image, "gallery": REFERENCE.gallery.value})


def _case_row(case: Case) -> dict[str, object]:
    return {
        "submission_id": case.submission_id,
        "state": case.state.value,
        "opened_at": case.opened_at,
        "outcome": case.outcome.value if case.outcome else None,
        "demo": case.demo,
        "candidates": _as_then(case.candidates) if case.candidates else None,
        "parked": f"[{','.join(map(_as_then, case.parked))}]",
    }


def _insert(connection: Connection, table: str, row: Mapping[str, object]) -> None:
    names = [bindparam(name, type_=Uuid()) for name, value in row.items() if isinstance(value, UUID)]
    values = ", ".join(f":{name}" for name in row)
    statement = text(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})")  # noqa: S608 - this file's own names
    connection.execute(statement.bindparams(*names), {name: _stored(value) for name, value in row.items()})


def _stored(value: object) -> object:
    """Return a moment as the ledger keeps it."""
    return round((value - EPOCH).total_seconds() * 1e6) if isinstance(value, datetime) else value


def _as_then(event: Event) -> str:
    def stripped(value: Any) -> Any:  # noqa: ANN401 - any JSON
        if isinstance(value, dict):
            known = {
                key: part for key, part in value.items() if key not in LATER_FIELDS and (key, part) != ("version", 1)
            }
            return {key: stripped(part) for key, part in known.items()}
        return [stripped(part) for part in value] if isinstance(value, list) else value

    return json.dumps(stripped(json.loads(event.model_dump_json())))


# --- nothing is lost ------------------------------------------------------------------------------------------------
async def test_every_case_and_decision_is_there_as_it_was(database: Database) -> None:
    async with SqlLedger(database.url) as ledger:
        for case in CASES:
            assert await ledger.case(case.submission_id) == case
        assert sorted(await ledger.cases(list(CaseState)), key=lambda case: case.submission_id) == sorted(
            CASES, key=lambda case: case.submission_id
        )


async def test_what_was_promised_is_still_promised_and_who_is_registered_still_is(database: Database) -> None:
    async with SqlLedger(database.url) as ledger:
        assert await ledger.unpublished(10) == [Outgoing(event) for event in OWED]
        assert await ledger.reviewer("reviewer-a") == REVIEWER
        assert await ledger.held([REFERENCE.reference_id]) == {REFERENCE.reference_id: REFERENCE}
        assert await ledger.erased([ERASED]) == {ERASED}


async def test_what_comes_again_is_known_and_the_second_reviewer_is_heard(database: Database) -> None:
    """A decision that was signed then is the same event now."""
    again, second = old(WAITING, "reviewer-b"), builders.decision(WAITING, by="reviewer-a")

    async with SqlLedger(database.url) as ledger:
        results = await ledger.apply([_decides(again), _decides(second)])
        promised = [owed.event for owed in await ledger.unpublished(10)][len(OWED) :]

    assert results[0] == CASES[1]
    assert isinstance(results[1], Case)
    assert results[1].state is CaseState.CONFIRMED
    assert [event.ce_type for event in promised] == ["rfr.identification-confirmed.v1", "rfr.submission-closed.v1"]


def _decides(decision: ReviewDecided) -> Change:
    reviewer = builders.reviewer(decision.reviewer_id)
    return Change(decision.submission_id, decision.event_id, review.decided(decision, reviewer, LATER))


async def test_the_queue_knows_of_old_cases_what_it_knows_of_new_ones(database: Database) -> None:
    async with SqlLedger(database.url) as ledger:
        await ledger.apply([])
    rows = await database.rows(
        "SELECT state, urgency, source, purpose, submitted_by FROM cases ORDER BY opened_at, state"
    )

    def known(submission: Submission) -> tuple[object, ...]:
        return urgency(submission), submission.source, submission.purpose, submission.submitted_by

    assert [tuple(row) for row in rows] == [
        (CaseState.AWAITING_CANDIDATES, None, None, None, None),
        (CaseState.AWAITING_SUBJECT, None, None, None, None),
        (CaseState.CONFIRMED, *known(CONFIRMED.submission)),
        (CaseState.AWAITING_REVIEW, *known(VICTIM.submission)),
        (CaseState.AWAITING_SECOND_REVIEW, *known(WAITING.submission)),
    ]
    assert {row.urgency for row in rows} == {None, 2, 3, 4}


async def test_an_old_reviewer_can_be_certified_anew(database: Database) -> None:
    renewed = replace(REVIEWER, competent_until=LATER, recorded_at=NOW)

    async with SqlLedger(database.url) as ledger:
        await ledger.register(renewed)
        assert await ledger.reviewer("reviewer-a") == renewed


async def test_the_tables_are_those_of_a_new_ledger_and_nothing_is_left_behind(database: Database) -> None:
    async with SqlLedger(database.url):
        pass

    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), tables.metadata))

    assert await database.run(differences) == []


async def test_a_ledger_is_upgraded_once_however_often_it_is_opened(database: Database) -> None:
    for _ in range(2):
        async with SqlLedger(database.url) as ledger:
            assert await ledger.case(CASES[0].submission_id) == CASES[0]
    head = ScriptDirectory(str(Path(migrations.__file__).parent)).get_current_head()
    assert await database.rows("SELECT version_num FROM alembic_version") == [(head,)]


# --- every guard stands ---------------------------------------------------------------------------------------------
PROMISE: Final = (
    "INSERT INTO outbox (event_id, submission_id, type, body) "
    "SELECT submission_id, submission_id, 'rfr.identification-confirmed.v1', "
    '\'{"person_id": "person-1"}\' FROM cases WHERE state = '
)


@pytest.mark.parametrize(
    ("forbidden", "why"),
    [
        (PROMISE + "'awaiting_second_review'", "two reviewers"),
        ("UPDATE decisions SET person_id = 'person-2'", "never changed"),
        ("DELETE FROM decisions", "never deleted"),
        ("UPDATE outbox SET body = '{}'", "never changed"),
        ("DELETE FROM outbox", "never deleted"),
    ],
)
async def test_what_was_forbidden_stays_forbidden(database: Database, forbidden: str, why: str) -> None:
    async with SqlLedger(database.url):
        pass
    with pytest.raises(IntegrityError, match=why):
        await database.do(forbidden)


async def test_what_was_confirmed_by_two_then_still_passes(database: Database) -> None:
    async with SqlLedger(database.url):
        pass
    await database.do(PROMISE + "'confirmed'")


async def test_a_second_word_takes_it_from_what_was_confirmed_then(database: Database) -> None:
    async with SqlLedger(database.url) as ledger:
        first = old(CONFIRMED, "reviewer-b")
        await ledger.apply([_decides(builders.amended(first, CONFIRMED, support=Support.INCONCLUSIVE))])
    await database.do("UPDATE cases SET state = 'confirmed' WHERE state = 'withdrawn'")
    with pytest.raises(IntegrityError, match="two reviewers"):
        await database.do(PROMISE + "'confirmed'")
