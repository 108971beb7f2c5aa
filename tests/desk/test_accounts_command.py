"""`rfr accounts`: what whoever runs the house can do about who comes in."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from rfr_stream.__main__ import main
from rfr_stream.adapters.desk import SqlDesk
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.desk import Account, Entry

T = TypeVar("T")


class Rfr:
    """The command line of one data directory."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder, self._capsys = folder, capsys

    def __call__(self, *arguments: str) -> str:
        """Run a command; return what it said."""
        with pytest.raises(SystemExit) as ended:
            main(["--data-dir", str(self._folder), "accounts", *arguments])
        said = self._capsys.readouterr()
        return said.out if ended.value.code == 0 else f"{ended.value.code}: {said.err}"

    def kept(self, wanted: Callable[[SqlDesk], Awaitable[T]]) -> T:
        """Return what the database says."""

        async def ask() -> T:
            async with SqlLedger(f"sqlite:///{self._folder / 'ledger.db'}") as ledger:
                return await wanted(SqlDesk(ledger))

        return asyncio.run(ask())

    def account(self, account_id: str) -> Account:
        account = self.kept(lambda desk: desk.accounts.account(account_id))
        assert account
        return account

    def log_of(self, account_id: str) -> list[Entry]:
        return self.kept(lambda desk: desk.log.about(account_id))


@pytest.fixture
def rfr(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Rfr:
    monkeypatch.setenv("COLUMNS", "160")
    return Rfr(tmp_path, capsys)


def test_an_invitation_is_a_link_and_an_account(rfr: Rfr) -> None:
    said = rfr("invite", "r-ash", "--role", "reviewer", "--role", "submitter")

    assert re.fullmatch(r"http://localhost:8470/invitation\?code=[\w-]{43}\n", said)
    assert sorted(rfr.account("r-ash").roles) == ["reviewer", "submitter"]
    assert [(line.account_id, line.detail) for line in rfr.log_of("r-ash")] == [("command-line", "account: invited")]


def test_another_is_another_link_for_the_same_account(rfr: Rfr) -> None:
    links = {rfr("invite", "r-ash", "--role", "reviewer") for _ in range(2)}

    assert len(links) == 2
    assert len(rfr.kept(lambda desk: desk.accounts.all())) == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("r-ash", "--role", "reviewer", "--role", "supervisor"), "nobody may be reviewer and supervisor"),
        (("r-known", "--role", "auditor"), "has other roles"),
        (("Jane Doe", "--role", "reviewer"), "nobody's name"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(rfr: Rfr, arguments: tuple[str, ...], why: str) -> None:
    rfr("invite", "r-known", "--role", "reviewer")

    said = rfr("invite", *arguments)

    assert said.startswith("1: ")
    assert why in said
    assert len(rfr.kept(lambda desk: desk.accounts.all())) == 1


def test_the_list_says_who_is_there_and_no_secret(rfr: Rfr) -> None:
    link = rfr("invite", "r-ash", "--role", "reviewer")
    rfr("invite", "s-1", "--role", "supervisor")
    rfr("disable", "s-1")

    said = rfr("list")

    rows = [re.split(r"\s*│\s*", line.strip("│ ")) for line in said.splitlines() if "-" in line and "│" in line]
    assert [(row[0], row[1], row[-1]) for row in rows] == [
        ("r-ash", "reviewer", "open"),
        ("s-1", "supervisor", "closed"),
    ]
    assert link.partition("=")[2].strip() not in said


def test_an_account_is_closed_and_opened_again(rfr: Rfr) -> None:
    rfr("invite", "r-ash", "--role", "reviewer")

    assert rfr("disable", "r-ash") == "r-ash is closed.\n"
    assert rfr.account("r-ash").disabled
    assert rfr("enable", "r-ash") == "r-ash is open.\n"
    assert not rfr.account("r-ash").disabled
    assert [line.detail for line in rfr.log_of("r-ash")][1:] == ["account: closed", "account: opened"]


@pytest.mark.parametrize("command", ["disable", "enable"])
def test_nobody_is_nobody(rfr: Rfr, command: str) -> None:
    assert "no account of this name" in rfr(command, "r-nobody")


def test_without_a_provider_there_is_nothing_to_link_to(rfr: Rfr) -> None:
    rfr("invite", "r-ash", "--role", "reviewer")

    assert "no provider" in rfr("link", "r-ash", "--subject", "0001")


def test_with_one_an_account_from_before_is_linked_and_nobody_is_invited(
    rfr: Rfr, monkeypatch: pytest.MonkeyPatch
) -> None:
    rfr("invite", "r-ash", "--role", "reviewer")
    monkeypatch.setenv("RFR_DESK__OIDC_ISSUER", "https://provider.example")
    monkeypatch.setenv("RFR_DESK__OIDC_CLIENT_ID", "desk")

    assert rfr("link", "r-ash", "--subject", "0001") == "r-ash comes in by https://provider.example.\n"
    assert "keeps no passwords" in rfr("invite", "r-oak", "--role", "reviewer")

    known = rfr.kept(lambda desk: desk.accounts.known_as("https://provider.example 0001"))
    assert known == rfr.account("r-ash")
