"""What the public sent in: nobody is searched for until an officer endorses it, and then once."""

import asyncio
import re
from dataclasses import replace
from io import BytesIO
from uuid import UUID, uuid5

import httpx
import pictures
import pytest
from desk_house import DeskHouse
from desk_pages import contributed, endorsement
from PIL import Image

from rfr_stream.adapters.memory.blobs import MemoryBlobs
from rfr_stream.desk import Operation
from rfr_stream.errors import NotPermitted, Unavailable
from rfr_stream.events import ImageSubmitted, Origin, Source
from rfr_stream.faces import Point
from rfr_stream.policy import Role
from rfr_stream.ports import Contribution, NewBlob


async def officer(house: DeskHouse, account_id: str = "officer-1", *more: Role) -> httpx.AsyncClient:
    return await house.client(await house.account(account_id, Role.SUBMITTER, *more))


def endorse_path(sent: Contribution) -> str:
    return f"/appeals/{sent.contribution_id}/endorsement"


async def endorse(client: httpx.AsyncClient, sent: Contribution, **fields: str) -> httpx.Response:
    form = endorsement(contribution_id=str(sent.contribution_id), **fields)
    return await client.post(endorse_path(sent), data=form)


class TestWaiting:
    async def test_copies_are_one_and_the_newest_appeal_comes_first(self, house: DeskHouse) -> None:
        await contributed(house, "one", copies=3)
        house.clock.forward(hours=1)
        await contributed(house, "two", appeal_ref="appeal-2")

        page = (await (await officer(house)).get("/appeals")).text

        assert page.index("appeal-2") < page.index("appeal-1")
        assert page.count("<li class") == 2
        assert "sent 3 times" in page
        assert "<strong>2</strong> pictures wait" in page

    async def test_pages_follow_each_other_and_miss_none(self, house: DeskHouse) -> None:
        client = await officer(house)
        for n in range(26):
            await contributed(house, f"picture-{n}", appeal_ref=f"appeal-{n // 5}")
        first = (await client.get("/appeals")).text
        (there,) = re.findall(r'rel="next" href="([^"]+)"', first)
        second = (await client.get(there.replace("&amp;", "&"))).text

        assert (first.count("<li class"), second.count("<li class")) == (24, 2)
        shown = re.findall(r'href="/appeals/([0-9a-f-]{36})"', first + second)
        assert len(set(shown)) == 26
        assert (await client.get("/appeals?after=nowhere")).status_code == 403

    async def test_what_could_not_be_opened_is_told(self, house: DeskHouse) -> None:
        broken = await contributed(house, "one")
        again = replace(broken, contribution_id=_other_id(broken), fingerprint=None, flaw="image: HEIC")
        await house.ledger.contribute([again])

        page = (await (await officer(house)).get("/appeals")).text

        assert "1 could not be opened" in page
        assert str(again.contribution_id) in page

    async def test_a_demonstrations_pictures_are_not_here(self, house: DeskHouse) -> None:
        sent = await contributed(house, "one", demo=True)
        client = await officer(house)
        assert "Nothing waits" in (await client.get("/appeals")).text
        assert (await client.get(f"/appeals/{sent.contribution_id}")).status_code == 404
        assert (await client.get(f"/appeals/pictures/{sent.contribution_id}")).status_code == 404


def _other_id(of: Contribution) -> UUID:
    return uuid5(of.contribution_id, "another")


class TestLooking:
    @pytest.mark.parametrize("size", ["", "/small"])
    async def test_a_picture_is_shown_without_metadata_and_that_is_logged(self, house: DeskHouse, size: str) -> None:
        sent = await contributed(house)
        answer = await (await officer(house)).get(f"/appeals/pictures/{sent.contribution_id}{size}")

        assert answer.status_code == 200
        shown = Image.open(BytesIO(answer.content))
        assert not shown.getexif()
        assert max(shown.size) == (240 if size else 480)
        (line,) = await house.desk.store.log.about(str(sent.contribution_id))
        assert (line.account_id, line.operation) == ("officer-1", Operation.CONSULTATION)

    @pytest.mark.parametrize("role", [role for role in Role if role is not Role.SUBMITTER])
    async def test_it_is_for_officers_alone(self, house: DeskHouse, role: Role) -> None:
        sent = await contributed(house)
        client = await house.client(await house.account("somebody", role))
        for path in ("", f"/{sent.contribution_id}", f"/pictures/{sent.contribution_id}"):
            assert (await client.get(f"/appeals{path}")).status_code == 403
        assert (await endorse(client, sent)).status_code == 403
        assert house.published == []

    async def test_nothing_is_shown_that_cannot_be_logged(self, house: DeskHouse, without_log: object) -> None:
        sent = await contributed(house)
        client = await officer(house)
        await without_log()  # type: ignore[operator]
        assert (await client.get(f"/appeals/pictures/{sent.contribution_id}")).status_code >= 500
        assert (await endorse(client, sent)).status_code >= 500
        assert house.published == []


