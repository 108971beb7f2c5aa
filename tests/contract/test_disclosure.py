"""What a ledger discloses, on both databases: all of it, the same bytes each time, never without a line in the log."""

import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Final

import builders
import dossier
import pytest
from builders import LATER, NOW
from postgresql import PostgreSql
from sqlalchemy import Connection, text

from rfr_stream import disclosure, review
from rfr_stream.adapters import bundles
from rfr_stream.adapters.desk import SqlDesk
from rfr_stream.adapters.keys import KeyVerifier
from rfr_stream.adapters.ledger import SqlLedger, tables
from rfr_stream.desk import Operation
from rfr_stream.disclosure import STILL_OPEN, Disclosure, Search
from rfr_stream.errors import NotPermitted
from rfr_stream.events import Outcome
from rfr_stream.ports import CaseState, Seed

HOUSE: Final = builders.private_key("the house")
ASKED: Final = bundles.Asked(about=dossier.CASE, to="cps-unit-4", reason="disclosure to the defence", by="auditor-1")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    created: str = request.getfixturevalue("postgresql_server").fresh()
    return created


@pytest.fixture
async def ledger(url: str) -> AsyncIterator[SqlLedger]:
    async with SqlLedger(url) as opened:
        await dossier.fill(opened)
        yield opened


async def about(ledger: SqlLedger, what: str = dossier.CASE, *, log_until: int | None = None) -> Disclosure:
    found = await SqlDesk(ledger).records.about(what, desk_url=dossier.DESK_URL, log_until=log_until)
    assert found is not None
    return found


async def said(ledger: SqlLedger, *, log_until: int | None = None) -> bytes:
    """Return the document; paper and seal follow from it alone."""
    return disclosure.write(await about(ledger, log_until=log_until))


async def bundle(ledger: SqlLedger, **fields: object) -> bytes:
    asked = ASKED.model_copy(update=fields)
    return await bundles.bundle(asked, desk=SqlDesk(ledger), key=HOUSE, desk_url=dossier.DESK_URL, now=LATER)


def ended(found: Disclosure, outcome: Outcome) -> Search:
    """Return the search that ended so."""
    (search,) = [each for each in found.searches if each.case.outcome is outcome]
    return search


# --- all of it ------------------------------------------------------------------------------------------------------
async def test_every_search_of_the_case_is_in_it_and_holds_together(ledger: SqlLedger) -> None:
    found = await about(ledger)

    outcomes = {search.case.outcome for search in found.searches}
    assert outcomes == {Outcome.WITHDRAWN, Outcome.NO_CANDIDATES, Outcome.EXPIRED, Outcome.NO_FACE}
    assert list(disclosure.faults(found, KeyVerifier(dossier.DESK_URL))) == []


async def test_a_blank_search_is_in_it_with_all_that_the_machine_did(ledger: SqlLedger) -> None:
    blank = ended(await about(ledger), Outcome.NO_CANDIDATES)

    assert blank.case.candidates == dossier.BLANK
    assert [told.event.outcome for told in blank.told if isinstance(told.event, type(builders.closed()))] == [
        Outcome.NO_CANDIDATES
    ]


async def test_a_lead_is_in_it_with_everybodys_part(ledger: SqlLedger) -> None:
    lead = ended(await about(ledger), Outcome.WITHDRAWN)

    assert [decision.reviewer_id for decision in lead.case.decisions] == ["reviewer-a", "reviewer-b"]
    assert [each.reviewer_id for each in lead.analyses] == ["reviewer-a", "reviewer-b"]
    assert lead.analyses[0].analysis == dossier.analysis()
    assert {each.reviewer_id: sorted(each.order) for each in lead.shown} == {
        by: ["person-1", "person-2", "person-3"] for by in dossier.REVIEWERS
    }
    assert lead.shown[0].examined.looks[1].zoomed
    assert [each.examined.draft for each in lead.shown] == [None, None]  # what counted stands among the decisions
    assert lead.case.withdrawal == builders.withdrawal(dossier.LEAD.submission)
    assert [alert.account_id for alert in lead.alerts] == ["reviewer-b"]


