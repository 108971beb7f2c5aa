"""A lead that is taken back: every subscriber hears of it, one that was away too, and nobody hears of two withdrawals.

The whole way: signed orders and decisions on a real broker, the review stage in a process of its own, the reference
subscriber in three, and the supervisor's own commands.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import builders
import pytest
import pytest_asyncio
from chain import Chain, Talk, running
from recall import given_out, nothing_owed, relaying, reviewing, withdrawals_of
from terminal import RFR

from rfr_stream.adapters import keys, opening
from rfr_stream.adapters.desk import SqlDesk
from rfr_stream.desk import Lead, LeadFilter, Recipient
from rfr_stream.events import CandidatesReady
from rfr_stream.settings import ReviewSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")

CASE_SYSTEM: Final = Path(__file__).parents[2] / "examples" / "case_system.py"
REMIND_AFTER_S: Final = 1.5
REVIEW: Final = ReviewSettings(sweep_every_s=0.2, remind_after_hours=REMIND_AFTER_S / 3600)
SUPERVISOR: Final = "supervisor-1"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with running(tmp_path_factory.mktemp("recall"), review=REVIEW) as (chain, _):
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
def subscribing(chain: Chain, folder: Path, name: str) -> Iterator["subprocess.Popen[str]"]:
    """A case system's process; killed in the end, as a power cut would."""
    servers = chain.settings.kafka.bootstrap_servers or ""
    command = [sys.executable, str(CASE_SYSTEM), "--bootstrap-servers", servers, "--database", f"{folder / name}.db"]
    with subprocess.Popen([*command, "--group", name, "--subscriber", name], stdout=subprocess.DEVNULL) as process:
        try:
            yield process  # type: ignore[misc]
        finally:
            process.kill()


# --- what the desk sees ---------------------------------------------------------------------------------------------
async def lead_of(desk: SqlDesk, found: CandidatesReady) -> Lead:
    only = LeadFilter(submissions=frozenset({found.submission.submission_id}))
    (lead,) = await desk.leads.find(datetime.now(UTC), only=only)
    return lead


async def outstanding(desk: SqlDesk, found: CandidatesReady, *names: str, withdrawn: bool = True) -> Lead:
    """Wait until exactly these have not acknowledged the last word on a lead."""
    async with asyncio.timeout(60):
        while True:
            lead = await lead_of(desk, found)
            if lead.outstanding == names and (lead.withdrawal is not None) is withdrawn:
                return lead
            await asyncio.sleep(0.1)


def names_of(recipients: Sequence[Recipient]) -> list[str]:
    return [each.subscriber for each in recipients]


# --- recall ---------------------------------------------------------------------------------------------------------
async def test_a_subscriber_that_was_away_when_a_lead_was_withdrawn_is_told_until_it_says_that_it_knows(
    chain: Chain, talk: Talk, desk: SqlDesk, tmp_path: Path
) -> None:
    names = [f"recall-{letter}" for letter in "abc"]
    for name in names[:2]:  # the third is known by its acknowledgement alone
        await talk.ledger.subscribe(name, datetime.now(UTC))
    with contextlib.ExitStack() as stack:
        stack.enter_context(reviewing(chain))
        systems = {name: stack.enter_context(subscribing(chain, tmp_path, name)) for name in names}
        found = await given_out(talk)
        async with asyncio.timeout(60):
            while names_of((lead := await lead_of(desk, found)).recipients) != names or lead.outstanding:  # noqa: ASYNC110
                await asyncio.sleep(0.1)

        systems["recall-c"].kill()
        await talk.say(builders.withdrawal(found.submission))
        lead = await outstanding(desk, found, "recall-c")
        assert lead.withdrawal
        assert lead.withdrawal.withdrawn_by == SUPERVISOR
        only_theirs = await desk.leads.find(datetime.now(UTC), only=LeadFilter(outstanding=True))
        assert [each.said.submission_id for each in only_theirs] == [found.submission.submission_id]
        await talk.ear.until(lambda: len(withdrawals_of(talk, found)) >= 3)

        stack.enter_context(subscribing(chain, tmp_path, "recall-c"))
        await outstanding(desk, found)
        assert len(set(withdrawals_of(talk, found))) == 1
        await nothing_more_is_said(talk, found)


async def nothing_more_is_said(talk: Talk, found: CandidatesReady) -> None:
    """Wait for a reminder that was promised before the last acknowledgement came; then none may follow."""
    await asyncio.sleep(2 * REVIEW.sweep_every_s)
    before = len(withdrawals_of(talk, found))
    await asyncio.sleep(3 * REMIND_AFTER_S)
    assert len(withdrawals_of(talk, found)) == before


async def test_a_registered_subscriber_that_never_said_a_word_is_told_again_too(
    chain: Chain, talk: Talk, desk: SqlDesk
) -> None:
    await talk.ledger.subscribe("silent", datetime.now(UTC))
    with reviewing(chain):
        found = await given_out(talk)
        await outstanding(desk, found, "recall-a", "recall-b", "silent", withdrawn=False)
        await talk.say(builders.withdrawal(found.submission))
        await talk.ear.until(lambda: len(withdrawals_of(talk, found)) >= 3)

        await acknowledged_by(talk, found, "recall-a", "recall-b")
        await outstanding(desk, found, "silent")
        await acknowledged_by(talk, found, "silent")
        await outstanding(desk, found)
        await nothing_more_is_said(talk, found)


