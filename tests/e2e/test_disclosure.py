"""The record of a case leaves the house in one file, and whoever gets it can check it with nothing else at hand."""

import asyncio
import re
import stat
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import dossier
import pytest

from rfr_stream.__main__ import main
from rfr_stream.adapters.desk import SqlDesk
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.desk import Entry
from rfr_stream.events import CAVEAT


def rfr(*arguments: str | Path, status: int = 0) -> str:
    """Run one command; return all it said."""
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert (ended.value.code or 0) == status, said.getvalue()
    return said.getvalue()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the data directory of a house in which the case is on record."""
    folder = tmp_path_factory.mktemp("house")

    async def fill() -> None:
        async with SqlLedger(f"sqlite:///{folder / 'ledger.db'}") as ledger:
            await dossier.fill(ledger)

    asyncio.run(fill())
    return folder


def disclose(house: Path, out: Path, *more: str | Path, case: str = dossier.CASE, status: int = 0) -> str:
    recipient = ("--to", "cps-unit-4", "--reason", "disclosure to the defence", "--by", "auditor-1")
    return rfr("--data-dir", house, "disclose", case, *recipient, "--out", out, *more, status=status)


def logged(house: Path) -> list[Entry]:
    async def read() -> list[Entry]:
        async with SqlLedger(f"sqlite:///{house / 'ledger.db'}") as ledger:
            return await SqlDesk(ledger).log.about(dossier.CASE)

    return asyncio.run(read())


def test_a_case_is_disclosed_checked_and_made_again(house: Path, tmp_path: Path) -> None:
    said = disclose(house, first := tmp_path / "first.zip")
    (key,) = re.findall(r"Sealed by  (\S+)", said)
    assert CAVEAT in said
    assert stat.S_IMODE(first.stat().st_mode) == stat.S_IMODE((house / "seal.pem").stat().st_mode) == 0o600

    checked = rfr("verify", first)
    assert f"Sealed by {key}" in checked
    assert "It holds together: CR/2026/004417, searches: 4." in checked
    assert CAVEAT in checked
    assert "as given" in rfr("verify", first, "--key", key)

    disclose(house, again := tmp_path / "again.zip")
    assert again.read_bytes() == first.read_bytes()
    assert [line.detail.split()[-4:] for line in logged(house)] == [["disclosure", "to", "the", "defence"]] * 2


def test_a_bundle_that_was_touched_is_refused_and_the_first_fault_comes_first(house: Path, tmp_path: Path) -> None:
    disclose(house, file := tmp_path / "bundle.zip", case=str(dossier.BLANK.submission.submission_id))
    data = file.read_bytes()
    file.write_bytes(data.replace(b"investigation of a burglary", b"investigation of a homicide", 1))

    said = rfr("verify", file, status=1)

    assert said.startswith("fault: bundle: cannot be opened: Bad CRC-32")
    assert "holds together" not in said


def test_a_bundle_of_another_house_is_refused(house: Path, tmp_path: Path) -> None:
    disclose(house, file := tmp_path / "bundle.zip", case=str(dossier.BLANK.submission.submission_id))
    stranger = "A" * 43 + "="

    said = rfr("verify", file, "--key", stranger, status=1)

    assert said.startswith("fault: manifest.json: sealed by another key")


def test_what_is_there_already_is_not_overwritten_and_not_logged(house: Path, tmp_path: Path) -> None:
    (file := tmp_path / "bundle.zip").write_text("mine")
    before = len(logged(house))

    assert "is there already" in disclose(house, file, status=1)
    assert (file.read_text(), len(logged(house))) == ("mine", before)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--to", "Jane Doe"), "--to: a reference, no name"),
        (("--by", "Jane Doe"), "--by: a reference, no name"),
        (("--reason", " "), "--reason"),
    ],
)
def test_what_cannot_be_logged_as_it_stands_is_refused(
    house: Path, tmp_path: Path, arguments: tuple[str, str], named: str
) -> None:
    assert named in disclose(house, tmp_path / "bundle.zip", *arguments, status=1)
    assert not (tmp_path / "bundle.zip").exists()


def test_a_case_that_nobody_knows_is_said_to_be_unknown(house: Path, tmp_path: Path) -> None:
    assert "nothing is on record" in disclose(house, tmp_path / "bundle.zip", case="CR/2026/000000", status=1)


def test_a_key_that_is_none_is_refused(tmp_path: Path) -> None:
    (file := tmp_path / "bundle.zip").write_bytes(b"")

    assert "must be the base64 of 32 bytes" in rfr("verify", file, "--key", "no key", status=1)
