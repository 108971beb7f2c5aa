"""What supervisors do: invite, close, and say who is trained, by their signature."""

import html
import re
from datetime import timedelta
from http import HTTPStatus

import builders
import pytest
from builders import NOW
from desk_house import DeskHouse
from httpx import AsyncClient, Response

from rfr_stream.adapters import keys
from rfr_stream.errors import Unavailable
from rfr_stream.events import CompetenceCertified
from rfr_stream.policy import Role

UNTIL = (NOW + timedelta(days=365)).date().isoformat()
SENDS_BACK = HTTPStatus.SEE_OTHER


@pytest.fixture
async def supervisor(house: DeskHouse) -> AsyncClient:
    return await house.client(await house.supervisor())


async def draft(client: AsyncClient, account_id: str = "r-ash", until: str = UNTIL) -> Response:
    return await client.post("/people/certification", data={"account_id": account_id, "until": until})


def words_of(page: Response) -> CompetenceCertified:
    carried = re.search(r'name="draft" value="([^"]*)"', page.text)
    assert carried, page.text
    return CompetenceCertified.model_validate_json(html.unescape(carried[1]))


async def sign(client: AsyncClient, words: CompetenceCertified, by: str = "supervisor-1") -> Response:
    signature = keys.sign_bytes(builders.private_key(by), words.signed_bytes)
    data = {"draft": words.model_dump_json(), "signature": signature, "authenticator_data": "", "client_data": ""}
    return await client.post("/people/certification/signature", data=data)


class TestInviting:
    async def test_somebody_gets_a_link_that_is_shown_once(self, house: DeskHouse, supervisor: AsyncClient) -> None:
        answer = await supervisor.post(
            "/people/invitations", data={"account_id": "r-ash", "role": ["reviewer", "submitter"]}
        )

        assert (await house.account_of("r-ash")).roles == {Role.REVIEWER, Role.SUBMITTER}
        link = re.search(r"http://localhost:8470(/invitation\?code=[\w-]{43})", answer.text)
        assert link
        assert (await (await house.client()).get(link[1])).status_code == 200
        assert "/invitation?code=" not in (await supervisor.get("/people")).text
        assert [line.detail for line in await house.desk.store.log.about("r-ash")] == ["account: invited"]

    async def test_in_roles_that_nobody_holds_together_nobody(self, house: DeskHouse, supervisor: AsyncClient) -> None:
        answer = await supervisor.post(
            "/people/invitations", data={"account_id": "r-ash", "role": ["reviewer", "supervisor"]}
        )

        assert answer.status_code == 403
        assert "Nobody may be reviewer and supervisor." in answer.text
        assert await house.desk.store.accounts.account("r-ash") is None

    @pytest.mark.parametrize(
        "fields",
        [
            {"account_id": "r-ash"},
            {"account_id": "Jane Doe", "role": "reviewer"},
            {"account_id": "r-ash", "role": "king"},
        ],
    )
    async def test_not_without_a_name_and_a_role(self, supervisor: AsyncClient, fields: dict[str, str]) -> None:
        assert (await supervisor.post("/people/invitations", data=fields)).status_code == 400


