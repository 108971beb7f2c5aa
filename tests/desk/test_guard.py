"""What stands before every page, seen by somebody who wants to get past it."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import desk_house
import httpx
import pytest
from desk_house import PUBLIC_URL, DeskHouse
from pydantic import ValidationError
from starlette.responses import PlainTextResponse
from starlette.types import Message

from producers.console._guard import HEADERS, MAX_BODY_BYTES, Guard, network_of
from rfr_stream.policy import Role
from rfr_stream.settings import DeskSettings

SOMEWHERE: Final = "https://elsewhere.example"


def browser(
    house: DeskHouse, headers: dict[str, str] | None = None, *, errors: bool = True, address: str = "127.0.0.1"
) -> httpx.AsyncClient:
    """Return something that says of itself only what is given here."""
    transport = httpx.ASGITransport(house.app, raise_app_exceptions=errors, client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url=PUBLIC_URL, headers=headers)


async def try_to_sign_in(client: httpx.AsyncClient) -> int:
    """Return what a write is answered with; 403 also says that name and password are wrong."""
    answer = await client.post("/sign-in", data={"account_id": "r-ash", "password": "guess"})
    return 0 if "did not come from a page" in answer.text else answer.status_code


class TestWhereARequestComesFrom:
    @pytest.mark.parametrize(
        "headers",
        [
            {"sec-fetch-site": "same-origin"},
            {"sec-fetch-site": "same-origin", "origin": PUBLIC_URL},
            {"origin": PUBLIC_URL},  # a browser without Fetch Metadata
        ],
    )
    async def test_a_page_of_the_desk_may_write(self, house: DeskHouse, headers: dict[str, str]) -> None:
        assert await try_to_sign_in(browser(house, headers)) == 403

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},  # another port, another name of the domain
            {"sec-fetch-site": "none"},
            {"sec-fetch-site": "cross-site", "origin": PUBLIC_URL},
            {"origin": SOMEWHERE},
            {"origin": "null"},
            {"origin": "http://localhost"},
            {"origin": "http://localhost:8471"},
            {"origin": f"{PUBLIC_URL}.elsewhere.example"},
            {"origin": "https://localhost:8470"},
            {"referer": f"{PUBLIC_URL}/sign-in"},
        ],
    )
    async def test_nobody_else_may(self, house: DeskHouse, headers: dict[str, str]) -> None:
        assert await try_to_sign_in(browser(house, headers)) == 0

    @pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "ODD"])
    async def test_whatever_is_no_reading_is_writing(self, house: DeskHouse, method: str) -> None:
        answer = await browser(house).request(method, "/sign-in")

        assert "did not come from a page" in answer.text

    async def test_anybody_may_follow_a_link_here(self, house: DeskHouse) -> None:
        assert (await browser(house, {"sec-fetch-site": "cross-site"}).get("/sign-in")).status_code == 200

    @pytest.mark.parametrize("host", ["elsewhere.example:8470", "localhost", "localhost:8471", "127.0.0.1:8470", ""])
    async def test_a_name_that_somebody_pointed_here_is_not_the_desks(self, house: DeskHouse, host: str) -> None:
        answer = await browser(house, {"host": host}).get("/sign-in")

        assert answer.status_code == 421

    async def test_the_desks_name_is_as_browsers_write_it(self, tmp_path: Path) -> None:
        async with desk_house.opened(tmp_path, public_url="https://[2001:db8::1]:8443") as house:
            named = {"host": "[2001:db8::1]:8443", "origin": "https://[2001:db8::1]:8443"}

            assert await try_to_sign_in(browser(house, named)) == 403

    @pytest.mark.parametrize("url", ["https://desk.example:443", "http://localhost:80", "https://Desk.example"])
    def test_and_cannot_be_set_otherwise(self, url: str) -> None:
        with pytest.raises(ValidationError, match="public_url"):
            DeskSettings(public_url=url)


class TestHowMuchAndHowOften:
    async def test_a_body_that_says_it_is_long_is_not_read(self, house: DeskHouse) -> None:
        client = await house.client()

        answer = await client.post("/sign-in", content=b"x" * (MAX_BODY_BYTES + 1))

        assert (answer.status_code, answer.text) == (413, f"More than {MAX_BODY_BYTES} bytes.")

    async def test_one_that_does_not_say_is_read_no_further(self, house: DeskHouse) -> None:
        pieces = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal pieces
            while True:
                pieces += 1
                yield b"password=" + b"x" * 65_536

        answer = await (await house.client()).post(
            "/sign-in", content=endless(), headers={"content-type": "application/x-www-form-urlencoded"}
        )

        assert answer.status_code == 413
        assert pieces <= MAX_BODY_BYTES // 65_536 + 1

    @pytest.mark.parametrize("length", ["many", "-1", "1e3", "+5", "1_0", "²", " "])
    async def test_a_length_that_is_none_is_refused(self, house: DeskHouse, length: str) -> None:
        answer = await (await house.client()).post("/sign-in", headers={b"content-length": length.encode("latin-1")})

        assert answer.status_code == 400

    async def test_a_length_beyond_all_numbers_is_too_long(self, house: DeskHouse) -> None:
        answer = await (await house.client()).post("/sign-in", headers={"content-length": "9" * 5_000})

        assert answer.status_code == 413

    async def test_who_asks_too_often_waits(self) -> None:
        guard = guard_of(3)

        answers = [await ask(guard) for _ in range(5)]

        assert answers == [200, 200, 200, 429, 429]

    async def test_nobody_waits_for_somebody_else(self) -> None:
        guard = guard_of(1)

        answers = [await ask(guard, address) for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "192.0.2.1")]

        assert answers == [200, 200, 200, 429]

    async def test_whoever_has_a_network_has_one_rate(self) -> None:
        guard = guard_of(1)

        answers = [await ask(guard, address) for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")]

        assert answers == [200, 429, 200]

    async def test_a_header_that_anybody_can_write_changes_nothing(self) -> None:
        guard = guard_of(1)

        answers = [await ask(guard, forwarded=f"192.0.2.{n}") for n in range(3)]

        assert answers == [200, 429, 429]

    async def test_behind_a_proxy_that_is_known_people_are_told_apart(self, tmp_path: Path) -> None:
        async with desk_house.opened(tmp_path, proxies="10.0.0.0/8") as house:
            trusted, stranger = browser(house, address="10.1.2.3"), browser(house, address="192.0.2.9")
            for client in (trusted, stranger):
                client.headers["sec-fetch-site"] = "same-origin"

            async def tries(client: httpx.AsyncClient) -> list[int]:
                found = []
                for n in range(22):
                    client.headers["x-forwarded-for"] = f"192.0.2.{n}"
                    data = {"account_id": f"r-{client is trusted}-{n}", "password": "guess"}
                    found.append((await client.post("/sign-in", data=data)).status_code)
                return found

            assert await tries(trusted) == [403] * 22
            assert 429 in await tries(stranger)

    @pytest.mark.parametrize(
        ("client", "network"),
        [
            (("192.0.2.1", 5), "192.0.2.1"),
            (("2001:db8::1", 5), "2001:db8::/64"),
            (("::ffff:192.0.2.1", 5), "::ffff:192.0.2.1"),
            (None, ""),
        ],
    )
    def test_whom_a_rate_is_counted_for(self, client: tuple[str, int] | None, network: str) -> None:
        assert network_of({"type": "http", "client": client}) == network


def guard_of(per_minute: int) -> Guard:
    return Guard(PlainTextResponse("a page"), public_url=PUBLIC_URL, per_minute=per_minute)


async def ask(guard: Guard, address: str = "192.0.2.1", forwarded: str = "") -> int:
    """Return the status that somebody at this address is answered with."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost:8470"), (b"x-forwarded-for", forwarded.encode())]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "client": (address, 1)}
    await guard(scope, None, send)  # type: ignore[arg-type]
    status: int = sent[0]["status"]
    return status


