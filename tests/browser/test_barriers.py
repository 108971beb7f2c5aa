"""Every page of the desk in every state: no barrier in it, whatever the window's size, and every stop in sight."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import barriers
import browser_desk as desks
import browser_review as steps
import builders
import desk_pages
import pytest
import pytest_asyncio
from browser_desk import BrowserDesk
from playwright.async_api import Browser, Page

from producers.console.entrance import invite, set_up_link
from rfr_stream.desk import Suitability, order_seed
from rfr_stream.errors import Unavailable
from rfr_stream.events import BlobRef
from rfr_stream.policy import Role

Act: TypeAlias = Callable[[Page], Awaitable[object]]

STRANGER: Final = "nobody"


@dataclass(frozen=True, slots=True)
class Place:
    """A page, for whom, and what is done there first."""

    who: str
    path: str
    act: Act | None = None


# --- what is done there -----------------------------------------------------------------------------------------------
async def wrong_password(page: Page) -> None:
    await page.get_by_label("Account").fill("reviewer-a")
    await page.get_by_label("Password").fill("a password for guessing")
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("alert").wait_for()


def press(button: str, then: str = "h1") -> Act:
    async def act(page: Page) -> None:
        await page.evaluate("document.querySelectorAll('main form').forEach((form) => (form.noValidate = true))")
        await page.get_by_role("button", name=button).first.click()
        await page.locator(then).first.wait_for()

    return act


async def choose_face(page: Page) -> None:
    await page.get_by_label("Face 1").check()
    await press("Go on to sign", "#sign")(page)


async def overlay(page: Page) -> None:
    await page.get_by_role("button", name="Overlay").click()
    await page.get_by_role("button", name="Grid").click()


async def invite_somebody(page: Page) -> None:
    await page.get_by_label("Account").fill("reviewer-new")
    await page.get_by_role("checkbox", name="reviewer").check()
    await press("Make a link", "#invitation-link")(page)


async def withdraw(page: Page) -> None:
    await page.locator("[name=submission_id]").first.check()
    await page.get_by_label("Why the leads marked").fill("a fault of the embedder")
    await press("Go on to sign", "#sign")(page)


async def everything_open(page: Page) -> None:
    await page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")


PLACES: Final = {
    "sign-in": Place(STRANGER, "/sign-in"),
    "sign-in, refused": Place(STRANGER, "/sign-in", wrong_password),
    "invitation": Place(STRANGER, "{invitation}"),
    "account of a newcomer": Place("reviewer-new", "/account", everything_open),
    "account of a reviewer": Place("reviewer-a", "/account", everything_open),
    "account of a supervisor": Place("supervisor-2", "/account", everything_open),
    "people": Place("supervisor-1", "/people"),
    "people, with a link": Place("supervisor-1", "/people", invite_somebody),
    "person": Place("supervisor-1", "/people/person?of=reviewer-a"),
    "certification": Place("supervisor-1", "/people/person?of=reviewer-a", press("Renew", "#sign")),
    "queue": Place("reviewer-a", "/queue"),
    "queue, nothing behind the filter": Place("reviewer-a", "/queue?purpose=witness"),
    "subject": Place("reviewer-a", "{subject}/subject"),
    "subject, to sign": Place("reviewer-a", "{subject}/subject", choose_face),
    "analysis": Place("reviewer-a", "{fresh}/analysis", everything_open),
    "analysis, refused": Place("reviewer-a", "{fresh}/analysis", press("Save, and go on", "#flaws")),
    "unsuitable": Place("reviewer-a", "{unsuitable}/unsuitable"),
    "comparison": Place("reviewer-a", "{analysed}/comparison"),
    "comparison, overlaid": Place("reviewer-a", "{analysed}/comparison", overlay),
    "comparison, refused": Place("reviewer-a", "{analysed}/comparison", press("Go on to sign", "#flaws")),
    "comparison, again": Place("reviewer-a", "{decided}/comparison"),
    "signature": Place("reviewer-a", "{drafted}/signature", everything_open),
    "signature without a key": Place("reviewer-keyless", "{keyless}/signature"),
    "record, on its way": Place("reviewer-a", "{sent}/record"),
    "record, revealed": Place("reviewer-a", "{decided}/record"),
    "appeals": Place("officer-1", "/appeals", everything_open),
    "picture sent in": Place("officer-1", "{sent}"),
    "picture sent in, refused": Place("officer-1", "{sent}", press("Endorse", "#flaws")),
    "picture sent in, endorsed and not handed in": Place("officer-1", "{endorsed}"),
    "supervision": Place("supervisor-1", "/supervision"),
    "leads": Place("supervisor-1", "/leads"),
    "withdrawal": Place("supervisor-1", "/leads", withdraw),
    "log": Place("auditor-1", "/log"),
    "log, checked": Place("auditor-1", "/log", press("Check the chain", "[role=status]")),
    "disclosure": Place("auditor-1", "/disclosure"),
    "disclosure, refused": Place("auditor-1", "/disclosure", press("Write the file", "#flaws")),
    "not permitted": Place("reviewer-a", "/people"),
    "no such page": Place("reviewer-a", "/nothing"),
    "too early": Place("reviewer-a", "{fresh}/comparison"),
    "somebody else's": Place("reviewer-a", "{held}"),
    "away": Place("reviewer-a", "{away}/subject"),
}


# --- the desk that they are at ----------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Street:
    """One desk, with a case in every state."""

    desk: BrowserDesk
    paths: dict[str, str]

    async def at(self, place: Place) -> Page:
        """Return a window there."""
        account = None if place.who == STRANGER else await self.desk.house.account_of(place.who)
        page = await self.desk.open(account, place.path.format(**self.paths))
        await page.emulate_media(reduced_motion="reduce")  # a colour on its way to another is neither
        if place.act:
            await place.act(page)
        return page


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def street(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Street]:
    async with desks.opened(browser, tmp_path_factory.mktemp("street")) as desk:
        paths = {**await cases(desk), "invitation": await invitation(desk)}
        with pytest.MonkeyPatch.context() as patch:
            take_away(desk, patch)
            yield Street(desk, paths)
        desk.errors[:] = [each for each in desk.errors if "the server responded with a status of" not in each]


def take_away(desk: BrowserDesk, patch: pytest.MonkeyPatch) -> None:
    """Let the store be away for one picture."""
    blobs = desk.house.desk.blobs
    keep, missing = blobs.get, desk_pages.listed("away").submission.image

    async def get(wanted: Sequence[BlobRef]) -> object:
        if missing in wanted:
            msg = "the store does not answer"
            raise Unavailable(msg)
        return await keep(wanted)

    patch.setattr(blobs, "get", get)


async def invitation(desk: BrowserDesk) -> str:
    house = desk.house
    roles = frozenset({Role.REVIEWER})
    link = await invite(
        house.desk.store, house.desk.settings, "reviewer-z", roles, by="supervisor-1", now=house.clock()
    )
    return link.removeprefix(desk.url)


async def cases(desk: BrowserDesk) -> dict[str, str]:
    """Open accounts of everybody and a case in every state; return where the cases are."""
    house = desk.house
    await steps.reviewer(house)
    supervisor = await house.supervisor()
    wrapped = steps.locked(supervisor.account_id)
    await house.desk.store.accounts.set_key("supervisor-1", supervisor.public_key or "", wrapped_key=wrapped)
    await house.newcomer("reviewer-new", Role.REVIEWER)
    await house.account("supervisor-2", Role.SUPERVISOR)
    await house.newcomer("auditor-1", Role.AUDITOR)
    await house.reviewer("reviewer-keyless")
    return {
        **await with_subject(desk, "subject"),
        **await with_subject(desk, "away"),
        **await given_out(desk),
        **await under_review(desk),
        **await of_others(desk),
        **await from_the_public(desk),
    }


async def with_subject(desk: BrowserDesk, name: str) -> dict[str, str]:
    unclear = builders.subject_unclear(desk_pages.listed(name).submission)
    await desk_pages.kept(desk.house, unclear.submission.image)
    await desk.house.hold(unclear)
    return {name: steps.path(unclear)}


async def under_review(desk: BrowserDesk) -> dict[str, str]:
    """Bring a case as far as each step, over the desk's own pages."""
    house = desk.house
    client = await house.client(await house.account_of("reviewer-a"))
    reached = {}
    for name in ("fresh", "unsuitable", "analysed", "drafted", "sent", "decided"):
        case = desk_pages.CaseAtHand(house, client, await desk_pages.held(house, desk_pages.listed(name)), "reviewer-a")
        reached[name] = case
        if name != "fresh":
            seen = Suitability.UNSUITABLE if name == "unsuitable" else Suitability.SUITABLE
            await client.post(f"{case.path}/analysis", data=desk_pages.analysis(seen))
    for name in ("analysed", "drafted", "sent", "decided"):
        await client.get(f"{reached[name].path}/comparison")
    house.clock.forward(minutes=2)
    await client.post(f"{reached['drafted'].path}/decision", data=desk_pages.lead(2))
    await desk_pages.decide(reached["decided"], desk_pages.lead(2))
    await house.count()
    await client.post(f"{reached['decided'].path}/reveal")
    await desk_pages.decide(reached["sent"], desk_pages.lead(2))  # and not counted
    return {name: case.path for name, case in reached.items()}


