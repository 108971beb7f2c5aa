"""Signing keys in a real browser: made there, locked there, and what they sign is what this house verifies."""

import json
from base64 import b64decode, b64encode
from typing import Any

import builders
import pytest
from browser_desk import BrowserDesk, add_authenticator
from playwright.async_api import Error, Page

from producers.console import signing
from producers.console._signature import ToSign, sealed
from producers.console.account import MIN_ITERATIONS, WrappedKey
from rfr_stream.adapters import keys, passkeys
from rfr_stream.adapters.keys import KeyVerifier
from rfr_stream.policy import Role

PASSWORD, OTHER = "a password for signing", "a password for guessing"
KEY_JS = "await import('/static/key.js')"


async def make_key(page: Page, password: str = PASSWORD) -> dict[str, Any]:
    made: dict[str, Any] = await page.evaluate(f"async (password) => ({KEY_JS}).makeKey(password)", password)
    return made


async def sign(page: Page, wrapped: dict[str, Any], words: bytes, password: str = PASSWORD) -> str:
    script = f"""async ([wrapped, password, words]) => ({KEY_JS}).signWithPassword(
        wrapped, password, Uint8Array.from(atob(words), (char) => char.charCodeAt(0)))"""
    signature: str = await page.evaluate(script, [wrapped, password, b64encode(words).decode()])
    return signature


class TestAKeyWithAPassword:
    async def test_what_it_signs_is_this_houses_signature(self, browser_desk: BrowserDesk) -> None:
        page = await browser_desk.open(path="/sign-in")
        key = await make_key(page)
        words = builders.decision()

        signature = await sign(page, key["wrapped"], words.signed_bytes)

        assert KeyVerifier().verify(keys.checked_public_text(key["public_key"]), signing.seal(words, signature))

    async def test_every_key_is_new(self, browser_desk: BrowserDesk) -> None:
        page = await browser_desk.open(path="/sign-in")

        one, other = await make_key(page), await make_key(page)

        assert one["public_key"] != other["public_key"]
        assert {*one["wrapped"].values()} & {*other["wrapped"].values()} == {MIN_ITERATIONS}

    async def test_it_is_locked_as_the_desk_wants_it(self, browser_desk: BrowserDesk) -> None:
        key = await make_key(await browser_desk.open(path="/sign-in"))

        wrapped = WrappedKey.model_validate(key["wrapped"])

        assert wrapped.iterations >= MIN_ITERATIONS
        assert len(b64decode(wrapped.salt)) == 16

    async def test_another_password_opens_nothing(self, browser_desk: BrowserDesk) -> None:
        page = await browser_desk.open(path="/sign-in")
        key = await make_key(page)

        with pytest.raises(Error, match="not the signing password"):
            await sign(page, key["wrapped"], b"words", OTHER)

    async def test_a_lock_that_somebody_changed_opens_nothing(self, browser_desk: BrowserDesk) -> None:
        page = await browser_desk.open(path="/sign-in")
        wrapped = (await make_key(page))["wrapped"]
        damaged = bytearray(b64decode(wrapped["ciphertext"]))
        damaged[20] ^= 1

        with pytest.raises(Error, match="not the signing password"):
            await sign(page, {**wrapped, "ciphertext": b64encode(damaged).decode()}, b"words")

    async def test_a_short_password_locks_nothing(self, browser_desk: BrowserDesk) -> None:
        with pytest.raises(Error, match="at least 12 characters"):
            await make_key(await browser_desk.open(path="/sign-in"), "eleven char")

    async def test_a_password_has_one_spelling_whatever_the_keyboard(self, browser_desk: BrowserDesk) -> None:
        page = await browser_desk.open(path="/sign-in")
        key = await make_key(page, "Å" * 12)

        assert await sign(page, key["wrapped"], b"words", "A\u030a" * 12)


