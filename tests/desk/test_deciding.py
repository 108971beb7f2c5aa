"""From the checklist to a locked decision: what is refused, what is signed, and what may follow."""

import re
from dataclasses import replace

import builders
import desk_pages
import pytest
from builders import LATER
from desk_house import DeskHouse
from desk_pages import lead, nobody

from rfr_stream import stages
from rfr_stream.adapters import bundles, keys
from rfr_stream.desk import Look, Suitability
from rfr_stream.events import (
    Component,
    IdentificationConfirmed,
    IdentificationWithdrawn,
    Outcome,
    ReviewDecided,
    SubmissionClosed,
    Support,
    VideoFrame,
)
from rfr_stream.ports import CaseState


async def emitted(house: DeskHouse) -> list[object]:
    return [each.event for each in await house.desk.ledger.unpublished(100)]


async def state(case: desk_pages.CaseAtHand) -> CaseState:
    found = await case.house.desk.ledger.case(case.found.submission.submission_id)
    assert found
    return found.state


class TestAnalysis:
    async def test_every_component_is_gone_through(self, house: DeskHouse) -> None:
        case = await desk_pages.taken(house, desk_pages.listed())
        form = desk_pages.analysis()
        del form[f"seen-{Component.EARS}"]

        answer = await case.client.post(f"{case.path}/analysis", data=form)

        assert answer.status_code == 400
        assert "Ears" in answer.text
        assert (await case.client.get(f"{case.path}/comparison")).status_code == 409

    async def test_what_was_filled_in_is_still_there(self, house: DeskHouse) -> None:
        case = await desk_pages.taken(house, desk_pages.listed())
        form = {**desk_pages.analysis(), "suitability": "", "note": "backlit <by> a window"}

        answer = await case.client.post(f"{case.path}/analysis", data=form)

        assert "backlit &lt;by&gt; a window" in answer.text

    async def test_a_frame_says_when_it_was_on_screen_and_what_made_it_what_is_seen(self, house: DeskHouse) -> None:
        media = VideoFrame(
            video_sha256="ab" * 32, frame_time_s=83.4, steps=("bwdif=mode=send_frame", "hflip"), tool="decoder-1 <any>"
        )
        case = await desk_pages.taken(house, desk_pages.listed(media=media))

        page = (await case.client.get(f"{case.path}/analysis")).text

        assert f"frame at 83.4 s of video {'ab' * 6}…" in page
        assert "<code>bwdif=mode=send_frame</code>; <code>hflip</code>" in page
        assert "decoder-1 &lt;any&gt;" in page

    async def test_a_later_analysis_follows_and_replaces_nothing(self, house: DeskHouse) -> None:
        case = await desk_pages.analysed(house, desk_pages.listed())
        again = {**desk_pages.analysis(Suitability.LIMITED), "note": "on second thoughts, backlit"}

        await case.client.post(f"{case.path}/analysis", data=again)

        known = await house.desk.store.examinations.analysis(case.found.submission.submission_id, "reviewer-a")
        assert known
        assert known[0].suitability is Suitability.LIMITED

    async def test_an_unsuitable_probe_ends_without_any_candidate_being_shown(self, house: DeskHouse) -> None:
        case = await desk_pages.taken(house, desk_pages.listed())
        answer = await case.client.post(f"{case.path}/analysis", data=desk_pages.analysis(Suitability.UNSUITABLE))
        assert answer.headers["location"].endswith("/unsuitable")

        await desk_pages.decide(case, nobody(Support.UNSUITABLE))

        (decided,) = house.published
        assert isinstance(decided, ReviewDecided)
        assert (decided.support, decided.examination) == (Support.UNSUITABLE, None)
        lines = await house.desk.store.log.about(case.id)
        assert not [each for each in lines if "candidate" in each.detail]


