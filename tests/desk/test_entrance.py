"""Coming in and going out: who is let in, how it is written down, and what a session is worth."""

import logging
from datetime import timedelta
from typing import Literal

import builders
import desk_house
import pytest
from argon2 import PasswordHasher
from desk_house import DeskHouse
from httpx import AsyncClient, Response

from producers.console._desk import digest_of
from producers.console._sessions import local_path
from producers.console.entrance import invite, set_up_link
from rfr_stream.adapters import passwords
from rfr_stream.desk import Operation
from rfr_stream.errors import NotPermitted
from rfr_stream.policy import Role

RIGHT, WRONG, SHORT = "correct horse battery", "incorrect horse battery", "short"


class Counting(PasswordHasher):
    """Counts what takes the time."""

    verified = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 - its word
        self.verified += 1
        return super().verify(hash, password)


async def with_password(house: DeskHouse, account_id: str = "r-ash", password: str = RIGHT) -> None:
    await house.account(account_id, Role.REVIEWER)
    await house.desk.store.accounts.set_password(account_id, await passwords.hashed(password))


async def sign_in(client: AsyncClient, account_id: str = "r-ash", password: str = RIGHT, **more: str) -> Response:
    return await client.post("/sign-in", data={"account_id": account_id, "password": password, **more})


async def log_of(house: DeskHouse, account_id: str) -> list[tuple[Operation, str]]:
    lines = house.desk.store.log.lines()
    return [(each.operation, each.detail) async for each in lines if each.account_id == account_id]