class TestClosingAndChanging:
    async def test_a_closed_account_is_out_at_once(self, house: DeskHouse, supervisor: AsyncClient) -> None:
        ash = await house.client(await house.account("r-ash", Role.REVIEWER))

        answer = await supervisor.post("/people/standing", data={"account_id": "r-ash", "closed": "true"})

        assert answer.headers["location"] == "/people/person?of=r-ash"
        assert (await ash.get("/account")).status_code == SENDS_BACK
        assert "closed" in (await supervisor.get("/people")).text

    async def test_and_can_be_opened_again(self, house: DeskHouse, supervisor: AsyncClient) -> None:
        account = await house.account("r-ash", Role.REVIEWER)
        for closed in ("true", "false"):
            await supervisor.post("/people/standing", data={"account_id": "r-ash", "closed": closed})

        assert (await (await house.client(account)).get("/account")).status_code == 200

    async def test_with_other_roles_one_signs_in_anew(self, house: DeskHouse, supervisor: AsyncClient) -> None:
        ash = await house.client(await house.account("r-ash", Role.REVIEWER))

        await supervisor.post("/people/roles", data={"account_id": "r-ash", "role": ["auditor"]})

        assert (await house.account_of("r-ash")).roles == {Role.AUDITOR}
        assert (await ash.get("/account")).status_code == SENDS_BACK

    @pytest.mark.parametrize("role", [["auditor", "reviewer"], ["gallery_admin", "policy_admin"]])
    async def test_roles_that_nobody_holds_together_are_refused(
        self, house: DeskHouse, supervisor: AsyncClient, role: list[str]
    ) -> None:
        await house.account("r-ash", Role.REVIEWER)

        answer = await supervisor.post("/people/roles", data={"account_id": "r-ash", "role": role})

        assert answer.status_code == 403
        assert (await house.account_of("r-ash")).roles == {Role.REVIEWER}

    @pytest.mark.parametrize(
        ("path", "fields"), [("roles", {"role": "policy_admin"}), ("standing", {"closed": "true"})]
    )
    async def test_nobody_changes_their_own_account(
        self, house: DeskHouse, supervisor: AsyncClient, path: str, fields: dict[str, str]
    ) -> None:
        answer = await supervisor.post(f"/people/{path}", data={"account_id": "supervisor-1", **fields})

        assert answer.status_code == 403
        assert await house.account_of("supervisor-1") == (await house.desk.store.accounts.all())[0]
        assert (await house.account_of("supervisor-1")).roles == {Role.SUPERVISOR}

    async def test_nobody_of_that_name_is_no_error_of_ours(self, supervisor: AsyncClient) -> None:
        assert (await supervisor.get("/people/person?of=r-nobody")).status_code == 404
        assert (await supervisor.get("/people/person?of=%00")).status_code == 400

    async def test_a_name_may_hold_all_that_a_name_may(self, house: DeskHouse, supervisor: AsyncClient) -> None:
        odd = "unit/7:r+ash@site"
        await house.account(odd, Role.REVIEWER)
        (path,) = re.findall(r'href="(/people/person\?of=unit[^"]*)"', (await supervisor.get("/people")).text)

        assert odd in html.unescape((await supervisor.get(html.unescape(path))).text)
        changed = await supervisor.post("/people/standing", data={"account_id": odd, "closed": "false"})
        assert (await supervisor.get(changed.headers["location"])).status_code == 200