class TestConclusion:
    @pytest.mark.parametrize(
        ("form", "said"),
        [
            ({"choice": "1"}, "support"),
            ({"choice": "1", "support": "97 %"}, "support"),
            ({"choice": "1", "support": "match"}, "support"),
            ({"choice": "1", "support": Support.STRONG_SAME.value}, "at least one similar component on record"),
            ({**lead(1), f"finding-{Component.EYES}": "not_visible"}, "at least one similar component on record"),
            ({k: v for k, v in lead(1).items() if Component.NOSE not in k}, "every component"),
            ({**lead(1), f"finding-{Component.NOSE}": "dissimilar"}, "Say what differs"),
            (
                {
                    **lead(1),
                    f"finding-{Component.NOSE}": "dissimilar",
                    f"note-{Component.NOSE}": "a bridge that the probe lacks",
                    f"major-{Component.NOSE}": "on",
                },
                "rules out a lead",
            ),
            ({**lead(1), "choice": "none"}, "Must be a person on the list"),
            ({**lead(1), "choice": "99"}, "Must be a person on the list"),
            ({**nobody(), "choice": "2"}, "names nobody"),
        ],
    )
    async def test_what_is_missing_is_said_and_nothing_is_drafted(
        self, house: DeskHouse, form: dict[str, str], said: str
    ) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())

        answer = await case.client.post(f"{case.path}/decision", data=form)

        assert answer.status_code == 400
        assert said in answer.text
        assert (await case.client.get(f"{case.path}/signature")).status_code == 409

    async def test_the_component_that_is_at_fault_is_named(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())
        form = {**nobody(), f"finding-{Component.NOSE}": "dissimilar", f"finding-{Component.EYES}": "similar"}

        answer = await case.client.post(f"{case.path}/decision", data=form)

        assert "<li>Say what differs, and what explains it: nose.</li>" in answer.text

    async def test_what_was_concluded_is_filled_in_when_the_page_comes_again(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())
        noted = {f"finding-{Component.NOSE}": "dissimilar", f"note-{Component.NOSE}": "broken", "choice": "none"}
        support = Support.MODERATE_DIFFERENT
        form = {**lead(1), **noted, f"major-{Component.NOSE}": "on", "support": support.value}
        assert (await case.client.post(f"{case.path}/decision", data=form)).status_code == 303

        page = (await case.client.get(f"{case.path}/comparison")).text

        assert re.findall(r'name="choice" value="(\w+)" checked', page) == ["none"]
        assert re.findall(r'name="finding-nose" value="(\w+)"[^>]*checked', page) == ["dissimilar"]
        assert re.findall(r'name="major-(\w+)"[^>]*checked', page) == ["nose"]
        assert re.findall(r'name="note-nose"[^>]*value="(\w+)"', page) == ["broken"]
        assert f'<option value="{support.value}" selected>' in page

    async def test_a_major_dissimilarity_that_is_explained_does_not_rule_out_a_lead(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())
        explained = {
            f"finding-{Component.NOSE}": "dissimilar_but_explained",
            f"note-{Component.NOSE}": "broken in 2024",
        }

        await desk_pages.decide(case, {**lead(1), **explained})

        (decided,) = house.published
        assert isinstance(decided, ReviewDecided)
        assert decided.dissimilarities == ("nose: dissimilar but explained: broken in 2024",)

    async def test_none_of_these_is_chosen_until_somebody_chooses_otherwise(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())

        page = (await case.client.get(f"{case.path}/comparison")).text

        assert '<input type="radio" name="choice" value="none" checked' in page
        assert page.count('name="choice"') - 1 == page.count('name="choice" value="') - 1 == 8

    async def test_a_place_stands_for_the_person_whom_this_reviewer_saw_there(self, house: DeskHouse) -> None:
        found = desk_pages.listed()
        first = await desk_pages.compared(house, found, "reviewer-a")
        shown = {}
        for place in range(1, 9):
            shown[place] = (await first.client.get(f"{first.path}/candidates/{place}")).content

        await desk_pages.decide(first, lead(3))

        (decided,) = house.published
        assert isinstance(decided, ReviewDecided)
        assert decided.person_id
        (candidate,) = (each for each in found.candidates if each.person_id == decided.person_id)
        assert _colour(shown[3]) == _colour(desk_pages.picture(candidate.person_id))

    async def test_a_one_second_approval_is_refused_and_supervisors_learn_of_it(self, house: DeskHouse) -> None:
        case = await desk_pages.analysed(house, desk_pages.listed())
        await case.client.get(f"{case.path}/comparison")
        house.clock.forward(seconds=1)

        answer = await case.client.post(f"{case.path}/decision", data=lead(1))

        assert answer.status_code == 400
        assert "at least 5 s" in answer.text
        (alert,) = await house.desk.store.examinations.alerts()
        assert (alert.kind, alert.account_id) == ("too_fast", "reviewer-a")

    async def test_time_away_is_no_time_spent(self, house: DeskHouse) -> None:
        case = await desk_pages.analysed(house, desk_pages.listed())
        await case.client.get(f"{case.path}/comparison")
        await case.client.post(f"{case.path}/release")
        house.clock.forward(minutes=25)
        await case.client.get(case.path)
        await case.client.get(f"{case.path}/comparison")
        house.clock.forward(seconds=1)

        answer = await case.client.post(f"{case.path}/decision", data=lead(1))
        assert (answer.status_code, "at least 5 s" in answer.text) == (400, True)

        house.clock.forward(seconds=5)
        assert (await case.client.post(f"{case.path}/decision", data=lead(1))).status_code == 303

    async def test_whose_lease_lapsed_meanwhile_is_asked_to_look_again_and_can(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())
        house.clock.forward(minutes=house.desk.settings.lease_minutes, seconds=1)

        answer = await case.client.post(f"{case.path}/decision", data=lead(1))
        assert (answer.status_code, "examination" in answer.text) == (400, True)

        house.clock.forward(seconds=6)
        assert (await case.client.post(f"{case.path}/decision", data=lead(1))).status_code == 303

    @pytest.mark.parametrize("support", [Support.STRONG_DIFFERENT, Support.INCONCLUSIVE])
    async def test_nobody_concludes_about_what_they_did_not_look_at(self, house: DeskHouse, support: Support) -> None:
        case = await desk_pages.taken(house, desk_pages.listed())
        assert (await case.client.post(f"{case.path}/decision", data=nobody(support))).status_code == 409

        await case.client.post(f"{case.path}/analysis", data=desk_pages.analysis())
        assert (await case.client.post(f"{case.path}/decision", data=nobody(support))).status_code == 409

    async def test_a_reference_that_lapsed_is_told_before_anything_is_signed(self, house: DeskHouse) -> None:
        found = desk_pages.listed()
        case = await desk_pages.compared(house, found)
        await house.desk.ledger.erase([each.reference_id for each in found.candidates])

        answer = await case.client.post(f"{case.path}/decision", data=lead(1))

        assert (answer.status_code, "may no longer be used" in answer.text) == (400, True)

    async def test_a_case_that_has_ended_is_no_longer_open_to_others(self, house: DeskHouse) -> None:
        found = desk_pages.listed()
        for by in ("reviewer-a", "reviewer-b"):
            await desk_pages.decide(await desk_pages.compared(house, found, by), nobody(Support.STRONG_DIFFERENT))
        await house.count()
        late = await house.client(await house.reviewer("reviewer-c"))

        paths = ("", "/analysis", "/comparison", "/probe", "/candidates/1")
        path = f"/cases/{found.submission.submission_id}"
        assert {(await late.get(f"{path}{each}")).status_code for each in paths} == {404}

    async def test_whose_decision_came_too_late_is_told(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())
        await desk_pages.decide(case, nobody(Support.STRONG_DIFFERENT))
        assert "in a moment" in (await case.client.get(f"{case.path}/record")).text

        await stages.expire(cases=house.desk.ledger, opened_before=LATER, now=LATER)

        assert "had ended before it came" in (await case.client.get(f"{case.path}/record")).text

    async def test_whose_training_has_lapsed_sees_nothing_of_it(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())
        await desk_pages.decide(case, nobody(Support.STRONG_DIFFERENT))
        lapsed = replace(builders.reviewer(), competent_until=house.clock.now, recorded_at=house.clock.now)
        await house.desk.ledger.register(lapsed)

        for path in ("/record", "/candidates/1", "/comparison"):
            assert (await case.client.get(f"{case.path}{path}")).status_code == 403

    async def test_looks_are_counted_into_the_examination(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())
        looks = [{"place": 1, "dwell_ms": 4_000, "zoomed": True}, {"place": 2, "dwell_ms": 100}]
        for _ in range(2):
            assert (await case.client.post(f"{case.path}/looks", json=looks)).status_code == 204

        await desk_pages.decide(case, lead(1))

        (decided,) = house.published
        assert isinstance(decided, ReviewDecided)
        assert decided.examination
        assert (decided.examination.viewed_n, decided.examination.zoomed) == (1, True)
        assert decided.examination.compared_s == 120
        examined = await house.desk.store.examinations.examined(decided.submission_id, "reviewer-a")
        assert examined
        assert examined.looks == {1: Look(8_000, zoomed=True), 2: Look(200)}

    @pytest.mark.parametrize(
        "looks",
        [
            [{"place": 0, "dwell_ms": 1}],
            [{"place": 1, "dwell_ms": -1}],
            [{"place": 1, "dwell_ms": 10**9}],
            [{"place": 1, "dwell_ms": 1, "score": 1}],
            {"place": 1},
            [{"place": 1, "dwell_ms": 1}] * 101,
        ],
    )
    async def test_looks_that_no_page_reports_are_refused(self, house: DeskHouse, looks: object) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())

        assert (await case.client.post(f"{case.path}/looks", json=looks)).status_code == 400