class TestSignIn:
    async def test_whoever_knows_the_password_is_in(self, house: DeskHouse) -> None:
        await with_password(house)
        client = await house.client()

        answer = await sign_in(client)

        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        assert (await client.get("/account")).status_code == 200
        assert await log_of(house, "r-ash") == [(Operation.SESSION, "signed in")]

    async def test_the_cookie_is_for_the_browser_and_this_site_alone(self, house: DeskHouse) -> None:
        await with_password(house)

        cookie = (await sign_in(await house.client())).headers["set-cookie"]

        assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
        assert "Secure" not in cookie  # it is loopback
        assert "Max-Age" not in cookie  # it ends with the browser

    async def test_the_server_keeps_only_a_digest_of_the_token(self, house: DeskHouse) -> None:
        await with_password(house)
        client = await house.client()
        await sign_in(client)
        token = client.cookies[house.desk.cookie]

        rows = await house.rows("SELECT token_sha256 FROM sessions")

        assert len(token) == 43  # 256 bits
        assert len(rows) == 1
        assert token not in str(rows)

    @pytest.mark.parametrize(
        ("account_id", "password"), [("r-ash", WRONG), ("r-nobody", RIGHT), ("r-closed", RIGHT), ("r-invited", RIGHT)]
    )
    async def test_everybody_else_is_told_the_same(self, house: DeskHouse, account_id: str, password: str) -> None:
        await with_password(house)
        await with_password(house, "r-closed")
        await house.desk.store.accounts.disable("r-closed", disabled=True)
        await house.account("r-invited", Role.REVIEWER)
        client = await house.client()

        answer = await sign_in(client, account_id, password)

        assert answer.status_code == 403
        assert "do not belong together, or the account is closed" in answer.text
        assert house.desk.cookie not in client.cookies

    @pytest.mark.parametrize("account_id", ["r-ash", "r-nobody", "r-closed", "r-invited"])
    async def test_the_same_work_is_done_for_a_name_that_nobody_has(
        self, house: DeskHouse, account_id: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await with_password(house)
        await with_password(house, "r-closed")
        await house.desk.store.accounts.disable("r-closed", disabled=True)
        await house.account("r-invited", Role.REVIEWER)
        counting = Counting()
        monkeypatch.setattr(passwords, "_HASHER", counting)

        await sign_in(await house.client(), account_id, WRONG)

        assert counting.verified == 1

    async def test_failures_are_written_down_and_never_what_was_typed(
        self, house: DeskHouse, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        await with_password(house)
        client = await house.client()

        await sign_in(client, "r-ash", WRONG)
        await sign_in(client, "hunter2-in-the-wrong-field", WRONG)

        assert await log_of(house, "r-ash") == [(Operation.SESSION, "not let in: name or password")]
        assert await log_of(house, "nobody") == [(Operation.SESSION, "not let in: name or password")]
        said = [(record.getMessage(), record.__dict__["facts"]) for record in caplog.records if "session" in record.msg]
        assert said == [
            ("session.refused", {"account": "r-ash", "reason": "name or password"}),
            ("session.refused", {"account": "nobody", "reason": "name or password"}),
        ]

    async def test_after_five_tries_an_account_is_closed_to_more_for_a_minute(self, house: DeskHouse) -> None:
        await with_password(house)
        client = await house.client()

        tried = [(await sign_in(client, "r-ash", WRONG)).status_code for _ in range(5)]
        right = await sign_in(client)

        assert tried == [403] * 5
        assert right.status_code == 429
        assert "Wait a minute" in right.text

    async def test_an_address_may_not_try_names_one_after_another(self, house: DeskHouse) -> None:
        client = await house.client()

        tried = [(await sign_in(client, f"r-{n}", WRONG)).status_code for n in range(21)]

        assert tried == [403] * 20 + [429]

    async def test_success_begins_the_count_anew(self, house: DeskHouse) -> None:
        await with_password(house)
        client = await house.client()

        for _ in range(2):
            assert [(await sign_in(client, "r-ash", WRONG)).status_code for _ in range(4)] == [403] * 4
            assert (await sign_in(client)).status_code == 303

    async def test_a_hash_of_older_parameters_is_renewed(self, house: DeskHouse) -> None:
        await with_password(house)
        older = PasswordHasher(time_cost=1, memory_cost=16, parallelism=1).hash(RIGHT)
        await house.desk.store.accounts.set_password("r-ash", older)

        await sign_in(await house.client())

        kept = (await house.account_of("r-ash")).password_hash
        assert kept is not None
        assert kept != older
        assert not passwords.is_outdated(kept)
        assert (await sign_in(await house.client())).status_code == 303

    async def test_a_password_has_one_spelling_whatever_the_keyboard(self, house: DeskHouse) -> None:
        await with_password(house, password="Å" * 12)

        assert (await sign_in(await house.client(), password="A\u030a" * 12)).status_code == 303

    @pytest.mark.parametrize("name", ["\x00", "a\nb", "x" * 200, "", "' OR 1=1"])
    async def test_a_name_that_cannot_be_one_is_no_error_of_ours(self, house: DeskHouse, name: str) -> None:
        assert (await sign_in(await house.client(), name)).status_code == 400


class TestWhereOneGoesFromThere:
    async def test_back_to_the_page_that_one_came_from(self, house: DeskHouse) -> None:
        await with_password(house)
        client = await house.client()

        sent = await client.get("/account")
        asked = await client.get(sent.headers["location"])
        answer = await sign_in(client, next="/account")

        assert sent.headers["location"] == "/sign-in?next=/account"
        assert 'name="next" value="/account"' in asked.text
        assert answer.headers["location"] == "/account"

    async def test_from_a_form_that_came_too_late_back_to_its_page(self, house: DeskHouse) -> None:
        client = await house.client()
        page = f"{house.desk.settings.public_url}/cases/{builders.submission().submission_id}/analysis"

        sent = await client.post("/queue/next", headers={"referer": page})

        assert sent.headers["location"].endswith("/analysis")

    async def test_from_what_a_page_asks_by_itself_back_to_the_page(self, house: DeskHouse) -> None:
        client = await house.client()
        page = f"{house.desk.settings.public_url}/queue?source=officer"

        sent = await client.get("/queue?after=x", headers={"hx-request": "true", "referer": page})

        assert (sent.status_code, sent.headers["hx-redirect"]) == (401, "/sign-in?next=/queue")

    @pytest.mark.parametrize(
        "elsewhere",
        [
            "https://elsewhere.example/",
            "//elsewhere.example/",
            "/\\elsewhere.example/",
            "\\\\elsewhere.example",
            "/\t/elsewhere.example/",
            "/\n/elsewhere.example/",
            "javascript:alert(1)",
            "elsewhere.example",
            " /account",
            "/account\r\nset-cookie: a=b",
            "",
        ],
    )
    async def test_never_to_another_site(self, house: DeskHouse, elsewhere: str) -> None:
        await with_password(house)
        client = await house.client()

        asked = await client.get("/sign-in", params={"next": elsewhere})
        answer = await sign_in(client, next=elsewhere)

        assert 'name="next" value="/"' in asked.text
        assert answer.headers["location"] == "/"

    def test_an_ordinary_path_is_kept(self) -> None:
        for path in ("/", "/queue", "/people/person?of=r-ash%2B1&until=2027-01-01", "/cases/1/record", "/.well-known"):
            assert local_path(path) == path


class TestSessions:
    async def test_one_that_is_not_used_ends(self, house: DeskHouse) -> None:
        client = await house.client(await house.reviewer())
        house.clock.forward(minutes=29)
        assert (await client.get("/account")).status_code == 200
        house.clock.forward(minutes=29)
        assert (await client.get("/account")).status_code == 200

        house.clock.forward(minutes=31)

        assert (await client.get("/account")).status_code == 303

    async def test_one_that_is_used_ends_too(self, house: DeskHouse) -> None:
        client = await house.client(await house.reviewer())
        for _ in range(19):
            house.clock.forward(minutes=25)
            assert (await client.get("/account")).status_code == 200

        house.clock.forward(minutes=6)

        assert (await client.get("/account")).status_code == 303

    async def test_what_ended_long_ago_is_forgotten(self, house: DeskHouse) -> None:
        account = await house.reviewer()
        await house.session(account)
        house.clock.forward(hours=25)

        await house.session(account)

        assert len(await house.rows("SELECT * FROM sessions")) == 1

    async def test_going_out_ends_it_on_the_server(self, house: DeskHouse) -> None:
        client = await house.client(await house.reviewer())
        token = client.cookies[house.desk.cookie]

        answer = await client.post("/sign-out")
        client.cookies.set(house.desk.cookie, token)

        assert answer.headers["location"] == "/sign-in"
        assert (await client.get("/account")).status_code == 303
        assert await log_of(house, "reviewer-a") == [(Operation.SESSION, "signed out")]

    async def test_every_sign_in_is_a_new_one_and_ends_this_browsers_last(self, house: DeskHouse) -> None:
        await with_password(house)
        client = await house.client()
        await sign_in(client)
        first = client.cookies[house.desk.cookie]

        await sign_in(client)
        thief = await house.client()
        thief.cookies.set(house.desk.cookie, first)

        assert client.cookies[house.desk.cookie] != first
        assert (await client.get("/account")).status_code == 200
        assert (await thief.get("/account")).status_code == 303

    async def test_a_token_that_somebody_chose_for_another_is_not_taken_over(self, house: DeskHouse) -> None:
        await with_password(house)
        client = await house.client()
        client.cookies.set(house.desk.cookie, "chosen")

        await sign_in(client)

        assert await house.rows("SELECT token_sha256 FROM sessions") != [(digest_of("chosen"),)]

    @pytest.mark.parametrize("change", ["password", "roles", "closed"])
    async def test_all_of_them_end_when_the_account_changes(self, house: DeskHouse, change: str) -> None:
        account = await house.reviewer()
        clients = [await house.client(account), await house.client(account)]
        accounts = house.desk.store.accounts

        match change:
            case "password":
                await accounts.set_password("reviewer-a", await passwords.hashed(RIGHT))
            case "roles":
                await accounts.set_roles("reviewer-a", {Role.SUBMITTER})
            case _:
                await accounts.disable("reviewer-a", disabled=True)

        assert [(await client.get("/account")).status_code for client in clients] == [303, 303]

    async def test_over_tls_the_cookie_is_this_hosts_own(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        folder = tmp_path_factory.mktemp("tls")
        async with desk_house.opened(folder, public_url="https://desk.example") as house:
            await with_password(house)
            client = await house.client()

            cookie = (await sign_in(client)).headers["set-cookie"]

            assert cookie.startswith("__Host-rfr=")
            assert {"Secure", "HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
            assert "Domain" not in cookie
            assert (await client.get("/account")).status_code == 200


class TestInvitations:
    async def link(self, house: DeskHouse, account_id: str = "r-ash", *roles: Role) -> str:
        desk, now = house.desk, house.clock()
        link = await invite(
            desk.store, desk.settings, account_id, frozenset(roles or {Role.REVIEWER}), by="s-1", now=now
        )
        return link.removeprefix(house.desk.settings.public_url)

    async def accept(self, client: AsyncClient, link: str, password: str = RIGHT, again: str = "") -> Response:
        data = {"code": link.partition("=")[2], "password": password, "again": again or password}
        return await client.post("/invitation", data=data)

    async def test_a_link_lets_its_owner_choose_a_password_and_come_in(self, house: DeskHouse) -> None:
        link, client = await self.link(house), await house.client()

        asked = await client.get(link)
        answer = await self.accept(client, link)

        assert "r-ash" in asked.text
        assert (answer.status_code, answer.headers["location"]) == (303, "/account")
        assert (await client.get("/account")).status_code == 200
        assert (await sign_in(await house.client())).status_code == 303

    async def test_only_a_digest_of_the_code_is_kept(self, house: DeskHouse) -> None:
        code = (await self.link(house)).partition("=")[2]

        assert code not in str(await house.rows("SELECT * FROM accounts"))

    async def test_it_works_once(self, house: DeskHouse) -> None:
        link = await self.link(house)
        await self.accept(await house.client(), link)

        again = await self.accept(await house.client(), link, WRONG)

        assert again.status_code == 403
        assert "used before" in again.text
        assert (await sign_in(await house.client())).status_code == 303

    async def test_of_two_who_are_quick_one_is_refused(self, house: DeskHouse) -> None:
        await self.link(house)
        sha256 = (await house.rows("SELECT invitation_sha256 FROM accounts"))[0][0]

        first = await house.desk.store.accounts.accept(sha256, "one", house.clock())
        second = await house.desk.store.accounts.accept(sha256, "two", house.clock())

        assert [each and each.account_id for each in (first, second)] == ["r-ash", None]
        assert "two" not in str(await house.rows("SELECT * FROM accounts"))

    async def test_after_three_days_it_is_over(self, house: DeskHouse) -> None:
        link = await self.link(house)
        house.clock.forward(hours=72)

        answers = [await (await house.client()).get(link), await self.accept(await house.client(), link)]

        assert [answer.status_code for answer in answers] == [403, 403]

    async def test_a_closed_account_is_not_opened_by_an_older_link(self, house: DeskHouse) -> None:
        link = await self.link(house)
        await house.desk.store.accounts.disable("r-ash", disabled=True)
        await house.desk.store.accounts.disable("r-ash", disabled=False)

        assert (await self.accept(await house.client(), link)).status_code == 403

    @pytest.mark.parametrize(
        ("password", "again", "why"),
        [(SHORT, SHORT, "12 to 256"), ("x" * 257, "x" * 257, "12 to 256"), (RIGHT, WRONG, "not the same")],
    )
    async def test_a_password_that_will_not_do_leaves_the_link_open(
        self, house: DeskHouse, password: str, again: str, why: str
    ) -> None:
        link = await self.link(house)

        answer = await self.accept(await house.client(), link, password, again)

        assert answer.status_code == 400
        assert why in answer.text
        assert (await self.accept(await house.client(), link)).status_code == 303

    async def test_a_new_link_ends_the_one_before_and_the_old_password_when_it_is_used(self, house: DeskHouse) -> None:
        await with_password(house)
        inside = await house.client(await house.account_of("r-ash"))
        older, newer = await self.link(house), await self.link(house)

        assert (await self.accept(await house.client(), older, WRONG)).status_code == 403
        assert (await self.accept(await house.client(), newer, WRONG)).status_code == 303
        assert (await sign_in(await house.client())).status_code == 403
        assert (await inside.get("/account")).status_code == 303

    async def test_roles_that_nobody_holds_together_are_refused(self, house: DeskHouse) -> None:
        with pytest.raises(NotPermitted, match="nobody may be reviewer and supervisor"):
            await self.link(house, "r-ash", Role.REVIEWER, Role.SUPERVISOR)

        assert await house.desk.store.accounts.all() == []

    async def test_inviting_again_is_no_way_to_other_roles(self, house: DeskHouse) -> None:
        await self.link(house)

        with pytest.raises(NotPermitted, match="other roles"):
            await self.link(house, "r-ash", Role.SUPERVISOR)

    @pytest.mark.parametrize("code", ["", "x", "0" * 43])
    async def test_a_guess_opens_nothing(self, house: DeskHouse, code: str) -> None:
        await house.account("r-ash", Role.REVIEWER)  # whom no code invites

        assert (await (await house.client()).get(f"/invitation?code={code}")).status_code == 403


class TestTheFirstAccount:
    async def set_up(self, client: AsyncClient, link: str, **fields: str) -> Response:
        code = link.partition("=")[2]
        filled = {"code": code, "account_id": "s-1", "password": RIGHT, "again": RIGHT, **fields}
        return await client.post("/setup", data=filled)

    async def link(self, house: DeskHouse) -> str:
        link = await set_up_link(house.app)
        assert link is not None
        assert link.startswith(f"{house.desk.settings.public_url}/setup?code=")
        return link.removeprefix(house.desk.settings.public_url)

    async def test_a_link_of_this_process_opens_a_supervisors_account(self, house: DeskHouse) -> None:
        link, client = await self.link(house), await house.client()

        asked = await client.get(link)
        answer = await self.set_up(client, link)

        assert asked.status_code == 200
        assert (answer.status_code, answer.headers["location"]) == (303, "/account")
        assert (await house.account_of("s-1")).roles == {Role.SUPERVISOR}
        assert (await client.get("/people")).status_code == 200

    async def test_it_works_once_and_only_while_nobody_has_an_account(self, house: DeskHouse) -> None:
        link = await self.link(house)
        await self.set_up(await house.client(), link)

        again = await self.set_up(await house.client(), link, account_id="s-2")

        assert again.status_code == 403
        assert await set_up_link(house.app) is None
        assert [each.account_id for each in await house.desk.store.accounts.all()] == ["s-1"]

    async def test_after_an_hour_it_is_over(self, house: DeskHouse) -> None:
        link = await self.link(house)
        house.clock.now += timedelta(hours=1)

        assert (await (await house.client()).get(link)).status_code == 403
        assert (await self.set_up(await house.client(), link)).status_code == 403

    @pytest.mark.parametrize("code", ["x", "0" * 43])
    async def test_a_guess_opens_nothing(self, house: DeskHouse, code: str) -> None:
        client = await house.client()
        assert (await client.get(f"/setup?code={code}")).status_code == 403  # before there is a link

        await self.link(house)

        assert (await client.get(f"/setup?code={code}")).status_code == 403
        assert (await self.set_up(client, f"={code}")).status_code == 403

    async def test_what_is_filled_in_wrongly_can_be_filled_in_again(self, house: DeskHouse) -> None:
        link = await self.link(house)

        short = await self.set_up(await house.client(), link, password=SHORT, again=SHORT)
        odd = await self.set_up(await house.client(), link, account_id="Jane Doe")
        right = await self.set_up(await house.client(), link)

        assert (short.status_code, odd.status_code, right.status_code) == (400, 400, 303)
        assert 'value="s-1"' in short.text