class TestEndorsing:
    async def test_the_picture_is_handed_in_by_the_publics_door_in_the_officers_name(self, house: DeskHouse) -> None:
        sent = await contributed(house, copies=2)
        answer = await endorse(await officer(house), sent, x="120", y="80.5", age_at_capture="34")

        assert (answer.status_code, answer.headers["location"]) == (303, "/appeals")
        (said,) = house.published
        assert isinstance(said, ImageSubmitted)
        asked = said.submission
        assert (asked.source, asked.submitted_by, asked.case_ref) == (Source.PUBLIC_APPEAL, "officer-1", "appeal-1")
        assert (asked.subject, asked.age_at_capture) == (Point(120, 80.5), 34)
        assert asked.provenance
        assert (asked.provenance.origin, asked.provenance.exhibit_ref) == (Origin.PUBLIC_SUBMISSION, "EX-1")
        assert asked.image.sha256 == sent.image.sha256
        assert await house.desk.blobs.get([asked.image]) == await house.desk.blobs.get([sent.image])

    async def test_it_waits_no_more_and_nobody_looks_at_it_there(self, house: DeskHouse) -> None:
        sent, client = await contributed(house), await officer(house)
        await endorse(client, sent)
        assert "Nothing waits" in (await client.get("/appeals")).text
        assert (await client.get(f"/appeals/pictures/{sent.contribution_id}")).status_code == 404
        await contributed(house, copies=3)  # and a copy that comes later does not wait either
        assert "Nothing waits" in (await client.get("/appeals")).text

    async def test_twice_is_one_submission_also_by_two_officers_at_once(self, house: DeskHouse) -> None:
        sent = await contributed(house)
        one, other = await officer(house), await officer(house, "officer-2")
        await asyncio.gather(endorse(one, sent), endorse(other, sent), endorse(one, sent))
        await endorse(other, sent)
        assert len({said.event_id for said in house.published}) == 1

    async def test_what_was_endorsed_while_the_bus_was_away_is_handed_in_as_it_was_endorsed(
        self, house: DeskHouse
    ) -> None:
        sent, client = await contributed(house), await officer(house)
        publish = house.desk.publish

        async def away(_: object) -> None:
            msg = "away"
            raise Unavailable(msg)

        object.__setattr__(house.desk, "publish", away)
        assert (await endorse(client, sent)).status_code == 503
        object.__setattr__(house.desk, "publish", publish)
        other = await officer(house, "officer-2")
        assert "endorsed, not handed in" in (await other.get("/appeals")).text
        assert "Hand it in" in (await other.get(f"/appeals/{sent.contribution_id}")).text
        assert (await other.post(f"/appeals/{sent.contribution_id}/handing-in")).status_code == 303
        (said,) = house.published
        assert isinstance(said, ImageSubmitted)
        assert said.submission.submitted_by == "officer-1"
        assert (await other.post(f"/appeals/{sent.contribution_id}/handing-in")).status_code == 404

    @pytest.mark.parametrize(
        ("fields", "says"),
        [
            ({"purpose": ""}, "purpose"),
            ({"harm": ""}, "harm"),
            ({"legal_basis": ""}, "legal basis"),
            ({"necessity": "short"}, "necessity"),
            ({"exhibit_ref": ""}, "exhibit ref"),
            ({"x": "left"}, "x"),
            ({"x": "1"}, "y"),
            ({"age_at_capture": "-1"}, "age at capture"),
            ({"purpose": "victim"}, "Required for purpose victim"),
            ({"purpose": "deceased"}, "deceased"),
            ({"regime": ""}, "For purpose missing, say"),
        ],
    )
    async def test_what_is_not_said_is_asked_for_and_what_was_said_is_kept(
        self, house: DeskHouse, fields: dict[str, str], says: str
    ) -> None:
        sent, client = await contributed(house), await officer(house)
        answer = await endorse(client, sent, **fields)
        assert answer.status_code == 400
        assert says.lower() in answer.text.lower()
        assert "EX-1" in answer.text or "exhibit_ref" in fields
        assert house.published == []

    async def test_the_same_words_of_another_case_are_refused(self, house: DeskHouse) -> None:
        one, two = await contributed(house, "one"), await contributed(house, "two", appeal_ref="appeal-2")
        client = await officer(house)
        assert (await endorse(client, one)).status_code == 303
        assert "same was said of another case" in (await endorse(client, two)).text

    async def test_a_copy_can_be_chosen_and_what_is_none_cannot(self, house: DeskHouse) -> None:
        sent = await contributed(house, "one")
        small = pictures.jpeg(pictures.picture("one").reduce(2))
        (image,) = await house.desk.blobs.put([NewBlob("appeals/small", small, "image/jpeg")])
        copy = replace(sent, contribution_id=_other_id(sent), image=image, pixels=240 * 180)
        await house.ledger.contribute([copy])
        elsewhere, client = await contributed(house, "two"), await officer(house)

        page = (await client.get(f"/appeals/{sent.contribution_id}")).text
        assert f'value="{sent.contribution_id}" checked' in page
        assert f'value="{copy.contribution_id}"' in page
        form = endorsement(contribution_id=str(elsewhere.contribution_id))
        assert (await client.post(endorse_path(sent), data=form)).status_code == 404
        form = endorsement(contribution_id=str(copy.contribution_id))
        assert (await client.post(endorse_path(sent), data=form)).status_code == 303
        (said,) = house.published
        assert isinstance(said, ImageSubmitted)
        assert said.submission.image.sha256 == image.sha256

    async def test_whoever_endorsed_it_does_not_review_it(self, house: DeskHouse) -> None:
        sent, client = await contributed(house), await officer(house, "both-1", Role.REVIEWER)
        await endorse(client, sent)
        (said,) = house.published
        assert isinstance(said, ImageSubmitted)
        assert said.submission.submitted_by == "both-1"

    async def test_a_picture_that_is_gone_is_not_endorsed(self, house: DeskHouse) -> None:
        sent = await contributed(house)
        blobs = house.desk.blobs
        assert isinstance(blobs, MemoryBlobs)
        await blobs.delete([sent.image])
        assert (await endorse(await officer(house), sent)).status_code == 404
        assert house.published == []


