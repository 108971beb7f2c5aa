"""For those who answer for the desk: numbers, leads and their recall, the log, and disclosure."""

import re
from html import unescape
from io import BytesIO
from zipfile import ZipFile

import builders
import desk_pages
import pytest
from desk_house import DeskHouse

from producers.console import charts
from rfr_stream.adapters import bundles
from rfr_stream.desk import order_seed
from rfr_stream.events import IdentificationWithdrawn, WithdrawalOrdered
from rfr_stream.policy import Role
from rfr_stream.ports import CaseState


async def given_out(house: DeskHouse, *names: str) -> list[str]:
    """Let two people confirm a lead in each of these cases; return the submissions' ids."""
    found = []
    for name in names:
        listed = await desk_pages.held(house, desk_pages.listed(name))
        for by in ("reviewer-x", "reviewer-y"):
            await house.desk.ledger.register(builders.reviewer(by))
            looked = builders.examination(order_seed=order_seed(listed, by))
            await house.desk.publish([builders.decision(listed, by=by, examination=looked)])
        found.append(str(listed.submission.submission_id))
    await house.count()
    return found


def signed_orders(page: str, by: str) -> dict[str, str]:
    """Return a form with every order of a page, signed."""
    form = {}
    for words, block in re.findall(r'data-words="([^"]+)"(.*?)</div>', page, re.DOTALL):
        (name, draft) = re.findall(r'name="(draft[^"]*)" value="([^"]+)"', block)[0]
        form[name] = unescape(draft)
        form[name.replace("draft", "signature")] = desk_pages.signature_of(f'data-words="{words}"', by)
    return form


class TestLeads:
    async def test_leads_are_listed_with_who_was_told(self, house: DeskHouse) -> None:
        await given_out(house, "a", "b")
        client = await house.client(await house.supervisor())

        page = (await client.get("/leads")).text

        assert page.count("person-1") >= 2
        assert "reviewer-x, reviewer-y" in page

    async def test_several_are_withdrawn_at_once_each_by_an_order_of_its_own(self, house: DeskHouse) -> None:
        ids = await given_out(house, "a", "b", "c")
        client = await house.client(await house.supervisor())
        asked = {"submission_id": ids[:2], "reason": "a fault of the embedder"}

        page = (await client.post("/leads/withdrawal", data=asked)).text
        sent = await client.post("/leads/withdrawal/signature", data=signed_orders(page, "supervisor-1"))
        orders = await house.count()

        assert sent.headers["location"] == "/leads?show=outstanding"
        assert sorted(each.key for each in orders if isinstance(each, WithdrawalOrdered)) == sorted(ids[:2])
        promised = [each.event for each in await house.desk.ledger.unpublished(50)]
        withdrawn = [str(each.submission_id) for each in promised if isinstance(each, IdentificationWithdrawn)]
        assert sorted(withdrawn) == sorted(ids[:2])
        states = {case.state for case in await house.desk.ledger.cases(list(CaseState))}
        assert states == {CaseState.WITHDRAWN, CaseState.CONFIRMED}
        assert "a fault of the embedder" in (await client.get("/leads")).text

    @pytest.mark.parametrize("by", ["reviewer-x", "supervisor-2"])
    async def test_an_order_that_somebody_else_signed_is_not_sent(self, house: DeskHouse, by: str) -> None:
        ids = await given_out(house, "a")
        client = await house.client(await house.supervisor())
        page = (await client.post("/leads/withdrawal", data={"submission_id": ids, "reason": "no"})).text
        before = len(house.published)

        answer = await client.post("/leads/withdrawal/signature", data=signed_orders(page, by))

        assert answer.status_code == 403
        assert len(house.published) == before

    async def test_an_order_about_a_case_that_gave_out_no_lead_is_not_sent(self, house: DeskHouse) -> None:
        found = await desk_pages.held(house, desk_pages.listed())
        client = await house.client(await house.supervisor())
        order = builders.withdrawal(found.submission)

        form = {"draft": order.model_dump_json(), "signature": order.signature}
        answer = await client.post("/leads/withdrawal/signature", data=form)

        assert answer.status_code == 403
        assert house.published == []


class TestNumbers:
    @pytest.mark.parametrize("name", charts.CHARTS)
    async def test_every_chart_has_a_picture_and_its_numbers(self, house: DeskHouse, name: str) -> None:
        await given_out(house, "a")
        client = await house.client(await house.supervisor())

        picture = await client.get(f"/supervision/{name}.svg")
        numbers = await client.get(f"/supervision/{name}.csv")

        assert picture.headers["content-type"].startswith("image/svg+xml")
        assert picture.text.lstrip().startswith("<svg") or "<svg" in picture.text[:600]
        assert numbers.text.splitlines()[0].count(",") >= 1

    async def test_the_page_says_what_the_charts_show(self, house: DeskHouse) -> None:
        await given_out(house, "a")
        house.clock.forward(minutes=1)
        client = await house.client(await house.supervisor())

        page = (await client.get("/supervision?days=7")).text

        assert page.count("<img") == len(charts.CHARTS)
        assert "reviewer-x" in page

    @pytest.mark.parametrize("path", ["/supervision/other.svg", "/supervision/other.csv"])
    async def test_there_is_no_other_chart(self, house: DeskHouse, path: str) -> None:
        client = await house.client(await house.supervisor())

        assert (await client.get(path)).status_code == 404


class TestTheLog:
    async def test_reading_the_log_is_written_into_it(self, house: DeskHouse) -> None:
        client = await house.client(await house.account("auditor-1", Role.AUDITOR))

        await client.get("/log")
        page = (await client.get("/log")).text

        assert "read: from line 1" in page

    async def test_a_whole_chain_is_said_to_be_whole(self, house: DeskHouse) -> None:
        client = await house.client(await house.account("auditor-1", Role.AUDITOR))
        await client.get("/log")

        assert "The chain is whole" in (await client.post("/log/check")).text


class TestDisclosure:
    @pytest.mark.parametrize("role", [Role.SUPERVISOR, Role.AUDITOR])
    async def test_one_form_hands_out_a_sealed_file_that_holds_together(self, house: DeskHouse, role: Role) -> None:
        await given_out(house, "a")
        client = await house.client(await house.account("somebody", role))

        answer = await client.post("/disclosure", data={"about": "case-1", "to": "cps-4", "reason": "trial"})

        assert answer.status_code == 200
        with ZipFile(BytesIO(answer.content)) as bundle:
            assert "disclosure.pdf" in bundle.namelist()
        assert bundles.check(answer.content).faults == ()

    async def test_who_gets_it_and_why_must_be_said(self, house: DeskHouse) -> None:
        client = await house.client(await house.account("auditor-1", Role.AUDITOR))

        answer = await client.post("/disclosure", data={"about": "case-1", "to": "", "reason": ""})

        assert answer.status_code == 400
        assert 'role="alert"' in answer.text


@pytest.mark.parametrize(
    ("path", "may"),
    [
        ("/supervision", {Role.SUPERVISOR}),
        ("/leads", {Role.SUPERVISOR}),
        ("/log", {Role.AUDITOR}),
        ("/disclosure", {Role.AUDITOR, Role.SUPERVISOR}),
    ],
)
async def test_each_page_is_for_its_own_roles(house: DeskHouse, path: str, may: set[Role]) -> None:
    for role in Role:
        client = await house.client(await house.account(f"a-{role}", role))
        assert ((await client.get(path)).status_code == 200) is (role in may), role