class TestSigning:
    async def test_a_signed_decision_is_sent_once_and_locked(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())
        await case.client.post(f"{case.path}/decision", data=lead(1))
        page = (await case.client.get(f"{case.path}/signature")).text
        signature = {"signature": desk_pages.signature_of(page, "reviewer-a")}

        answers = [await case.client.post(f"{case.path}/signature", data=signature) for _ in range(3)]

        assert {answer.headers["location"] for answer in answers} == {f"{case.path}/record"}
        assert len(house.published) == 1

    @pytest.mark.parametrize("signature", ["", "x", "A" * 86 + "==", "A" * 2_000])
    async def test_what_is_no_signature_of_this_person_is_refused(self, house: DeskHouse, signature: str) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())
        await case.client.post(f"{case.path}/decision", data=lead(1))

        answer = await case.client.post(f"{case.path}/signature", data={"signature": signature})

        assert answer.status_code == 403
        assert house.published == []

    async def test_somebody_elses_signature_is_refused(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())
        await house.reviewer("reviewer-b")
        await case.client.post(f"{case.path}/decision", data=lead(1))

        assert (await desk_pages.sign(case, by="reviewer-b")).status_code == 403
        assert house.published == []

    async def test_training_that_lapses_before_the_signature_counts_no_more(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())
        await case.client.post(f"{case.path}/decision", data=lead(1))
        page = (await case.client.get(f"{case.path}/signature")).text
        await house.desk.ledger.register(builders.reviewer("reviewer-a", competent_until=house.clock()))

        signature = {"signature": desk_pages.signature_of(page, "reviewer-a")}
        answer = await case.client.post(f"{case.path}/signature", data=signature)

        assert answer.status_code == 403
        assert house.published == []

    async def test_until_it_is_counted_nothing_else_is_concluded(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())
        await desk_pages.decide(case, lead(1))

        answers = [
            await case.client.get(f"{case.path}/comparison"),
            await case.client.post(f"{case.path}/decision", data=nobody(reason="on second thoughts")),
        ]

        assert [answer.status_code for answer in answers] == [409, 409]
        assert "Your decision is on its way" in answers[0].text
        assert f'href="{case.path}"' in answers[0].text
        await house.count()
        assert (await case.client.get(f"{case.path}/comparison")).status_code == 200

    async def test_the_record_asks_whether_it_is_counted_until_it_is(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())
        await desk_pages.decide(case, lead(1))
        asked = await case.client.get(f"{case.path}/arrival")
        assert "Signed and sent" in asked.text
        assert "hx-trigger" in asked.text

        await house.count()

        said = await case.client.get(f"{case.path}/arrival")
        assert "Your decision has been counted." in said.text
        assert "hx-trigger" not in said.text
        lines = await house.desk.store.log.about(case.id)
        assert [each.detail for each in lines].count("own record") == 0


