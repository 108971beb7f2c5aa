"""A reviewer at a browser: the steps of a review, taken on the pages as a person takes them."""

import json
import secrets
from base64 import b64encode
from typing import Final

import builders
from browser_desk import BrowserDesk
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from desk_house import DeskHouse
from playwright.async_api import Locator, Page, expect

from rfr_stream.adapters import keys
from rfr_stream.desk import Account
from rfr_stream.events import CandidatesReady, Component, SubjectUnclear, Support
from rfr_stream.ports import Reviewer

SIGNING: Final = "a password for signing"
_FEW: Final = 1_000
"""Iterations: what a browser makes takes a second to open, which the tests of keys have waited for."""


# --- people -----------------------------------------------------------------------------------------------------------
async def reviewer(house: DeskHouse, account_id: str = "reviewer-a") -> Account:
    """Open the account of a certified reviewer whose key `SIGNING` unlocks in the browser."""
    account = await house.reviewer(account_id)
    await house.desk.store.accounts.set_key(account_id, account.public_key or "", wrapped_key=locked(account_id))
    return await house.account_of(account_id)


def locked(account_id: str) -> str:
    """Return somebody's private key as `key.js` locks it."""
    salt, iv = secrets.token_bytes(16), secrets.token_bytes(12)
    lock = PBKDF2HMAC(hashes.SHA256(), length=32, salt=salt, iterations=_FEW).derive(SIGNING.encode())
    secret = builders.private_key(account_id).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    ciphertext = AESGCM(lock).encrypt(iv, secret, None)
    raw = {"salt": salt, "iv": iv, "ciphertext": ciphertext}
    return json.dumps({name: b64encode(data).decode() for name, data in raw.items()} | {"iterations": _FEW})


async def certify(house: DeskHouse, account_id: str) -> None:
    """Register the key that somebody made in their browser, as a supervisor's certificate does."""
    public_key = (await house.account_of(account_id)).public_key
    assert public_key
    assert keys.checked_public_text(public_key) == public_key
    await house.desk.ledger.register(Reviewer(account_id, public_key, builders.MUCH_LATER))


# --- where a case is --------------------------------------------------------------------------------------------------
def path(found: CandidatesReady | SubjectUnclear) -> str:
    """Return where a case is."""
    return f"/cases/{found.submission.submission_id}"


async def at_comparison(desk: BrowserDesk, found: CandidatesReady, by: str = "reviewer-a") -> Page:
    """Return somebody's window on a comparison, the analysis done."""
    page = await desk.open(await reviewer(desk.house, by), f"{path(found)}/analysis")
    await analyse(page)
    return page


# --- steps ------------------------------------------------------------------------------------------------------------
async def analyse(page: Page, suitability: str = "Suitable") -> None:
    """Say of the probe that its eyes and nose can be seen, and go on."""
    await page.get_by_label(suitability, exact=True).check()
    for component in (Component.EYES, Component.NOSE):
        await page.get_by_label(f"{component.capitalize()}: clear").check()
    await page.get_by_role("button", name="The rest cannot be seen").click()
    await page.get_by_role("button", name="Save, and go on").click()
    await page.wait_for_url("**/comparison")


async def compare(page: Page, place: int | None, support: Support = Support.MODERATE_SAME) -> None:
    """Fill in the conclusion: a lead to whoever is at this place, or that it is nobody."""
    await choice(page, place).check()
    for component in (Component.EYES, Component.NOSE):
        await page.get_by_label(f"{component.capitalize()}: Similar", exact=True).check()
    await page.get_by_role("button", name="The rest cannot be seen").click()
    support = support if place else Support.MODERATE_DIFFERENT
    await page.get_by_label("How strongly do the images").select_option(support.value)


def choice(page: Page, place: int | None) -> Locator:
    """Return the radio button of a candidate, or of none of them."""
    return page.get_by_label(f"Candidate {place}" if place else "None of these", exact=True).and_(
        page.locator("[name=choice]")
    )


async def go_on(page: Page, house: DeskHouse) -> None:
    """Go on to sign, a while after the candidates were shown."""
    house.clock.forward(minutes=2)
    await page.get_by_role("button", name="Go on to sign").click()
    await page.wait_for_url("**/signature")


async def sign(page: Page) -> None:
    """Sign with the signing password, or with whatever keeps the passkey."""
    password = page.get_by_label("Signing password")
    if await password.count():
        await password.fill(SIGNING)
    await page.get_by_role("button", name="Sign and lock").click()
    await page.wait_for_url("**/record")
    await expect(page.get_by_role("heading", name="Locked")).to_be_visible()
