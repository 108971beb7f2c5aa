"""My own account: a key that only I have, kept by the desk in its public half alone."""

import html
import json
import re
from base64 import b64encode
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import builders
import desk_house
import pytest
from authenticator import PRESENT, Ceremony, Es256, made, public_text, signed
from builders import NOW
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from desk_house import PUBLIC_URL, DeskHouse
from httpx import AsyncClient, Response
from sqlalchemy import Connection, text

from producers.console.account import KeyOffered
from rfr_stream.adapters import keys, passwords
from rfr_stream.adapters.ledger.database import Database
from rfr_stream.desk import Account
from rfr_stream.events import UNSIGNED
from rfr_stream.policy import Role
from rfr_stream.ports import Duty

HERE = Ceremony(origin=PUBLIC_URL, rp_id="localhost")
WRAPPED = {
    "salt": b64encode(bytes(16)).decode(),
    "iterations": 600_000,
    "iv": b64encode(bytes(12)).decode(),
    "ciphertext": b64encode(bytes(64)).decode(),
}


async def offered(client: AsyncClient) -> KeyOffered:
    """Return the words by which the page lets a key show itself."""
    page = (await client.get("/account")).text
    draft = re.search(r'name="draft" value="([^"]*)"', page)
    assert draft, page
    return KeyOffered.model_validate_json(html.unescape(draft[1]))


async def offer(client: AsyncClient, key: Ed25519PrivateKey, **fields: Any) -> Response:  # noqa: ANN401 - of the form
    words = await offered(client)
    filled = {
        "draft": words.model_dump_json(),
        "public_key": keys.public_text(key),
        "wrapped": json.dumps(WRAPPED),
        "signature": keys.sign_bytes(key, words.signed_bytes),
    }
    return await client.post("/account/key", data={**filled, **fields})


async def offer_passkey(client: AsyncClient, key: Es256, here: Ceremony = HERE, **fields: str) -> Response:
    words = await offered(client)
    said = signed(words, key, here)
    assert said.passkey
    filled = {
        "draft": words.model_dump_json(),
        "credential": made(key, bytes.fromhex(words.challenge), replace(here, kind="webauthn.create")),
        "signature": said.signature,
        **said.passkey.model_dump(),
    }
    return await client.post("/account/key", data={**filled, **fields})


def command(account_id: str, until: str) -> str:
    key = keys.public_text(builders.private_key(account_id))
    return f"rfr reviewers add {account_id} --duty supervise --public-key {key} --competent-until {until}"


@pytest.fixture
async def ash(house: DeskHouse) -> AsyncClient:
    return await house.client(await house.newcomer("r-ash", Role.REVIEWER))


async def kept(house: DeskHouse) -> Account:
    return await house.account_of("r-ash")