async def acknowledged_by(talk: Talk, found: CandidatesReady, *names: str) -> None:
    withdrawal = builders.identification_withdrawn(found.submission)
    await talk.say(*(builders.acknowledged(withdrawal, subscriber=name) for name in names))


# --- the supervisor's commands --------------------------------------------------------------------------------------
async def rfr(chain: Chain, *arguments: str | Path, status: int = 0) -> str:
    """Run a command as whoever sits at this house's terminal; return what it said."""
    servers = chain.settings.kafka.bootstrap_servers or ""
    command = [*RFR, "--data-dir", chain.settings.data_dir, "--bootstrap-servers", servers, *arguments]
    wide = ["env", "COLUMNS=400", *map(str, command)]
    done = await asyncio.to_thread(subprocess.run, wide, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


async def test_a_supervisor_sees_first_and_then_withdraws_what_leads_have_in_common(
    chain: Chain, talk: Talk, desk: SqlDesk, tmp_path: Path
) -> None:
    key, stranger = tmp_path / "supervisor.pem", tmp_path / "stranger.pem"
    keys.save(builders.private_key(SUPERVISOR), key, passphrase="correct horse")  # noqa: S106 - of this test
    keys.save(builders.private_key("stranger"), stranger, passphrase="correct horse")  # noqa: S106
    with reviewing(chain):
        lists = [await given_out(talk) for _ in range(2)]
        cases = [found.submission.case_ref for found in lists]
        orders = [
            "withdraw",
            "--model",
            "embedder",
            "--below",
            "0.6",
            "--reviewer",
            "reviewer-b",
            "--gallery",
            "custody",
        ]
        mine = [*orders, "--case", cases[0], "--reason", "the threshold was too low", "--by", SUPERVISOR]
        sign = ["--passphrase", "correct horse", "--go"]

        said = await rfr(chain, *mine)
        assert "1 would be withdrawn" in said
        assert cases[0] in said
        assert "0 would be withdrawn" in await rfr(chain, *orders, "--below", "0.5", "--reason", "-", "--by", "s-1")
        assert "signature" in await rfr(chain, *mine, "--go", status=2)
        assert "--key" in await rfr(chain, *mine, *sign, "--key", stranger, status=1)
        assert "not registered" in await rfr(chain, *mine, "--by", "reviewer-a", *sign, "--key", key, status=1)
        assert (await lead_of(desk, lists[0])).withdrawal is None

        assert "1 orders signed and sent" in await rfr(chain, *mine, *sign, "--key", key)
        await talk.ear.until(lambda: withdrawals_of(talk, lists[0]))
        lead = await lead_of(desk, lists[0])
        assert lead.withdrawal
        assert (lead.withdrawal.reason, lead.withdrawal.withdrawn_by) == ("the threshold was too low", SUPERVISOR)
        assert (await lead_of(desk, lists[1])).withdrawal is None
        assert [entry.account_id for entry in await desk.log.about(str(lists[0].submission.submission_id))] == [
            SUPERVISOR
        ]

        again = [str(lists[0].submission.submission_id), "--reason", "once more", "--by", SUPERVISOR]
        assert "no lead that could be withdrawn" in await rfr(chain, "withdraw", *again, status=1)
        assert "withdrawn: the threshold was too low" in await rfr(chain, "leads", "--case", cases[0])
        assert cases[1] not in await rfr(chain, "leads", "--withdrawn")


async def test_a_lead_whose_reference_was_erased_since_is_seen(chain: Chain, talk: Talk) -> None:
    with reviewing(chain):
        found = await given_out(talk)
    case = found.submission.case_ref
    assert "0 given out" in await rfr(chain, "leads", "--ineligible", "--case", case)

    await talk.ledger.erase([found.candidates[0].reference_id])
    said = await rfr(chain, "leads", "--ineligible", "--case", case)
    assert "reference not_held" in said
    assert str(found.submission.submission_id) in said


async def test_subscribers_are_registered_and_listed(chain: Chain) -> None:
    await rfr(chain, "subscribers", "add", "case-system-9", "--since", "2026-01-02")
    assert "2026-01-02 00:00" in await rfr(chain, "subscribers", "list")
    assert "a reference, no name" in await rfr(chain, "subscribers", "add", "A Name", status=1)


# --- a restart in between ------------------------------------------------------------------------------------------
async def test_a_reminder_is_sent_by_whoever_starts_after_it_was_promised(talk: Talk, chain: Chain) -> None:
    """What it reminds of lies at the topic's end; a relay that takes it for sent would silence it."""
    await talk.ledger.subscribe("forgetful", datetime.now(UTC))
    with reviewing(chain):
        found = await given_out(talk)
        await talk.say(builders.withdrawal(found.submission))
        await talk.ear.until(lambda: withdrawals_of(talk, found))
        await nothing_owed(talk)
    said = len(withdrawals_of(talk, found))
    assert await talk.ledger.remind(datetime.now(UTC)) >= 1

    async with relaying(talk):
        await nothing_owed(talk)
        await talk.ear.until(lambda: len(withdrawals_of(talk, found)) == said + 1)
    await acknowledged_by(talk, found, *(await talk.ledger.subscribed()))
