"""A lead that is withdrawn: every subscriber hears of it, and one that was away hears of it until it says so.

The whole way: signed orders and decisions on a real broker, the review stage in a process of its own, the reference
subscriber in three, and the supervisor's own commands.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Final, Protocol

import builders
import pytest
import pytest_asyncio
from chain import Chain, Talk, running
from recall import given_out, reviewing, withdrawals_of

from rfr_stream.__main__ import main
from rfr_stream.adapters import keys, opening
from rfr_stream.adapters.desk import SqlDesk
from rfr_stream.commands._context import CONSOLE
from rfr_stream.desk import Lead, LeadFilter
from rfr_stream.events import CandidatesReady
from rfr_stream.settings import ReviewSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

CASE_SYSTEM: Final = Path(__file__).parents[2] / "examples" / "case_system.py"
REMIND_AFTER_S: Final = 1.5
REVIEW: Final = ReviewSettings(sweep_every_s=0.2, remind_after_hours=REMIND_AFTER_S / 3600)
SUPERVISOR: Final = "supervisor-1"
KEY_WORDS: Final = "correct horse"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with running(tmp_path_factory.mktemp("recall"), review=REVIEW) as (chain, _), reviewing(chain):
        yield chain


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(chain: Chain) -> AsyncIterator[Talk]:
    async with chain.talking() as talk:
        await talk.register_reviewers()
        await talk.ledger.register(builders.supervisor(competent_until=datetime.now(UTC) + timedelta(days=1)))
        yield talk


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(chain: Chain) -> AsyncIterator[SqlDesk]:
    async with opening.ledger(chain.settings) as ledger:
        yield opening.desk(ledger)


@contextlib.contextmanager
def subscribing(chain: Chain, folder: Path, name: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A case system's process; killed in the end, as a power cut would."""
    servers = chain.settings.kafka.bootstrap_servers or ""
    command = [sys.executable, str(CASE_SYSTEM), "--bootstrap-servers", servers, "--database", f"{folder / name}.db"]
    with subprocess.Popen([*command, "--group", name, "--subscriber", name], stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


# --- what the desk sees ---------------------------------------------------------------------------------------------
async def lead_of(desk: SqlDesk, found: CandidatesReady) -> Lead:
    only = LeadFilter(submissions=frozenset({found.submission.submission_id}))
    (lead,) = await desk.leads.find(datetime.now(UTC), only=only)
    return lead


def have_acknowledged(lead: Lead) -> list[str]:
    return [each.subscriber for each in lead.recipients if each.has_lead_since]


async def told(desk: SqlDesk, found: CandidatesReady, *names: str) -> None:
    """Wait until exactly these have acknowledged a lead."""
    async with asyncio.timeout(120):
        while have_acknowledged(await lead_of(desk, found)) != list(names):  # noqa: ASYNC110 - a database tells nobody
            await asyncio.sleep(0.1)


async def lacking(desk: SqlDesk, found: CandidatesReady, *names: str) -> Lead:
    """Wait until a lead is withdrawn, and exactly these have not acknowledged that."""
    async with asyncio.timeout(120):
        while (lead := await lead_of(desk, found)).withdrawal is None or lead.outstanding != names:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    return lead


async def nothing_more_is_said(talk: Talk, found: CandidatesReady) -> None:
    """Let a reminder go that was promised before the last acknowledgement came; then none may follow."""
    await asyncio.sleep(2 * REMIND_AFTER_S)
    before = len(withdrawals_of(talk, found))
    await asyncio.sleep(3 * REMIND_AFTER_S)
    assert len(withdrawals_of(talk, found)) == before


# --- recall ---------------------------------------------------------------------------------------------------------
async def test_a_subscriber_that_was_away_when_a_lead_was_withdrawn_is_told_until_it_says_that_it_knows(
    chain: Chain, talk: Talk, desk: SqlDesk, tmp_path: Path
) -> None:
    names = ("recall-a", "recall-b", "recall-c")
    for name in names[:2]:  # the third is known by what it acknowledges alone
        await talk.ledger.subscribe(name, datetime.now(UTC))
    with contextlib.ExitStack() as stack:
        systems = {name: stack.enter_context(subscribing(chain, tmp_path, name)) for name in names}
        found = await given_out(talk)
        await told(desk, found, *names)

        systems["recall-c"].kill()
        await talk.say(builders.withdrawal(found.submission))
        lead = await lacking(desk, found, "recall-c")
        assert lead.withdrawal
        assert lead.withdrawal.withdrawn_by == SUPERVISOR
        assert await desk.leads.find(datetime.now(UTC), only=LeadFilter(outstanding=True)) == [lead]
        await talk.ear.until(lambda: len(withdrawals_of(talk, found)) >= 3)

        stack.enter_context(subscribing(chain, tmp_path, "recall-c"))
        await lacking(desk, found)
        assert await desk.leads.find(datetime.now(UTC), only=LeadFilter(outstanding=True)) == []
        await nothing_more_is_said(talk, found)
    assert len(set(withdrawals_of(talk, found))) == 1


async def test_a_registered_subscriber_that_never_said_a_word_is_told_again_too(talk: Talk, desk: SqlDesk) -> None:
    await talk.ledger.subscribe("silent", datetime.now(UTC))
    found = await given_out(talk)
    await talk.say(builders.withdrawal(found.submission))
    await lacking(desk, found, "recall-a", "recall-b", "silent")

    await acknowledged_by(talk, found, "recall-a", "recall-b")
    await lacking(desk, found, "silent")
    before = len(withdrawals_of(talk, found))
    await talk.ear.until(lambda: len(withdrawals_of(talk, found)) >= before + 2)

    await acknowledged_by(talk, found, "silent")
    await lacking(desk, found)
    await nothing_more_is_said(talk, found)


async def acknowledged_by(talk: Talk, found: CandidatesReady, *names: str) -> None:
    withdrawal = builders.identification_withdrawn(found.submission)
    await talk.say(*(builders.acknowledged(withdrawal, subscriber=name) for name in names))


# --- the supervisor's commands --------------------------------------------------------------------------------------
class Rfr(Protocol):
    """`rfr`, in this process: that saves its imports."""

    async def __call__(self, *arguments: str | Path, status: int = 0) -> str: ...


@pytest.fixture
def rfr(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> Rfr:
    """Run a command as whoever sits at this house's terminal, and return what it said."""
    monkeypatch.setattr(CONSOLE, "_width", 400)  # so that no cell is broken
    house = ["--data-dir", chain.settings.data_dir, "--bootstrap-servers", chain.settings.kafka.bootstrap_servers]

    async def run(*arguments: str | Path, status: int = 0) -> str:
        with StringIO() as said, redirect_stdout(said), redirect_stderr(said):
            with pytest.raises(SystemExit) as ended:
                await asyncio.to_thread(main, list(map(str, [*house, *arguments])))
            assert int(ended.value.code or 0) == status, said.getvalue()
            return said.getvalue()

    return run


def key_file(folder: Path, owner: str) -> Path:
    keys.save(builders.private_key(owner), folder / owner, passphrase=KEY_WORDS)
    return folder / owner


async def test_a_supervisor_sees_first_and_then_withdraws_what_leads_have_in_common(
    talk: Talk, desk: SqlDesk, rfr: Rfr, tmp_path: Path
) -> None:
    meant, other = [await given_out(talk) for _ in range(2)]
    case = meant.submission.case_ref
    order = ("withdraw", "--reason", "the threshold was too low", "--by", SUPERVISOR)
    found_with = ("--model", "embedder", "--below", "0.6", "--reviewer", "reviewer-b", "--gallery", "custody")
    mine = (*order, *found_with, "--case", case)

    said = await rfr(*mine)
    assert "1 would be withdrawn" in said
    assert case in said
    assert "0 would be withdrawn" in await rfr(*mine, "--below", "0.5")

    sent = await rfr(*mine, "--go", "--key", key_file(tmp_path, SUPERVISOR), "--passphrase", KEY_WORDS)
    assert "1 orders signed and sent" in sent
    await talk.ear.until(lambda: withdrawals_of(talk, meant))
    lead = await lead_of(desk, meant)
    assert lead.withdrawal
    assert (lead.withdrawal.reason, lead.withdrawal.withdrawn_by) == ("the threshold was too low", SUPERVISOR)
    assert (await lead_of(desk, other)).withdrawal is None
    assert [entry.account_id for entry in await desk.log.about(str(lead.said.submission_id))] == [SUPERVISOR]

    again = await rfr(*order, str(lead.said.submission_id), status=1)
    assert "no lead that could be withdrawn" in again
    assert "withdrawn: the threshold was too low" in await rfr("leads", "--case", case)
    assert "command-line" in {entry.account_id for entry in await desk.log.about("leads")}
    assert case in await rfr("leads", "--withdrawn")
    assert case not in await rfr("leads", "--not-withdrawn")


async def test_an_order_that_would_not_count_is_not_sent(talk: Talk, desk: SqlDesk, rfr: Rfr, tmp_path: Path) -> None:
    found = await given_out(talk)
    order = (
        "withdraw",
        "--case",
        found.submission.case_ref,
        "--reason",
        "a mistake",
        "--go",
        "--passphrase",
        KEY_WORDS,
    )
    reviewers, strangers = key_file(tmp_path, "reviewer-a"), key_file(tmp_path, "stranger")

    assert "signature" in await rfr(*order, "--by", SUPERVISOR, status=2)
    assert "--key" in await rfr(*order, "--by", SUPERVISOR, "--key", strangers, status=1)
    assert "not registered to supervise" in await rfr(*order, "--by", "reviewer-a", "--key", reviewers, status=1)
    assert "passphrase" in await rfr(*order[:-1], "wrong", "--by", SUPERVISOR, "--key", strangers, status=1)
    assert await desk.log.about(str(found.submission.submission_id)) == []
    assert (await lead_of(desk, found)).withdrawal is None


async def test_a_lead_whose_reference_was_erased_since_is_seen(talk: Talk, rfr: Rfr) -> None:
    found = await given_out(talk, "person-to-be-erased")
    case = found.submission.case_ref
    assert "0 given out" in await rfr("leads", "--ineligible", "--case", case)

    await talk.ledger.erase([found.candidates[0].reference_id])
    said = await rfr("leads", "--ineligible", "--case", case)
    assert "reference not_held" in said
    assert str(found.submission.submission_id) in said


async def test_subscribers_are_registered_and_listed(rfr: Rfr) -> None:
    await rfr("subscribers", "add", "case-system-9", "--since", "2026-01-02")
    assert "2026-01-02 00:00" in await rfr("subscribers", "list")
    assert "a reference, no name" in await rfr("subscribers", "add", "A Name", status=1)