class TestAKey:
    async def test_is_kept_once_it_has_signed_for_itself(self, house: DeskHouse, ash: AsyncClient) -> None:
        key = keys.generate()

        answer = await offer(ash, key)

        assert (answer.status_code, answer.headers["location"]) == (303, "/account")
        account = await kept(house)
        assert account.public_key == keys.public_text(key)
        assert json.loads(account.wrapped_key or "") == WRAPPED
        assert keys.fingerprint(keys.public_text(key)) in (await ash.get("/account")).text

    async def test_that_it_was_kept_is_written_down(self, house: DeskHouse, ash: AsyncClient) -> None:
        key = keys.generate()
        await offer(ash, key)

        (line,) = await house.desk.store.log.about("r-ash")

        assert line.detail == f"key: {keys.fingerprint(keys.public_text(key))}"

    async def test_of_somebody_elses_is_not_mine(self, house: DeskHouse, ash: AsyncClient) -> None:
        oak = await house.client(await house.newcomer("r-oak", Role.REVIEWER))
        theirs, key = await offered(oak), keys.generate()

        for draft in (theirs, theirs.model_copy(update={"account_id": "r-ash"})):
            signature = keys.sign_bytes(key, draft.signed_bytes)
            answer = await offer(ash, key, draft=draft.model_dump_json(), signature=signature)
            assert answer.status_code == 400

        assert (await kept(house)).public_key is None

    @pytest.mark.parametrize(
        "fields",
        [
            {"signature": UNSIGNED},
            {"signature": ""},
            {"signature": "x"},
            {"public_key": keys.public_text(keys.generate())},
            {"public_key": ""},
            {"public_key": b64encode(bytes(31)).decode()},
            {"draft": ""},
            {"draft": "{}"},
            {"wrapped": ""},
            {"wrapped": "{}"},
            {"wrapped": "[" * 5_000},
            {"wrapped": json.dumps({**WRAPPED, "iterations": 599_999})},
            {"wrapped": json.dumps({**WRAPPED, "iterations": 10**12})},
            {"wrapped": json.dumps({**WRAPPED, "private": "!"})},
            {"wrapped": json.dumps({**WRAPPED, "ciphertext": b64encode(bytes(48)).decode()})},
            {"credential": "{}"},
            {"credential": "junk"},
        ],
    )
    async def test_what_is_none_is_refused_on_the_page(
        self, house: DeskHouse, ash: AsyncClient, fields: dict[str, str]
    ) -> None:
        answer = await offer(ash, keys.generate(), **fields)

        assert answer.status_code == 400
        assert 'role="alert"' in answer.text
        assert (await kept(house)).public_key is None

    async def test_of_another_session_is_offered_anew(self, house: DeskHouse, ash: AsyncClient) -> None:
        words, key = await offered(ash), keys.generate()
        again = await house.client(await kept(house))

        answer = await offer(
            again, key, draft=words.model_dump_json(), signature=keys.sign_bytes(key, words.signed_bytes)
        )

        assert answer.status_code == 400

    async def test_that_nobody_certified_may_be_replaced(self, house: DeskHouse, ash: AsyncClient) -> None:
        await offer(ash, keys.generate())
        another = keys.generate()

        answer = await offer(ash, another)

        assert answer.status_code == 303
        assert (await kept(house)).public_key == keys.public_text(another)

    async def test_in_use_is_for_good(self, house: DeskHouse) -> None:
        client = await house.client(await house.reviewer("reviewer-a"))
        before = (await house.account_of("reviewer-a")).public_key

        page = (await client.get("/account")).text
        answer = await client.post("/account/key", data={"public_key": keys.public_text(keys.generate())})

        assert "This key is yours for good" in page
        assert "Make the key" not in page
        assert answer.status_code == 400
        assert (await house.account_of("reviewer-a")).public_key == before

    async def test_of_somebody_who_is_registered_is_theirs(self, house: DeskHouse, ash: AsyncClient) -> None:
        await house.reviewer("reviewer-a")

        answer = await offer(ash, builders.private_key("reviewer-a"))

        assert answer.status_code == 400
        assert "somebody" in answer.text

    async def test_is_of_no_use_to_who_signs_nothing(self, house: DeskHouse) -> None:
        client = await house.client(await house.newcomer("a-1", Role.AUDITOR))

        assert "signing key" not in (await client.get("/account")).text
        assert (await client.post("/account/key", data={})).status_code == 400


class TestAPasskey:
    async def test_is_kept_once_it_has_signed_for_itself(self, house: DeskHouse, ash: AsyncClient) -> None:
        passkey = Es256()

        answer = await offer_passkey(ash, passkey)

        assert answer.status_code == 303
        account = await kept(house)
        assert account.public_key == public_text(passkey)
        assert account.credential_id
        assert account.wrapped_key is None

    async def test_whose_private_half_nobody_has_shown_is_refused(self, house: DeskHouse, ash: AsyncClient) -> None:
        mine, theirs = Es256(), Es256()
        challenge = bytes.fromhex((await offered(ash)).challenge)
        credential = made(theirs, challenge, replace(HERE, kind="webauthn.create"))

        answer = await offer_passkey(ash, mine, credential=credential)

        assert answer.status_code == 400
        assert (await kept(house)).public_key is None

    async def test_of_an_owner_who_was_not_verified_is_refused(self, ash: AsyncClient) -> None:
        assert (await offer_passkey(ash, Es256(), replace(HERE, flags=PRESENT))).status_code == 400

    async def test_of_another_desk_is_refused(self, ash: AsyncClient) -> None:
        assert (await offer_passkey(ash, Es256(), Ceremony())).status_code == 400

    async def test_is_not_offered_where_the_desk_has_no_name(self, tmp_path: Path) -> None:
        async with desk_house.opened(tmp_path, public_url="http://127.0.0.1:8470") as house:
            client = await house.client(await house.newcomer("r-ash", Role.REVIEWER))

            page = (await client.get("/account")).text

            assert "Make the key" in page
            assert "Make a passkey" not in page


