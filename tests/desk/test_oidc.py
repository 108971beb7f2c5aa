"""Signing in by an organisation's provider, which is another process, and may be wrong in every way."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import desk_house
import httpx
import oidc_provider
import pytest
from desk_house import DeskHouse
from httpx import AsyncClient, Response
from oidc_provider import Running
from pydantic import ValidationError

from producers.console.entrance import set_up_link
from rfr_stream.adapters import passwords
from rfr_stream.policy import Role
from rfr_stream.settings import DeskSettings


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with oidc_provider.running() as started:
        yield started


@pytest.fixture
def provider(server: Running) -> Running:
    server.says()
    return server


@pytest.fixture
async def house(tmp_path: Path, provider: Running) -> AsyncIterator[DeskHouse]:
    async with desk_house.opened(tmp_path, **provider.settings()) as opened:
        yield opened


async def begin(client: AsyncClient, there: str = "/account") -> str:
    """Go to the provider, and return where it sends the browser back to."""
    sent = await client.get("/sign-in/provider", params={"next": there})
    assert sent.status_code == 303, sent.text
    async with httpx.AsyncClient() as browser:
        back = (await browser.get(sent.headers["location"])).headers["location"]
    assert back.startswith("http://localhost:8470/sign-in/callback?")
    return back


async def sign_in(client: AsyncClient) -> Response:
    return await client.get(await begin(client))


async def refusals(house: DeskHouse) -> list[str]:
    return [each.detail async for each in house.desk.store.log.lines() if each.detail.startswith("not let in")]


class TestWhoIsLetIn:
    async def test_whom_the_provider_vouches_for(self, house: DeskHouse) -> None:
        client = await house.client()

        answer = await sign_in(client)

        assert answer.status_code == 200  # a page: a browser would send no strict cookie along with a redirect
        assert '<meta http-equiv="refresh" content="0; url=/account">' in answer.text
        assert "r-ash" in (await client.get("/account")).text
        assert (await house.account_of("r-ash")).roles == {Role.REVIEWER}
        assert [each.detail async for each in house.desk.store.log.lines()] == ["signed in"]

    async def test_what_lies_in_the_browser_meanwhile_is_for_a_moment(self, house: DeskHouse) -> None:
        client = await house.client()

        begun = (await client.get("/sign-in/provider")).headers["set-cookie"]
        ended = (await sign_in(client)).headers.get_list("set-cookie")

        assert {"HttpOnly", "SameSite=lax", "Max-Age=600", "Path=/"} <= set(begun.split("; "))
        assert any(each.startswith("rfr-provider=") and "Max-Age=0" in each for each in ended)
        assert any(each.startswith("rfr=") and "SameSite=strict" in each for each in ended)

    async def test_the_same_person_has_the_same_account_whatever_they_are_called(
        self, house: DeskHouse, provider: Running
    ) -> None:
        await sign_in(await house.client())
        provider.says(preferred_username="r-oak")

        await sign_in(await house.client())

        assert [each.account_id for each in await house.desk.store.accounts.all()] == ["r-ash"]

    async def test_their_roles_are_those_that_the_provider_says_now(self, house: DeskHouse, provider: Running) -> None:
        earlier = await house.client()
        await sign_in(earlier)
        provider.says(rfr_roles=["submitter", "reviewer"])

        await sign_in(await house.client())

        assert (await house.account_of("r-ash")).roles == {Role.SUBMITTER, Role.REVIEWER}
        assert (await earlier.get("/account")).status_code == 303  # with the roles before, it ended

    async def test_what_tells_them_apart_is_the_providers_own_name_for_them(
        self, house: DeskHouse, provider: Running
    ) -> None:
        await sign_in(await house.client())
        provider.says(sub="0002")  # somebody else, who is called the same

        answer = await sign_in(await house.client())

        assert answer.status_code == 403
        assert "for this person, already" in answer.text

    async def test_never_to_another_site(self, house: DeskHouse) -> None:
        client = await house.client()

        answer = await client.get(await begin(client, "//elsewhere.example"))

        assert 'content="0; url=/"' in answer.text


class TestWhoIsNot:
    @pytest.mark.parametrize(
        "fault",
        [
            "state",
            "denied",
            "nonce",
            "audience",
            "audiences",
            "audience, but for us",
            "party",
            "issuer",
            "expired",
            "not yet",
            "key",
            "none",
            "shared secret",
            "without nonce",
            "without exp",
            "without aud",
            "without sub",
        ],
    )
    async def test_whom_it_vouches_for_wrongly(
        self, house: DeskHouse, provider: Running, fault: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        provider.says(fault=fault)
        client = await house.client()

        answer = await sign_in(client)

        assert answer.status_code == 403
        assert "<h1>Not permitted</h1>" in answer.text
        assert "<b>no</b>" not in answer.text
        assert house.desk.cookie not in client.cookies
        assert await house.desk.store.accounts.all() == []
        assert len(await refusals(house)) == 1
        assert [each.getMessage() for each in caplog.records if "session" in each.msg] == ["session.refused"]

    @pytest.mark.parametrize(
        "said",
        [
            {"rfr_roles": ["reviewer", "supervisor"]},
            {"rfr_roles": ["reviewer", "janitor"]},
            {"rfr_roles": []},
            {"rfr_roles": "reviewer"},
            {"rfr_roles": None},
            {"rfr_roles": {"reviewer": True}},
            {"rfr_roles": [1]},
            {"preferred_username": "Jane Doe"},
            {"preferred_username": ""},
            {"preferred_username": "x" * 129},
            {"preferred_username": 7},
            {"preferred_username": None},
            {"sub": ""},
            {"sub": "x" * 256},
            {"sub": "a\u0000b"},
            {"sub": 7},
        ],
    )
    async def test_whoever_makes_no_account(self, house: DeskHouse, provider: Running, said: dict[str, Any]) -> None:
        provider.says(**said)

        answer = await sign_in(await house.client())

        assert answer.status_code == 403
        assert await house.desk.store.accounts.all() == []
        assert len(await refusals(house)) == 1

    async def test_roles_that_conflict_are_named_in_a_sentence(self, house: DeskHouse, provider: Running) -> None:
        provider.says(rfr_roles=["reviewer", "supervisor"])

        answer = await sign_in(await house.client())

        assert "Nobody may be reviewer and supervisor." in answer.text

    async def test_whose_account_is_closed(self, house: DeskHouse) -> None:
        await sign_in(await house.client())
        await house.desk.store.accounts.disable("r-ash", disabled=True)
        client = await house.client()

        answer = await sign_in(client)

        assert answer.status_code == 403
        assert "closed" in answer.text
        assert house.desk.cookie not in client.cookies

    async def test_whoever_comes_twice_with_one_code(self, house: DeskHouse) -> None:
        client = await house.client()
        back = await begin(client)
        kept = client.cookies["rfr-provider"]
        await client.get(back)
        client.cookies.set("rfr-provider", kept)

        answer = await client.get(back)

        assert answer.status_code == 403
        assert "knows it as used" in answer.text

    async def test_whoever_comes_back_in_another_browser(self, house: DeskHouse) -> None:
        mine, thine = await house.client(), await house.client()
        back = await begin(mine)
        await begin(thine)

        for client in (thine, await house.client()):
            answer = await client.get(back)
            assert answer.status_code == 403
            assert "did not begin in this browser" in answer.text

    async def test_whoever_writes_the_cookie_themselves(self, house: DeskHouse) -> None:
        client = await house.client()
        back = await begin(client)
        header, claims, signature = client.cookies["rfr-provider"].split(".")
        forged = signature[:-2] + ("AA" if not signature.endswith("AA") else "BB")

        for value in (f"{header}.{claims}.{forged}", f"{header}.{claims}.", "x", "", "eyJhbGciOiJub25lIn0.e30."):
            client.cookies.clear()
            client.cookies.set("rfr-provider", value)
            assert (await client.get(back)).status_code == 403

    async def test_whoever_took_too_long(self, house: DeskHouse, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("producers.console.oidc._UNDER_WAY_S", -1)
        client = await house.client()

        sent = await client.get("/sign-in/provider")
        assert "Max-Age=-1" in sent.headers["set-cookie"]
        client.cookies.set("rfr-provider", sent.headers["set-cookie"].partition("=")[2].partition(";")[0])
        state = httpx.URL(sent.headers["location"]).params["state"]

        answer = await client.get("/sign-in/callback", params={"code": "x", "state": state})

        assert answer.status_code == 403
        assert "too long ago" in answer.text

    async def test_whoever_comes_with_nothing(self, house: DeskHouse) -> None:
        assert (await (await house.client()).get("/sign-in/callback")).status_code == 403


class TestAProviderThatIsAway:
    @pytest.mark.parametrize("fault", ["discovery", "discovery issuer"])
    async def test_nobody_is_sent_there(self, house: DeskHouse, provider: Running, fault: str) -> None:
        provider.says(fault=fault)

        answer = await (await house.client()).get("/sign-in/provider")

        assert answer.status_code == 503
        assert "does not answer" in answer.text

    @pytest.mark.parametrize("fault", ["token", "keys", "no id token"])
    async def test_whoever_comes_back_is_told(self, house: DeskHouse, provider: Running, fault: str) -> None:
        client = await house.client()
        back = await begin(client)
        provider.says(fault=fault)

        answer = await client.get(back)

        assert answer.status_code == 503
        assert await house.desk.store.accounts.all() == []

    async def test_nothing_listens_there(self, tmp_path: Path, provider: Running) -> None:
        nowhere = {**provider.settings(), "oidc_issuer": "http://127.0.0.1:1"}
        async with desk_house.opened(tmp_path, **nowhere) as house:
            assert (await (await house.client()).get("/sign-in/provider")).status_code == 503


class TestADeskWithAProvider:
    async def test_says_so_where_one_signs_in(self, house: DeskHouse) -> None:
        page = (await (await house.client()).get("/sign-in?next=/queue")).text

        assert 'href="/sign-in/provider?next=/queue"' in page
        assert "password" not in page.replace("keeps no passwords", "")

    async def test_knows_no_password(self, house: DeskHouse) -> None:
        await house.account("r-old", Role.REVIEWER)
        await house.desk.store.accounts.set_password("r-old", await passwords.hashed("correct horse battery"))
        client = await house.client()

        answer = await client.post("/sign-in", data={"account_id": "r-old", "password": "correct horse battery"})

        assert answer.status_code == 403
        assert "keeps no passwords" in answer.text

    async def test_invites_nobody_and_is_set_up_by_nobody(self, house: DeskHouse) -> None:
        supervisor = await house.client(await house.account("s-1", Role.SUPERVISOR))
        answer = await supervisor.post("/people/invitations", data={"account_id": "r-ash", "role": "reviewer"})

        assert answer.status_code == 403
        assert "no passwords" in answer.text
        assert await set_up_link(house.app) is None
        for path in ("/invitation?code=x", "/setup?code=x"):
            assert (await (await house.client()).get(path)).status_code == 403

    async def test_without_one_there_is_no_such_page(self, tmp_path: Path) -> None:
        async with desk_house.opened(tmp_path) as house:
            for path in ("/sign-in/provider", "/sign-in/callback"):
                assert (await (await house.client()).get(path)).status_code == 404

    @pytest.mark.parametrize(
        ("settings", "why"),
        [
            ({"oidc_issuer": "https://provider.example"}, "oidc_client_id"),
            ({"oidc_issuer": "http://provider.example", "oidc_client_id": "desk"}, "https alone"),
        ],
    )
    def test_is_not_half_configured(self, settings: dict[str, Any], why: str) -> None:
        with pytest.raises(ValidationError, match=why):
            DeskSettings(**settings)

    async def test_lets_an_account_from_before_be_somebodys(self, house: DeskHouse, provider: Running) -> None:
        await house.account("r-ash", Role.REVIEWER)
        assert (await sign_in(await house.client())).status_code == 403

        await house.desk.store.accounts.link("r-ash", f"{provider.issuer} 0001")

        assert (await sign_in(await house.client())).status_code == 200
