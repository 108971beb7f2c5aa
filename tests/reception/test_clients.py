"""Who gets in: a machine with a token of its own, by its own door, until it is revoked."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

import builders
import httpx
import pytest
import reception_house
from reception_house import ReceptionHouse, form
from typer.testing import CliRunner

from rfr_stream import __main__
from rfr_stream.reception import Client, Door, is_token_of, token_of
from rfr_stream.settings import IntakeSettings

OFFICER: Final = "/officer/submissions"


async def knock(house: ReceptionHouse, token: str | None, path: str = OFFICER) -> int:
    """Return the status of the answer to whoever shows this."""
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    transport = httpx.ASGITransport(house.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://reception", headers=headers) as client:
        answer = await client.post(path, files=form())
    assert "www-authenticate" in answer.headers or answer.status_code != 401
    return answer.status_code


async def test_whoever_shows_no_token_of_this_house_stays_out(house: ReceptionHouse) -> None:
    token = await house.token()
    others = {
        *("", "portal-1", "portal-1.", token[:-1], token + "A", token.upper(), token.replace("portal-1", "portal-2")),
        *("." + token, "x" * 10_000, token_of(Client("portal-1", Door.OFFICER), b"another house's key" * 2)),
    }
    assert {await knock(house, each) for each in others} == {401}
    assert await knock(house, None) == 401
    assert await knock(house, token) == 202


async def test_a_client_uses_no_other_door(house: ReceptionHouse) -> None:
    assert await knock(house, await house.token("mortuary", Door.UNIT)) == 403
    assert await knock(house, await house.token("portal-1", Door.OFFICER), "/unit/submissions") == 403
    assert house.behind.events == []


async def test_a_client_of_a_door_that_is_not_open_here_stays_out(tmp_path: Path) -> None:
    async with reception_house.opened(tmp_path, doors=(Door.UNIT,)) as house:
        token = await house.token("portal-1", Door.OFFICER)
        assert await knock(house, token, "/unit/submissions") == 401
        assert await knock(house, await house.token("mortuary", Door.UNIT)) == 404


async def test_a_client_that_is_revoked_comes_back_with_another_token_alone(house: ReceptionHouse) -> None:
    before = await house.token()
    await house.here.store.revoke("portal-1", builders.NOW)
    assert await knock(house, before) == 401
    after = token_of(await house.here.store.add("portal-1", Door.OFFICER), reception_house.KEY)
    assert (await knock(house, before), await knock(house, after)) == (401, 202)


def test_a_token_is_of_one_name_one_door_and_one_generation() -> None:
    clients = [Client(name, door, generation) for name in ("a", "a-1") for door in Door for generation in (1, 11)]
    tokens = [token_of(each, reception_house.KEY) for each in clients]
    assert len(set(tokens)) == len(clients)
    for client in clients:
        assert [is_token_of(client, token, reception_house.KEY) for token in tokens].count(True) == 1


def test_the_doors_are_open_that_the_settings_say() -> None:
    assert IntakeSettings().doors == (Door.OFFICER, Door.UNIT, Door.APPEAL)
    with pytest.raises(ValueError, match="doors"):
        IntakeSettings(doors=())


# --- the command line -----------------------------------------------------------------------------------------------
def rfr(data_dir: Path, *command: str) -> str:
    done = CliRunner().invoke(__main__.app, ["--data-dir", str(data_dir), "clients", *command])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_token_is_said_once_and_kept_nowhere(tmp_path: Path) -> None:
    said = rfr(tmp_path, "add", "portal-1", "--door", "officer").strip()
    client = Client("portal-1", Door.OFFICER)
    key = (tmp_path / "intake.key").read_bytes()
    assert said == token_of(client, key)
    assert (tmp_path / "intake.key").stat().st_mode & 0o777 == 0o600
    code = said.partition(".")[2].encode()
    everything = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert code not in everything
    assert said not in rfr(tmp_path, "list")


def test_what_is_done_to_clients_is_on_record(tmp_path: Path) -> None:
    rfr(tmp_path, "add", "portal-1", "--door", "officer")
    assert "portal-1 is kept out" in rfr(tmp_path, "revoke", "portal-1")
    assert "revoked" in rfr(tmp_path, "list")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
        lines = ledger.execute("SELECT about, detail FROM access_log ORDER BY sequence").fetchall()
    assert lines == [
        ("portal-1", "client: let in at officer"),
        ("portal-1", "client: kept out"),
    ]


def test_where_a_client_is_told_is_said_and_changed_and_on_record_without_its_secrets(tmp_path: Path) -> None:
    rfr(tmp_path, "add", "portal-1", "--door", "officer", "--callback", "https://portal.example/outcomes?key=hush")
    assert "told there" in rfr(tmp_path, "callback", "portal-1", "--callback", "http://127.0.0.1:9/")
    assert "told nowhere" in rfr(tmp_path, "callback", "portal-1")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
        said = [detail for (detail,) in ledger.execute("SELECT detail FROM access_log ORDER BY sequence")]
    assert said == [
        "client: let in at officer, told of outcomes at portal.example",
        "client: told of outcomes at 127.0.0.1:9",
        "client: told of outcomes nowhere",
    ]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["add", "Jane Doe", "--door", "officer"], "name: letters, digits and hyphens"),
        (["add", "portal-1", "--door", "officer"], "there is a client of this name"),
        (["revoke", "portal-9"], "there is no client of this name"),
        (["add", "portal-2", "--door", "unit", "--callback", "http://portal.example"], "callback: https://"),
        (["callback", "portal-9", "--callback", "https://portal.example"], "no client of this name that may hand in"),
    ],
)
def test_a_mistake_gets_a_sentence(
    tmp_path: Path, command: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rfr(tmp_path, "add", "portal-1", "--door", "officer")
    with pytest.raises(SystemExit):
        __main__.main(["--data-dir", str(tmp_path), "clients", *command])
    assert words in capsys.readouterr().err