class TestDismissing:
    async def test_with_a_reason_it_waits_no_more_and_is_not_endorsed_any_more(self, house: DeskHouse) -> None:
        sent, client = await contributed(house, copies=2), await officer(house)
        there = f"/appeals/{sent.contribution_id}/dismissal"
        assert (await client.post(there, data={"reason": " "})).status_code == 400
        assert (await client.post(there, data={"reason": "a drawing"})).status_code == 303
        assert "Nothing waits" in (await client.get("/appeals")).text
        assert (await endorse(client, sent)).status_code == 404
        assert (await client.post(there, data={"reason": "a drawing"})).status_code == 404
        assert house.published == []
        assert (await house.desk.store.log.about(str(sent.contribution_id)))[-1].detail == "dismissed"

    async def test_one_officers_word_stands(self, house: DeskHouse) -> None:
        one, two, sendings = await contributed(house, "one"), await contributed(house, "two"), house.desk.store.sendings
        await sendings.endorse(one, "first", "officer-8", house.clock())
        await sendings.endorse(one, "second", "officer-9", house.clock())
        with pytest.raises(NotPermitted):
            await sendings.dismiss(one.contribution_id, "no", "officer-9", house.clock())
        endorsed = await sendings.endorsed(one.contribution_id)
        assert endorsed
        assert endorsed.request == "first"
        await sendings.dismiss(two.contribution_id, "no", "officer-9", house.clock())
        await sendings.endorse(two, "second", "officer-9", house.clock())
        assert await sendings.endorsed(two.contribution_id) is None


async def test_officers_are_sent_to_where_their_work_is(house: DeskHouse) -> None:
    assert (await (await officer(house)).get("/")).headers["location"] == "/appeals"