class TestAPasskey:
    async def test_what_it_signs_is_verified_by_this_house(self, browser_desk: BrowserDesk) -> None:
        page = await browser_desk.open(path="/sign-in")
        await add_authenticator(page)
        challenge = b"a challenge of this session's own"
        options = json.loads(passkeys.new_options("r-ash", challenge, desk_url=browser_desk.url))
        words = builders.decision()

        made = await page.evaluate(f"async (options) => ({KEY_JS}).makePasskey(options)", options)
        cose_key, credential_id = passkeys.made(json.dumps(made), challenge, desk_url=browser_desk.url)
        public_key = keys.checked_public_text(b64encode(cose_key).decode())
        signatures = [await self.sign(page, credential_id, ToSign.of(words).challenge) for _ in range(8)]

        verifier = KeyVerifier(browser_desk.url)
        assert all(verifier.verify(public_key, sealed(words, each)) for each in signatures)
        assert not verifier.verify(public_key, sealed(builders.decision(by="reviewer-b"), signatures[0]))
        assert not KeyVerifier("https://elsewhere.example").verify(public_key, sealed(words, signatures[0]))

    async def test_one_whose_owner_is_not_verified_signs_nothing(self, browser_desk: BrowserDesk) -> None:
        page = await browser_desk.open(path="/sign-in")
        await add_authenticator(page, isUserVerified=False)
        options = json.loads(passkeys.new_options("r-ash", b"challenge", desk_url=browser_desk.url))

        with pytest.raises(Error, match="was not used"):
            await page.evaluate(f"async (options) => ({KEY_JS}).makePasskey(options)", options)

    async def sign(self, page: Page, credential_id: str, challenge: str) -> dict[str, str]:
        script = f"""async ([id, challenge]) => ({KEY_JS}).signWithPasskey(
            id, Uint8Array.from(atob(challenge), (char) => char.charCodeAt(0)))"""
        signed: dict[str, str] = await page.evaluate(script, [credential_id, challenge])
        return signed


class TestTheAccountPage:
    async def test_makes_a_key_that_only_its_password_opens(self, browser_desk: BrowserDesk) -> None:
        account = await browser_desk.house.newcomer("r-ash", Role.REVIEWER)
        page = await browser_desk.open(account, "/account")

        await page.get_by_label("Signing password", exact=True).fill(PASSWORD)
        await page.get_by_label("The signing password again").fill(PASSWORD)
        await page.get_by_role("button", name="Make the key").click()
        await page.wait_for_selector("text=Ask a supervisor to certify you")

        kept = await browser_desk.house.account_of("r-ash")
        assert kept.public_key is not None
        assert kept.wrapped_key is not None
        words = builders.decision()
        signature = await sign(page, json.loads(kept.wrapped_key), words.signed_bytes)
        assert KeyVerifier().verify(kept.public_key, signing.seal(words, signature))

    async def test_sends_no_password(self, browser_desk: BrowserDesk) -> None:
        account = await browser_desk.house.newcomer("r-ash", Role.REVIEWER)
        page = await browser_desk.open(account, "/account")
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.post_data or ""))

        await page.get_by_label("Signing password", exact=True).fill(PASSWORD)
        await page.get_by_label("The signing password again").fill(PASSWORD)
        await page.get_by_role("button", name="Make the key").click()
        await page.wait_for_selector("text=Ask a supervisor to certify you")

        assert any("public_key=" in each for each in sent)
        assert not any("password+for" in each or "password%20for" in each for each in sent)

    async def test_says_when_the_two_are_not_the_same(self, browser_desk: BrowserDesk) -> None:
        page = await browser_desk.open(await browser_desk.house.newcomer("r-ash", Role.REVIEWER), "/account")

        await page.get_by_label("Signing password", exact=True).fill(PASSWORD)
        await page.get_by_label("The signing password again").fill(OTHER)
        await page.get_by_role("button", name="Make the key").click()

        await page.wait_for_selector("[role=alert]:has-text('not the same')")
        assert (await browser_desk.house.account_of("r-ash")).public_key is None

    async def test_makes_a_passkey(self, browser_desk: BrowserDesk) -> None:
        page = await browser_desk.open(await browser_desk.house.newcomer("r-ash", Role.REVIEWER), "/account")
        await add_authenticator(page)

        await page.get_by_role("button", name="Make a passkey").click()
        await page.wait_for_selector("text=Ask a supervisor to certify you")

        kept = await browser_desk.house.account_of("r-ash")
        assert kept.credential_id is not None
        assert kept.wrapped_key is None

    async def test_says_when_a_passkey_was_not_made(self, browser_desk: BrowserDesk) -> None:
        page = await browser_desk.open(await browser_desk.house.newcomer("r-ash", Role.REVIEWER), "/account")
        await add_authenticator(page, isUserVerified=False)

        await page.get_by_role("button", name="Make a passkey").click()

        await page.wait_for_selector("[role=alert]:has-text('was not used')")
