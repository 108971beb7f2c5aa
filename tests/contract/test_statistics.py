"""The desk's numbers are read from what the ledger and the desk really keep, on both databases."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import builders
import pytest
from builders import LATER, NOW

from rfr_stream import stages
from rfr_stream.adapters.desk import SqlDesk
from rfr_stream.adapters.keys import KeyVerifier
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.conduct import CaseFacts, DecisionFacts, Proportion, SeedCount
from rfr_stream.desk import Alert, AlertKind, Look
from rfr_stream.events import CandidatesReady, Outcome, Purpose, ReviewDecided, Source, Support
from rfr_stream.ports import CaseState, Seed

PEOPLE = ("person-1", "person-2", "person-3")
DAY = timedelta(days=1)
NONE = Support.MODERATE_DIFFERENT


@dataclass
class Here:
    """A ledger and its desk, where reviewers a, b and c are registered."""

    ledger: SqlLedger
    desk: SqlDesk

    async def hold(self, name: str, at: datetime = NOW) -> CandidatesReady:
        """Let a list come to people."""
        found = builders.candidates_ready(builders.submission(name))
        await self.ledger.hold(builders.references_of(found))
        assert await stages.hold([found], ledger=self.ledger, now=at) == [None]
        return found

    async def hold_seed(self, name: str, shows: str | None) -> CandidatesReady:
        """Let a list with a known answer come to people."""
        await self.ledger.plant([Seed(builders.image_submitted(builders.submission(name)), shows)])
        assert await self.ledger.sow(0.5, NOW) == 1
        return await self.hold(name)

    async def decide(self, said: ReviewDecided, at: datetime = LATER) -> None:
        await stages.decide(said, ledger=self.ledger, verifier=KeyVerifier(), now=at)

    async def send(self, said: ReviewDecided, at: datetime) -> None:
        """Decide at the desk, after having looked at two candidates."""
        about, by = said.submission_id, said.reviewer_id
        await self.desk.examinations.show(about, by, "0" * 64, NOW)
        await self.desk.examinations.look(about, by, {1: Look(4_000, zoomed=True), 2: Look(7_000)})
        await self.desk.examinations.sent(about, by, said, at)


@pytest.fixture(params=["sqlite", "postgresql"])
async def here(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Here]:
    async with AsyncExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path / 'ledger.db'}"
        else:
            url = request.getfixturevalue("postgresql_server").fresh()
        ledger = await stack.enter_async_context(SqlLedger(url))
        for name in "abc":
            await ledger.register(builders.reviewer(f"reviewer-{name}"))
        yield Here(ledger, SqlDesk(ledger))


class TestTheReport:
    async def test_a_case_and_what_was_said_of_it_are_read_as_they_are_kept(self, here: Here) -> None:
        found = await here.hold("probe")
        for by in ("reviewer-a", "reviewer-b"):
            await here.decide(builders.decision(found, by=by))

        report = await here.desk.statistics.report(NOW - DAY, NOW + DAY)

        assert report.outcomes == {Outcome.CONFIRMED: 1}
        assert [(day.came, day.decisions) for day in report.days] == [(0, 0), (1, 2), (0, 0)]
        assert [each.reviewer_id for each in report.reviewers] == ["reviewer-a", "reviewer-b"]
        first = report.reviewers[0]
        assert (first.decisions, first.agreed, first.named_first) == (1, Proportion(1, 1), Proportion(1, 1))
        assert (first.viewed, first.zoomed) == (Proportion(3, 3), Proportion(1, 1))
        assert first.compared_s
        assert first.compared_s.median == pytest.approx(120)

    async def test_how_long_each_candidate_was_looked_at_comes_from_the_desk(self, here: Here) -> None:
        found = await here.hold("probe")
        said = builders.decision(found)
        await here.send(said, LATER)
        await here.decide(said)

        (reviewer,) = (await here.desk.statistics.report(NOW - DAY, NOW + DAY)).reviewers

        assert reviewer.dwell_s
        assert reviewer.dwell_s.median == pytest.approx(5.5)

    async def test_known_answers_are_held_against_what_was_said(self, here: Here) -> None:
        await here.hold("real")
        mated = await here.hold_seed("mated", "person-2")
        await here.hold("another-real")
        nobody = await here.hold_seed("nobody", None)
        await here.decide(builders.decision(mated, by="reviewer-a"))  # for person-1: mistaken
        await here.decide(builders.decision(mated, by="reviewer-b", support=NONE))
        await here.decide(builders.decision(nobody, by="reviewer-a", support=NONE))
        await here.decide(builders.decision(nobody, by="reviewer-b"))

        report = await here.desk.statistics.report(NOW - DAY, NOW + DAY)

        a, b = (each.on_seeds for each in report.reviewers)
        assert (a.false_positives, a.false_negatives, a.mistaken) == (
            Proportion(0, 1),
            Proportion(1, 1),
            Proportion(1, 1),
        )
        assert (b.false_positives, b.false_negatives, b.mistaken) == (
            Proportion(1, 1),
            Proportion(1, 1),
            Proportion(0, 1),
        )
        assert report.seeded == Proportion(2, 4)
        assert report.outcomes == {}

    async def test_a_seed_that_ended_before_review_is_no_real_outcome(self, here: Here) -> None:
        await here.hold("real")
        await here.ledger.plant([Seed(builders.image_submitted(builders.submission("blurred")), None)])
        await here.ledger.sow(0.5, NOW)
        about = builders.submission("blurred").submission_id
        await stages.note([builders.closed(Outcome.NO_FACE, submission_id=about)], cases=here.ledger, now=NOW)

        report = await here.desk.statistics.report(NOW - DAY, NOW + DAY)

        assert report.outcomes == {}
        assert report.together.false_leads == Proportion(0, 1)

    async def test_only_the_period_counts_but_for_what_waits(self, here: Here) -> None:
        await here.hold("old", NOW - 40 * DAY)
        await here.hold("new", NOW)

        report = await here.desk.statistics.report(NOW - DAY, NOW + timedelta(hours=1))

        assert sum(day.came for day in report.days) == 1
        assert report.waiting == {4: (40 * DAY + timedelta(hours=1), timedelta(hours=1))}

    async def test_versions_are_told_apart(self, here: Here) -> None:
        found = await here.hold("probe")
        await here.decide(builders.decision(found, support=NONE))
        await here.decide(builders.decision(found, version=2, reason="looked again"))

        (reviewer,) = (await here.desk.statistics.report(NOW - DAY, NOW + DAY)).reviewers

        assert (reviewer.decisions, reviewer.revised, reviewer.none) == (1, 1, Proportion(1, 1))

    async def test_more_than_a_page_is_read_whole(self, here: Here) -> None:
        lists = [builders.candidates_ready(builders.submission(f"{i}")) for i in range(450)]
        assert set(await stages.hold(lists, ledger=here.ledger, now=NOW)) == {None}

        report = await here.desk.statistics.report(NOW - DAY, NOW + DAY)

        assert sum(day.came for day in report.days) == 450


class TestTheLatest:
    async def test_what_was_sent_is_there_before_it_is_counted(self, here: Here) -> None:
        found = await here.hold("probe")
        said = builders.decision(found)
        await here.send(said, LATER)

        assert await here.desk.statistics.recent("reviewer-a") == [
            DecisionFacts(
                about=CaseFacts(said.submission_id, CaseState.AWAITING_REVIEW, NOW, PEOPLE, urgency=4),
                reviewer_id="reviewer-a",
                support=Support.STRONG_SAME,
                person_id="person-1",
                decided_at=NOW,
                began_at=NOW - timedelta(minutes=2),
                compared_s=120.0,
                viewed_n=3,
                zoomed=True,
                dwell_ms=(4_000, 7_000),
            )
        ]

    async def test_drafts_and_others_are_not(self, here: Here) -> None:
        found = await here.hold("probe")
        await here.desk.examinations.draft(found.submission.submission_id, "reviewer-a", builders.decision(found))
        await here.send(builders.decision(found, by="reviewer-b"), LATER)

        assert await here.desk.statistics.recent("reviewer-a") == []

    async def test_they_stand_oldest_first_and_the_latest_are_kept(self, here: Here) -> None:
        for minutes in (3, 1, 2):
            found = await here.hold(f"probe-{minutes}")
            at = NOW + timedelta(minutes=minutes)
            await here.send(builders.decision(found, occurred_at=at), at)

        latest = await here.desk.statistics.recent("reviewer-a", limit=2)

        assert [each.decided_at - NOW for each in latest] == [timedelta(minutes=2), timedelta(minutes=3)]


async def test_what_supervisors_were_told_lately_is_known(here: Here) -> None:
    told = [(NOW, AlertKind.TOO_FAST, "a"), (NOW - DAY, AlertKind.TOO_LONG, "a"), (NOW, AlertKind.TOO_MANY, "b")]
    for at, kind, by in told:
        await here.desk.examinations.alert(Alert(at, kind, f"reviewer-{by}", None, "said"))

    assert await here.desk.statistics.alerted("reviewer-a", NOW - timedelta(hours=1)) == {AlertKind.TOO_FAST}


async def test_known_answers_are_counted_by_the_way_in_which_they_come(here: Here) -> None:
    await here.hold("real")
    await here.hold_seed("mated", "person-1")
    missing = builders.submission("missing", source=Source.MISSING_PERSON, purpose=Purpose.MISSING)
    await here.ledger.plant([Seed(builders.image_submitted(missing), None)])

    assert await here.desk.statistics.seeds() == [
        SeedCount(Source.MISSING_PERSON, Purpose.MISSING, mated=0, non_mated=1, waiting=1, real=0),
        SeedCount(Source.OFFICER, Purpose.SUSPECT, mated=1, non_mated=0, waiting=0, real=1),
    ]