async def test_who_was_told_and_who_has_it_is_in_it(ledger: SqlLedger) -> None:
    lead = ended(await about(ledger), Outcome.WITHDRAWN)

    types = [told.type.removeprefix("rfr.").removesuffix(".v1") for told in lead.told]
    assert types == ["identification-confirmed", "submission-closed", "identification-withdrawn", "submission-closed"]
    assert all(told.published and told.published_at for told in lead.told)
    assert {each.acknowledged for each in lead.acknowledged} == {lead.told[0].event_id, lead.told[2].event_id}


async def test_what_was_given_up_is_in_it_with_the_draft_that_nobody_signed(ledger: SqlLedger) -> None:
    abandoned = ended(await about(ledger), Outcome.EXPIRED)

    (shown,) = abandoned.shown
    assert shown.examined.draft is not None
    assert (shown.examined.sent_at, abandoned.case.decisions) == (None, ())


async def test_what_ended_before_a_search_is_in_it_with_the_decision_that_came_too_early(ledger: SqlLedger) -> None:
    early = ended(await about(ledger), Outcome.NO_FACE)

    assert (early.case.submission_id, early.case.candidates) == (dossier.NO_FACE, None)
    assert [(told.refusal, told.event.ce_type) for told in early.told] == [("not_permitted", "rfr.review-decided.v1")]


async def test_the_log_is_quoted_where_it_is_about_the_case(ledger: SqlLedger) -> None:
    log = SqlDesk(ledger).log
    await log.write("reviewer-c", Operation.CONSULTATION, "some-other-case", "case taken up", NOW)
    await log.write("auditor-1", Operation.CONSULTATION, dossier.CASE, "record looked at", NOW)

    quoted = (await about(ledger)).log

    assert [line.entry.sequence for line in quoted] == [1, 2, 3, 4, 5, 6, 8]
    assert quoted[0].before == "0" * 64
    assert quoted[1].before == quoted[0].entry.digest


async def test_known_answers_belong_to_no_case(ledger: SqlLedger) -> None:
    known = dossier.found("known-answer").submission.submission_id

    assert known not in {search.case.submission_id for search in (await about(ledger)).searches}
    assert await SqlDesk(ledger).records.about(str(known), desk_url=dossier.DESK_URL) is None


async def test_a_known_answer_that_has_no_list_yet_is_none_either(ledger: SqlLedger) -> None:
    crowd = dossier.submission("known-crowd")
    await ledger.plant([Seed(builders.image_submitted(crowd), None)])
    asked = builders.subject_unclear(crowd)
    await dossier.apply(ledger, asked, review.subject_unclear(asked, NOW))

    assert crowd.submission_id not in {search.case.submission_id for search in (await about(ledger)).searches}


async def test_other_cases_are_not_in_it(ledger: SqlLedger) -> None:
    await dossier.lead(ledger, dossier.found("elsewhere", "CR/2026/009000"))

    assert {search.case.case_ref for search in (await about(ledger)).searches} == {dossier.CASE}


async def test_one_submission_can_be_disclosed_alone(ledger: SqlLedger) -> None:
    found = await about(ledger, str(dossier.BLANK.submission.submission_id))

    assert [search.case.candidates for search in found.searches] == [dossier.BLANK]
    assert not found.is_of_case


async def test_a_case_that_is_open_says_so(ledger: SqlLedger) -> None:
    waiting = dossier.found("waiting", "CR/2026/009000")
    await dossier.apply(ledger, waiting, review.candidates_ready(waiting, NOW))

    found = await about(ledger, "CR/2026/009000")

    assert found.searches[0].case.state is CaseState.AWAITING_REVIEW
    assert STILL_OPEN in found.limits


# --- the same bytes -------------------------------------------------------------------------------------------------
async def test_the_same_record_makes_the_same_bundle_again_and_again(ledger: SqlLedger) -> None:
    first = await bundle(ledger)

    assert await bundle(ledger, to="somebody-else", reason="asked again", by="auditor-2") == first


async def test_other_cases_in_between_change_nothing(ledger: SqlLedger) -> None:
    first = await said(ledger)
    await dossier.lead(ledger, dossier.found("elsewhere", "CR/2026/009000"))
    await SqlDesk(ledger).log.write("reviewer-c", Operation.SESSION, "reviewer-c", "signed in", LATER)

    assert await said(ledger) == first