class TestHeaders:
    async def answers(self, house: DeskHouse) -> dict[str, httpx.Response]:
        """Return an answer of each kind."""
        supervisor = await house.client(await house.account("s-1", Role.SUPERVISOR))
        nobody = await house.client()
        stranger = browser(house)

        @house.app.get("/bug")
        async def bug() -> None:
            raise ZeroDivisionError

        return {
            "page": await nobody.get("/sign-in"),
            "redirect": await nobody.get("/"),
            "static": await nobody.get("/static/key.js"),
            "no such file": await nobody.get("/static/nothing.js"),
            "no such page": await nobody.get("/nothing"),
            "wrong method": await nobody.delete("/sign-in"),
            "not permitted": await supervisor.get("/queue"),
            "wrong form": await nobody.post("/sign-in", data={}),
            "wrong origin": await stranger.post("/sign-in"),
            "wrong host": await stranger.get("/", headers={"host": "elsewhere.example"}),
            "too long": await nobody.post("/sign-in", content=b"x" * (MAX_BODY_BYTES + 1)),
            "bug": await browser(house, errors=False).get("/bug"),
        }

    async def test_they_are_on_every_answer(self, house: DeskHouse) -> None:
        for kind, answer in (await self.answers(house)).items():
            assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, kind

    async def test_nothing_is_kept_by_a_browser_but_files_that_it_asks_about_each_time(self, house: DeskHouse) -> None:
        kept = {kind: answer.headers["cache-control"] for kind, answer in (await self.answers(house)).items()}

        assert {kind for kind, how in kept.items() if how != "no-store"} == {"static", "no such file"}
        assert kept["static"] == "no-cache"

    async def test_a_file_that_has_not_changed_is_not_sent_again(self, house: DeskHouse) -> None:
        client = await house.client()
        tag = (await client.get("/static/key.js")).headers["etag"]

        assert (await client.get("/static/key.js", headers={"if-none-match": tag})).status_code == 304

    async def test_a_bug_is_told_as_such_and_quotes_nothing(
        self, house: DeskHouse, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)

        answer = (await self.answers(house))["bug"]

        assert answer.status_code == 500
        assert "nothing was decided by it" in answer.text
        assert "ZeroDivision" not in answer.text
        assert [record.getMessage() for record in caplog.records].count("page.failed") == 1

    async def test_over_tls_browsers_come_back_by_tls_alone(self, tmp_path: Path) -> None:
        async with desk_house.opened(tmp_path, public_url="https://desk.example") as house:
            client = await house.client()

            answers = [await client.get("/sign-in"), await client.get("/static/key.js"), await client.delete("/")]

        assert all("max-age=31536000" in each.headers["strict-transport-security"] for each in answers)

    async def test_a_policy_lets_a_page_run_nothing_but_the_desks_own_files(self) -> None:
        policy = dict(each.split(" ", 1) for each in HEADERS["content-security-policy"].split("; "))

        assert policy["default-src"] == "'none'"
        assert {policy[name] for name in ("script-src", "style-src", "connect-src", "form-action")} == {"'self'"}
        assert "unsafe" not in str(policy)
        assert policy["frame-ancestors"] == "'none'"

    @pytest.mark.parametrize(
        "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py", "/static//etc/passwd"]
    )
    async def test_files_are_the_folders_own(self, house: DeskHouse, path: str) -> None:
        assert (await (await house.client()).get(path)).status_code == 404