class TestTwoReviewers:
    async def test_two_who_name_the_same_person_release_a_lead(self, house: DeskHouse) -> None:
        found = desk_pages.listed(people=1)
        for by in ("reviewer-a", "reviewer-b"):
            await desk_pages.decide(await desk_pages.compared(house, found, by), lead(1))
            await house.count()

        confirmed = [each for each in await emitted(house) if isinstance(each, IdentificationConfirmed)]

        assert [each.person_id for each in confirmed] == ["person-1"]

    async def test_disagreement_opens_a_third_review_that_knows_nothing_of_it(self, house: DeskHouse) -> None:
        found = desk_pages.listed(people=1)
        await desk_pages.decide(await desk_pages.compared(house, found, "reviewer-a"), lead(1))
        await desk_pages.decide(await desk_pages.compared(house, found, "reviewer-b"), nobody(Support.INCONCLUSIVE))
        await house.count()

        third = await desk_pages.compared(house, found, "reviewer-c")
        assert await state(third) is CaseState.AWAITING_THIRD_REVIEW
        await desk_pages.decide(third, lead(1))
        await house.count()

        assert await state(third) is CaseState.CONFIRMED

    async def test_the_record_never_says_what_became_of_the_case(self, house: DeskHouse) -> None:
        found = desk_pages.listed(people=1)
        first = await desk_pages.compared(house, found, "reviewer-a")
        await desk_pages.decide(first, lead(1))
        await house.count()
        before = (await first.client.get(f"{first.path}/record")).text

        await desk_pages.decide(await desk_pages.compared(house, found, "reviewer-b"), lead(1))
        await house.count()

        assert await state(first) is CaseState.CONFIRMED
        assert (await first.client.get(f"{first.path}/record")).text == before


