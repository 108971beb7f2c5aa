"""Who is meant: a frame with several people, and one person who says."""

import builders
import desk_pages
import pytest
from desk_house import DeskHouse

from rfr_stream.events import ImageSubmitted, Outcome, SubjectChosen, SubjectUnclear
from rfr_stream.ports import CaseState

FACE = builders.subject_unclear().faces[1]


async def asked(house: DeskHouse) -> desk_pages.CaseAtHand:
    """Let a frame come whose subject is unclear, and be taken by a reviewer."""
    unclear = builders.subject_unclear(desk_pages.listed().submission)
    await desk_pages.kept(house, unclear.submission.image)
    await house.hold(unclear)
    return desk_pages.CaseAtHand(house, await house.client(await house.reviewer()), unclear, "reviewer-a")


async def choose(case: desk_pages.CaseAtHand, face: str) -> int:
    """Choose and sign; return the status of the last answer."""
    page = await case.client.post(f"{case.path}/subject", data={"face": face})
    if page.status_code != 200:
        return page.status_code
    answer = await case.client.post(
        f"{case.path}/subject/signature", data=desk_pages.signed_draft(page.text, "reviewer-a")
    )
    return answer.status_code


class TestChoosing:
    async def test_a_case_without_a_subject_begins_with_that_question(self, house: DeskHouse) -> None:
        case = await asked(house)

        assert (await case.client.get(case.path)).headers["location"] == f"{case.path}/subject"
        page = (await case.client.get(f"{case.path}/subject")).text
        assert page.count("<rect") == 2
        assert (await case.client.get(f"{case.path}/frame")).status_code == 200

    async def test_the_face_chosen_and_no_other_goes_on(self, house: DeskHouse) -> None:
        case = await asked(house)

        assert await choose(case, "2") == 303
        await house.count()

        (chosen,) = house.published
        assert isinstance(chosen, SubjectChosen)
        assert chosen.subject == FACE
        (again,) = [
            each.event for each in await house.desk.ledger.unpublished(9) if isinstance(each.event, ImageSubmitted)
        ]
        assert isinstance(again, ImageSubmitted)
        assert again.subject == FACE

    async def test_where_the_other_faces_were_is_forgotten_once_somebody_has_chosen(self, house: DeskHouse) -> None:
        case = await asked(house)
        await choose(case, "2")
        await house.count()

        known = await house.desk.ledger.case(case.found.submission.submission_id)
        assert known
        assert (known.state, known.faces) == (CaseState.AWAITING_CANDIDATES, None)
        assert (await case.client.get(f"{case.path}/frame")).status_code == 404

    async def test_none_of_them_ends_the_case(self, house: DeskHouse) -> None:
        case = await asked(house)

        assert await choose(case, "none") == 303
        await house.count()

        known = await house.desk.ledger.case(case.found.submission.submission_id)
        assert known
        assert (known.state, known.outcome) == (CaseState.CLOSED, Outcome.NO_FACE)

    @pytest.mark.parametrize("face", ["", "0", "3", "-1", "all"])
    async def test_what_is_none_of_the_faces_is_refused(self, house: DeskHouse, face: str) -> None:
        assert await choose(await asked(house), face) == 403
        assert house.published == []

    @pytest.mark.parametrize("change", ["reviewer_id", "submission_id", "subject", "demo", "garbage"])
    async def test_words_that_this_desk_did_not_write_are_not_sent_though_they_are_signed(
        self, house: DeskHouse, change: str
    ) -> None:
        case = await asked(house)
        about = case.found.submission
        words = {
            "reviewer_id": builders.subject_chosen(about, by="reviewer-b", subject=None),
            "submission_id": builders.subject_chosen(by="reviewer-a", subject=None),
            "subject": builders.subject_chosen(about, by="reviewer-a"),
            "demo": builders.subject_chosen(about, by="reviewer-a", subject=None, demo=True),
        }
        said = words.get(change)
        form = {"draft": said.model_dump_json() if said else "{", "signature": said.signature if said else ""}

        answer = await case.client.post(f"{case.path}/subject/signature", data=form)

        assert answer.status_code == 403
        assert house.published == []

    async def test_a_case_that_has_a_subject_asks_nothing(self, house: DeskHouse) -> None:
        case = await desk_pages.taken(house, desk_pages.listed())

        assert (await case.client.get(f"{case.path}/subject")).status_code == 404
        assert (await case.client.get(f"{case.path}/frame")).status_code == 404

    async def test_a_case_without_candidates_shows_no_probe_alone(self, house: DeskHouse) -> None:
        """The frame is shown whole once, to be chosen from; every later page masks the others."""
        case = await asked(house)

        for page in ("probe", "analysis", "comparison", "candidates/1"):
            assert (await case.client.get(f"{case.path}/{page}")).status_code in {404, 409}


def test_the_question_lists_faces_and_nothing_else_of_them() -> None:
    assert set(SubjectUnclear.model_fields) == {"occurred_at", "demo", "submission", "faces", "detector"}