class TestCertifying:
    async def test_a_supervisors_signature_makes_a_reviewer(self, house: DeskHouse, supervisor: AsyncClient) -> None:
        await house.account("r-ash", Role.REVIEWER)

        page = await draft(supervisor)
        answer = await sign(supervisor, words_of(page))

        assert answer.headers["location"] == f"/people/person?of=r-ash&until={UNTIL}"
        assert "Signed and sent" in (await supervisor.get(answer.headers["location"])).text
        await house.count()
        shown = (await supervisor.get(answer.headers["location"])).text
        assert "May review, until 01 March 2027" in shown
        assert "Signed and sent" not in shown
        registered = await house.desk.ledger.reviewer("r-ash")
        assert registered is not None
        assert registered.public_key == (await house.account_of("r-ash")).public_key

    async def test_what_is_signed_names_the_key_that_the_page_shows(
        self, house: DeskHouse, supervisor: AsyncClient
    ) -> None:
        account = await house.account("r-ash", Role.REVIEWER)

        page = await draft(supervisor)

        assert words_of(page).public_key == account.public_key
        assert keys.fingerprint(account.public_key or "") in page.text

    async def test_it_is_written_down(self, house: DeskHouse, supervisor: AsyncClient) -> None:
        await house.account("r-ash", Role.REVIEWER)

        await sign(supervisor, words_of(await draft(supervisor)))

        (line,) = await house.desk.store.log.about("r-ash")
        assert (line.account_id, line.detail.partition(",")[0]) == ("supervisor-1", f"certified until {UNTIL}")

    async def test_a_lapsed_reviewer_is_renewed(self, house: DeskHouse, supervisor: AsyncClient) -> None:
        await house.desk.ledger.register(builders.reviewer("r-ash", competent_until=NOW - timedelta(days=1)))
        await house.account("r-ash", Role.REVIEWER)
        assert "lapsed" in (await supervisor.get("/people")).text

        await sign(supervisor, words_of(await draft(supervisor)))
        await house.count()

        assert "lapsed" not in (await supervisor.get("/people")).text

    @pytest.mark.parametrize("until", ["2026-02-28", "2029-04-01"])
    async def test_not_for_a_time_that_is_over_or_too_far(
        self, house: DeskHouse, supervisor: AsyncClient, until: str
    ) -> None:
        await house.account("r-ash", Role.REVIEWER)

        assert (await draft(supervisor, until=until)).status_code == 403

    async def test_nobody_without_a_key_or_without_the_role_or_closed(
        self, house: DeskHouse, supervisor: AsyncClient
    ) -> None:
        await house.newcomer("r-nokey", Role.REVIEWER)
        await house.account("a-1", Role.AUDITOR)
        await house.account("r-closed", Role.REVIEWER)
        await house.desk.store.accounts.disable("r-closed", disabled=True)

        answers = [await draft(supervisor, each) for each in ("r-nokey", "a-1", "r-closed", "supervisor-1")]

        assert [answer.status_code for answer in answers] == [403] * 4

    async def test_nobody_whose_key_is_another_or_anothers(self, house: DeskHouse, supervisor: AsyncClient) -> None:
        await house.reviewer("r-ash")
        await house.desk.store.accounts.set_key("r-ash", keys.public_text(keys.generate()))
        await house.account("r-oak", Role.REVIEWER)
        await house.desk.store.accounts.set_key("r-oak", keys.public_text(builders.private_key("r-ash")))

        answers = [await draft(supervisor, each) for each in ("r-ash", "r-oak")]

        assert [answer.status_code for answer in answers] == [403, 403]
        assert all("one person, one key" in answer.text.lower() for answer in answers)

    async def test_by_nobody_else(self, house: DeskHouse, supervisor: AsyncClient) -> None:
        await house.account("r-ash", Role.REVIEWER)
        reviewer = await house.client(await house.reviewer("reviewer-a"))
        unregistered = await house.client(await house.account("s-2", Role.SUPERVISOR))
        words = words_of(await draft(supervisor))

        assert (await draft(reviewer)).status_code == 403
        assert (await draft(unregistered)).status_code == 403
        assert (await sign(unregistered, words, by="s-2")).status_code == 403
        assert (await sign(supervisor, words, by="reviewer-a")).status_code == 403
        assert house.published == []

    async def test_by_no_supervisor_whose_own_training_has_lapsed(
        self, house: DeskHouse, supervisor: AsyncClient
    ) -> None:
        await house.account("r-ash", Role.REVIEWER)
        await house.desk.ledger.register(builders.supervisor(competent_until=NOW - timedelta(days=1)))

        answer = await draft(supervisor)

        assert answer.status_code == 403
        assert "lapsed" in answer.text

    @pytest.mark.parametrize(
        "change",
        [
            {"reviewer_id": "r-oak"},
            {"public_key": keys.public_text(keys.generate())},
            {"competent_until": NOW + timedelta(days=365 * 10)},
            {"certified_by": "supervisor-2"},
            {"occurred_at": NOW + timedelta(hours=1)},
            {"occurred_at": NOW - timedelta(hours=2)},
            {"demo": True},
        ],
    )
    async def test_words_that_the_desk_did_not_write_are_not_sent(
        self, house: DeskHouse, supervisor: AsyncClient, change: dict[str, object]
    ) -> None:
        await house.account("r-ash", Role.REVIEWER)
        await house.newcomer("r-oak", Role.REVIEWER)
        words = words_of(await draft(supervisor)).model_copy(update=change)

        answer = await sign(supervisor, words)

        assert answer.status_code == 403
        assert house.published == []

    async def test_a_page_that_was_left_open_is_begun_again(self, house: DeskHouse, supervisor: AsyncClient) -> None:
        await house.account("r-ash", Role.REVIEWER)
        words = words_of(await draft(supervisor))
        for _ in range(3):
            house.clock.forward(minutes=25)
            await supervisor.get("/account")

        assert (await sign(supervisor, words)).status_code == 403

    async def test_a_bus_that_is_away_is_told_as_such(self, house: DeskHouse, supervisor: AsyncClient) -> None:
        await house.account("r-ash", Role.REVIEWER)
        words = words_of(await draft(supervisor))

        async def away(_: object) -> None:
            raise Unavailable

        object.__setattr__(house.desk, "publish", away)

        assert (await sign(supervisor, words)).status_code == 503


class TestThePages:
    @pytest.mark.parametrize("role", [each for each in Role if each is not Role.SUPERVISOR])
    @pytest.mark.parametrize("path", ["/people", "/people/person?of=r-ash", f"/people/training?of=r-ash&until={UNTIL}"])
    async def test_are_supervisors_alone(self, house: DeskHouse, role: Role, path: str) -> None:
        client = await house.client(await house.account("x-1", role))

        assert (await client.get(path)).status_code == 403

    async def test_ask_the_ledger_again_until_it_has_what_was_signed(
        self, house: DeskHouse, supervisor: AsyncClient
    ) -> None:
        await house.account("r-ash", Role.REVIEWER)
        asks = f"/people/training?of=r-ash&until={UNTIL}"
        assert 'hx-trigger="every 2s"' in (await supervisor.get(asks)).text

        await sign(supervisor, words_of(await draft(supervisor)))
        await house.count()

        assert "hx-trigger" not in (await supervisor.get(asks)).text