async def test_somebody_who_looked_since_can_be_left_out(ledger: SqlLedger) -> None:
    first = await about(ledger)
    about_lead = str(dossier.LEAD.submission.submission_id)
    await SqlDesk(ledger).log.write("auditor-1", Operation.CONSULTATION, about_lead, "record looked at", LATER)

    assert await said(ledger) != disclosure.write(first)
    assert await said(ledger, log_until=first.log_until) == disclosure.write(first)


async def test_more_about_the_case_is_another_bundle(ledger: SqlLedger) -> None:
    first, late = await said(ledger), dossier.found("late", people=())
    await dossier.apply(ledger, late, review.candidates_ready(late, LATER))

    assert await said(ledger) != first


async def test_a_restored_copy_makes_the_same_bundle(
    ledger: SqlLedger, url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    first = await bundle(ledger)
    copy = await _restored(ledger, url, request, tmp_path)

    async with SqlLedger(copy) as restored:
        assert await bundle(restored) == first


async def _restored(ledger: SqlLedger, url: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """Return where a copy of the database is, its rows in another order where the database lets them be."""
    if "sqlite" in url:
        await ledger.database.close()
        shutil.copy(folder / "ledger.db", folder / "restored.db")
        await ledger.database.open()
        return f"sqlite:///{folder / 'restored.db'}"
    server: PostgreSql = request.getfixturevalue("postgresql_server")
    copy = server.fresh()
    async with SqlLedger(copy):
        pass  # its tables
    was, now = (address.removeprefix("postgresql+asyncpg://").split("@")[0] for address in (url, copy))
    rows = "; ".join(
        f"INSERT INTO {now}.{name} SELECT * FROM {was}.{name} ORDER BY 1 DESC"  # noqa: S608 - names of tables
        for name in tables.metadata.tables
    )
    server.execute(f"SET session_replication_role = replica; {rows}")
    return copy


# --- the log --------------------------------------------------------------------------------------------------------
async def test_who_gets_it_and_why_is_logged(ledger: SqlLedger) -> None:
    data = await bundle(ledger)

    line = (await SqlDesk(ledger).log.about(dossier.CASE))[-1]
    assert (line.operation, line.account_id, line.at) == (Operation.DISCLOSURE, "auditor-1", LATER)
    assert line.detail == f"bundle {bundles._digest(data)} to cps-unit-4: disclosure to the defence"  # noqa: SLF001
    assert await SqlDesk(ledger).log.first_break() is None


async def test_what_cannot_be_logged_is_not_disclosed(ledger: SqlLedger, url: str) -> None:
    def refuse(connection: Connection) -> None:
        if "sqlite" in url:
            connection.execute(
                text("CREATE TRIGGER full BEFORE INSERT ON access_log BEGIN SELECT RAISE(ABORT, 'no room'); END")
            )
        else:
            connection.execute(text("ALTER TABLE access_log ADD CONSTRAINT no_room CHECK (sequence < 1) NOT VALID"))

    await ledger.database.write(refuse)

    with pytest.raises(Exception, match=r"no.room"):
        await bundle(ledger)


@pytest.mark.parametrize("nothing", ["CR/2026/000000", "00000000-0000-0000-0000-000000000000"])
async def test_of_what_is_not_on_record_nothing_is_disclosed_or_logged(ledger: SqlLedger, nothing: str) -> None:
    with pytest.raises(NotPermitted, match="nothing is on record"):
        await bundle(ledger, about=nothing)
    assert await SqlDesk(ledger).log.about(nothing) == []


async def test_a_lead_that_is_reminded_of_was_published_all_the_same(ledger: SqlLedger) -> None:
    before = ended(await about(ledger), Outcome.WITHDRAWN).told[2]
    await ledger.acknowledge([builders.acknowledged(before.event, subscriber="late-system")])
    lead = ended(await about(ledger), Outcome.WITHDRAWN).told[0]
    await ledger.acknowledge([builders.acknowledged(lead.event, subscriber="absent-system")])
    assert before.published_at is not None
    assert await ledger.remind(before.published_at + timedelta(days=1)) == 1

    assert ended(await about(ledger), Outcome.WITHDRAWN).told[2] == before