class TestTheFirstSupervisor:
    UNTIL = (NOW + timedelta(days=300)).date().isoformat()

    async def supervisor(self, house: DeskHouse, account_id: str = "s-1") -> AsyncClient:
        return await house.client(await house.account(account_id, Role.SUPERVISOR))

    async def test_registers_their_own_key(self, house: DeskHouse) -> None:
        client = await self.supervisor(house)
        assert "Register my key" in (await client.get("/account")).text

        answer = await client.post("/account/registration", data={"until": self.UNTIL})

        assert answer.status_code == 303
        registered = await house.desk.ledger.reviewer("s-1")
        assert registered is not None
        assert registered.duty is Duty.SUPERVISE
        assert f"{registered.competent_until:%Y-%m-%d %H:%M:%S}" == f"{self.UNTIL} 23:59:59"
        assert "May supervise" in (await client.get("/account")).text

    async def test_no_second_one_does(self, house: DeskHouse) -> None:
        await house.supervisor("supervisor-1")
        client = await self.supervisor(house, "s-2")

        page = (await client.get("/account")).text
        answer = await client.post("/account/registration", data={"until": self.UNTIL})

        assert "Register my key" not in page
        assert command("s-2", "2027-03-01") in html.unescape(page)
        assert answer.status_code == 400
        assert await house.desk.ledger.reviewer("s-2") is None

    async def test_a_reviewer_registers_nobody(self, house: DeskHouse) -> None:
        client = await house.client(await house.account("r-ash", Role.REVIEWER))

        assert (await client.post("/account/registration", data={"until": self.UNTIL})).status_code == 403
        assert await house.desk.ledger.reviewer("r-ash") is None

    async def test_not_without_a_key_and_not_for_a_time_that_is_over(self, house: DeskHouse) -> None:
        nokey = await house.client(await house.newcomer("s-2", Role.SUPERVISOR))
        client = await self.supervisor(house)

        answers = [
            await nokey.post("/account/registration", data={"until": self.UNTIL}),
            await client.post("/account/registration", data={"until": "2026-02-28"}),
        ]

        assert [answer.status_code for answer in answers] == [400, 400]
        assert await house.desk.store.accounts.registered() == {}

    async def test_where_the_database_forbids_it_the_page_says_the_command(self, house: DeskHouse) -> None:
        def refuse(connection: Connection) -> None:  # as a trigger would, and as PostgreSQL does by its grants
            connection.execute(
                text("CREATE TRIGGER refused BEFORE INSERT ON reviewers BEGIN SELECT RAISE(ABORT, 'no'); END")
            )

        database: Database = house.ledger.database
        await database.write(refuse)
        client = await self.supervisor(house)

        answer = await client.post("/account/registration", data={"until": self.UNTIL})

        assert answer.status_code == 400
        assert command("s-1", self.UNTIL) in html.unescape(answer.text)


class TestThePassword:
    OLD, NEW = "correct horse battery", "incorrect horse battery"

    async def change(self, client: AsyncClient, current: str = OLD, new: str = NEW, again: str = "") -> Response:
        data = {"current": current, "password": new, "again": again or new}
        return await client.post("/account/password", data=data)

    @pytest.fixture
    async def ash(self, house: DeskHouse) -> AsyncClient:
        account = await house.newcomer("r-ash", Role.REVIEWER)
        await house.desk.store.accounts.set_password("r-ash", await passwords.hashed(self.OLD))
        return await house.client(account)

    async def test_when_it_changes_everybody_is_out(self, house: DeskHouse, ash: AsyncClient) -> None:
        elsewhere = await house.client(await kept(house))

        answer = await self.change(ash)

        assert answer.headers["location"] == "/sign-in?next=/account"
        assert [(await each.get("/account")).status_code for each in (ash, elsewhere)] == [303, 303]
        assert await passwords.matches((await kept(house)).password_hash, self.NEW)

    @pytest.mark.parametrize("tried", [("a wrong password", NEW), (OLD, "short"), (OLD, NEW, OLD)])
    async def test_it_stays_unless_all_is_right(
        self, house: DeskHouse, ash: AsyncClient, tried: tuple[str, ...]
    ) -> None:
        answer = await self.change(ash, *tried)

        assert answer.status_code == 400
        assert await passwords.matches((await kept(house)).password_hash, self.OLD)

    async def test_whoever_found_an_open_browser_cannot_guess_it(self, ash: AsyncClient) -> None:
        answers = [await self.change(ash, "a wrong password") for _ in range(6)]

        assert "wait a minute" in answers[-1].text
        assert "wait a minute" not in answers[-2].text