async def of_others(desk: BrowserDesk) -> dict[str, str]:
    """Let somebody else hold a case, and draft what they have no key to sign."""
    house = desk.house
    client = await house.client(await house.account_of("reviewer-keyless"))
    paths = {}
    for name in ("held", "keyless"):
        found = await desk_pages.held(house, desk_pages.listed(name))
        paths[name] = steps.path(found)
        await client.post(f"{paths[name]}/analysis", data=desk_pages.analysis())
        await client.get(f"{paths[name]}/comparison")
    house.clock.forward(seconds=30)
    await client.post(f"{paths['keyless']}/decision", data=desk_pages.lead(1))
    return paths


async def from_the_public(desk: BrowserDesk) -> dict[str, str]:
    """Let pictures come to an appeal: one with a copy, one that was endorsed while the bus was away, one broken."""
    house = desk.house
    await house.account("officer-1", Role.SUBMITTER)
    sent = await desk_pages.contributed(house, "sent", copies=3)
    await desk_pages.contributed(house, "sent", smaller=2)
    await desk_pages.contributed(house, "broken", flaw="image: truncated or corrupt", fingerprint=None)
    endorsed = await desk_pages.contributed(house, "endorsed")
    await house.desk.store.sendings.endorse(endorsed, "{}", "officer-1", house.clock())
    return {"sent": f"/appeals/{sent.contribution_id}", "endorsed": f"/appeals/{endorsed.contribution_id}"}


async def given_out(desk: BrowserDesk) -> dict[str, str]:
    """Let two people confirm a lead."""
    found = await desk_pages.held(desk.house, desk_pages.listed("lead"))
    for by in ("reviewer-x", "reviewer-y"):
        await desk.house.desk.ledger.register(builders.reviewer(by))
        looked = builders.examination(order_seed=order_seed(found, by))
        await desk.house.desk.publish([builders.decision(found, by=by, examination=looked)])
    await desk.house.count()
    return {"lead": steps.path(found)}


@pytest.mark.parametrize("name", PLACES)
async def test_nothing_keeps_anybody_from_using_it(street: Street, name: str) -> None:
    page = await street.at(PLACES[name])

    await barriers.require_none(page)
    await barriers.require_every_stop_in_sight(page)
    await page.context.close()


async def test_nothing_keeps_anybody_from_setting_up_a_desk(browser: Browser, tmp_path: Path) -> None:
    async with desks.opened(browser, tmp_path) as desk:
        page = await desk.open(path=await set_up_link(desk.house.app) or "")

        await barriers.require_none(page)
        await barriers.require_every_stop_in_sight(page)