class TestAChangeOfMind:
    async def test_a_new_version_needs_a_reason_and_leaves_the_old_one_standing(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())
        await desk_pages.decide(case, lead(1))
        await house.count()
        refused = await case.client.post(f"{case.path}/decision", data=nobody())
        assert refused.status_code == 400

        await desk_pages.decide(case, nobody(reason="the ear is another's"))
        await house.count()

        known = await house.desk.ledger.case(case.found.submission.submission_id)
        assert known
        assert [(each.version, each.support) for each in known.decisions] == [
            (1, Support.MODERATE_SAME),
            (2, Support.MODERATE_DIFFERENT),
        ]
        page = (await case.client.get(f"{case.path}/record")).text
        assert "Version 1" in page
        assert "the ear is another&#39;s" in page

    async def test_the_record_shows_every_version_also_the_one_that_is_on_its_way(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())
        await desk_pages.decide(case, lead(1))
        await house.count()
        await case.client.post(f"{case.path}/decision", data=nobody(reason="the ear\r\nis another's"))
        drafted = (await case.client.get(f"{case.path}/record")).text
        assert "Version 2" not in drafted
        assert "Your decision has been counted." in drafted

        await desk_pages.sign(case)

        page = (await case.client.get(f"{case.path}/record")).text
        assert re.findall(r"Version (\d)", page) == ["1", "2"]
        assert "Signed and sent" in page

    async def test_after_the_scores_were_shown_support_can_only_be_taken_back(self, house: DeskHouse) -> None:
        case = await desk_pages.compared(house, desk_pages.listed())
        await desk_pages.decide(case, nobody())
        await house.count()
        await case.client.post(f"{case.path}/reveal")

        answer = await case.client.post(f"{case.path}/decision", data=lead(1, reason="the score is high"))

        assert answer.status_code == 400
        assert "take support back" in answer.text

    async def test_support_that_is_taken_back_recalls_the_lead(self, house: DeskHouse) -> None:
        found = desk_pages.listed(people=1)
        first = await desk_pages.compared(house, found, "reviewer-a")
        await desk_pages.decide(first, lead(1))
        await desk_pages.decide(await desk_pages.compared(house, found, "reviewer-b"), lead(1))
        await house.count()

        await desk_pages.decide(first, nobody(reason="seen again at noon: another ear"))
        await house.count()

        kinds = [type(each) for each in await emitted(house)]
        assert kinds.count(IdentificationConfirmed) == kinds.count(IdentificationWithdrawn) == 1
        outcomes = [each.outcome for each in await emitted(house) if isinstance(each, SubmissionClosed)]
        assert outcomes == [Outcome.CONFIRMED, Outcome.WITHDRAWN]


def _colour(png: bytes) -> object:
    from io import BytesIO

    from PIL import Image

    with Image.open(BytesIO(png)) as image:
        return image.convert("RGB").getpixel((60, 60))


async def test_a_second_word_that_nobody_has_signed_spoils_neither_record_nor_numbers(house: DeskHouse) -> None:
    found = desk_pages.listed()
    case = await desk_pages.compared(house, found)
    await desk_pages.decide(case, nobody(Support.STRONG_DIFFERENT))
    await house.count()
    form = nobody(Support.INCONCLUSIVE, reason="on second thoughts")
    assert (await case.client.post(f"{case.path}/decision", data=form)).status_code == 303

    asked = bundles.Asked(about=case.id, to="cps-1", reason="trial", by="auditor-1")
    seal = keys.Ed25519PrivateKey.generate()
    desk_url = house.desk.settings.public_url
    data = await bundles.bundle(asked, desk=house.desk.store, key=seal, desk_url=desk_url, now=house.clock.now)

    assert bundles.check(data).faults == ()
    (recent,) = await house.desk.store.statistics.recent("reviewer-a")
    assert recent.support is Support.STRONG_DIFFERENT
