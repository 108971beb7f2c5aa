"""The README's commands on a house that is up: a picture in, two people decide, a lead out, and the house down.

People decide at the desk, in a browser (`browser/`); here their words are signed with the keys that the commands made.
"""

import asyncio
import hashlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from uuid import UUID

import builders
import pytest
from terminal import RFR

from producers.console import signing
from rfr_stream.__main__ import main
from rfr_stream.adapters import keys
from rfr_stream.commands._context import open_bus, open_ledger
from rfr_stream.commands._pictures import Pictures, paint
from rfr_stream.events import GalleryName, ReferenceSubmitted, Support
from rfr_stream.settings import Settings

pytestmark = pytest.mark.kafka

KEY_WORDS = "correct-horse"


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    status: int
    said: str


@dataclass(frozen=True)
class House:
    """A house that is up, and the pictures to send through it."""

    folder: Path
    pictures: Pictures

    def rfr(self, *arguments: str | Path, status: int = 0) -> str:
        """Run one command; return all it said."""
        done = _run("--data-dir", self.folder, *arguments)
        assert done.status == status, done.said
        return done.said

    def wait_for(self, words: str, *arguments: str) -> str:
        """Ask again until the answer has these words; return it."""
        deadline = time.monotonic() + 120
        while words not in (said := _run("--data-dir", self.folder, *arguments).said):
            assert time.monotonic() < deadline, said
            time.sleep(0.5)
        return said


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    log = (folder / "up.log").open("wb")
    with log:
        any_port = {**os.environ, "RFR_DESK__PORT": "0", "RFR_INTAKE__PORT": "0"}  # noqa: TID251 - passed on
        up = subprocess.Popen([*RFR, "--data-dir", str(folder / "data"), "up"], stdout=log, stderr=log, env=any_port)
    try:
        _wait_for(folder / "data" / "house.json", up, folder / "up.log")
        yield House(folder / "data", paint(folder / "pictures"))
        assert "Stopped." in _run("--data-dir", folder / "data", "down").said
        assert up.wait(30) == 0, (folder / "up.log").read_text()
        assert "Nothing of erased references is left" in _run("--data-dir", folder / "data", "gallery", "compact").said
    finally:
        if up.poll() is None:
            up.send_signal(signal.SIGTERM)
            up.wait(30)


@pytest.fixture(scope="module")
def reviewers(house: House, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("r-ash", "r-birch"):
        house.rfr(
            *("reviewers", "add", name, "--key", folder / f"{name}.pem", "--competent-until", "2099-06-30"),
            *("--passphrase", KEY_WORDS),
        )
    return {name: folder / f"{name}.pem" for name in ("r-ash", "r-birch")}


def test_from_enrolment_to_a_lead(house: House, reviewers: dict[str, Path]) -> None:
    _enrol(house)
    case = _submitted(house, house.pictures.bad_camera)
    assert case in house.wait_for(case, "cases")

    for name, key in reviewers.items():
        _decide(house, case, name, key)
    assert "confirmed" in house.wait_for("confirmed", "status", case)
    assert case not in house.rfr("cases")


def test_what_nobody_can_be_found_on_is_closed_and_says_so(house: House) -> None:
    assert "no_face" in house.wait_for("no_face", "status", _submitted(house, house.pictures.nobody))
    case = _submitted(house, house.pictures.two_people)
    assert "subject_selection_required" in house.wait_for("subject_selection_required", "status", case)


def test_who_is_unknown_or_has_another_key_decides_nothing_and_is_found_among_the_dead_letters(
    house: House, reviewers: dict[str, Path]
) -> None:
    _enrol(house)
    case = _submitted(house, house.pictures.at_night)
    house.wait_for(case, "cases")
    for name, key in (("r-nobody", reviewers["r-ash"]), ("r-ash", reviewers["r-birch"])):
        _decide(house, case, name, key)
    house.wait_for("2 would be put back", "replay", "decisions", "rfr-review")
    assert "awaiting_review" in house.rfr("status", case)


def test_a_file_that_is_no_image_is_rejected_at_the_door_with_its_reason(house: House, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no image")
    said = house.rfr(*_submission(tmp_path / "notes.txt"), status=1)
    assert "does not begin like a JPEG" in said
    assert "1 rejected" in said


def test_an_erased_reference_is_found_no_more_and_compacting_waits_for_the_house(house: House) -> None:
    reference = _enrol(house)[0]
    house.rfr(
        *("erase", reference, "--person", "P-1041", "--gallery", "custody"),
        *("--reason", "acquitted", "--by", "gallery-admin"),
    )
    house.wait_for("erased", "status", reference)
    assert "in use by process" in house.rfr("gallery", "compact", status=1)


def test_a_manifest_is_enrolled_its_conflicts_are_listed_and_a_case_that_ends_stops_the_search(
    house: House, tmp_path: Path
) -> None:
    image, manifest = house.pictures.references[-1], tmp_path / "gallery.csv"
    said = "custody,PACE 1984 s.64A,custody-suite-7,2026-02-01,2099-02-01,A-9"
    manifest.write_text(
        "path,person,gallery,basis,source,captured_at,review_due,case\n"
        f"{image},P-2000,{said}\n{image},Jane Doe,{said}\n{image},P-2001,{said}\n"
    )
    out = house.rfr("enrol", "--manifest", manifest, status=1)
    assert "2 accepted, 0 skipped, 1 rejected" in out
    rejects = (tmp_path / "gallery.csv.rejects.jsonl").read_text()
    assert '"line": 3' in rejects
    assert "Jane" not in rejects
    reference, _ = re.findall(r"accepted: .*: ([0-9a-f-]{36})", out)
    house.wait_for("enrolled in custody", "status", reference)
    assert "P-2000" in house.wait_for("P-2001", "gallery", "conflicts")
    house.rfr(
        *("dispose", "A-9", "acquitted", "--person", "P-2000"),
        *("--reason", "register of the court", "--by", "records-office"),
    )
    house.wait_for("not searched: acquitted", "status", reference)
    assert "1 held and not searched" in house.rfr("gallery", "unsearched")


def test_the_unit_posts_a_manifest_and_no_image_finds_itself(house: House, tmp_path: Path) -> None:
    image, manifest = house.pictures.references[0], tmp_path / "missing.csv"
    asked = "both,missing,life_at_risk,safeguarding,uk_gdpr,phone,Given by the family.,AB/1,unit-3,given,register"
    words = "Nobody has seen her since; no card was used, and no friend has heard of her."
    manifest.write_text(
        "action,purpose,harm,legal_basis,regime,provenance.origin,provenance.obtained,provenance.exhibit_ref,"
        "submitted_by,enrol.basis,enrol.source,enrol.captured_at,enrol.review_due,path,case_ref,enrol.person_id,"
        f'necessity,galleries\n{asked},2026-02-01,2099-02-01,{image},MP-1,mp-1,"{words}",missing\n'
        f'{asked},2026-02-01,2099-02-01,{image},MP-2,mp-2,"{words}",missing\n'
    )
    out = house.rfr("post", manifest, status=1)
    assert "1 accepted, 0 skipped, 1 rejected" in out
    rejects = (tmp_path / "missing.csv.rejects.jsonl").read_text()
    assert '"line": 3' in rejects
    assert '"field": "necessity"' in rejects
    (case,) = re.findall(r"accepted: .*: ([0-9a-f-]{36})", out)
    digest = hashlib.sha256(image.read_bytes()).hexdigest()
    house.wait_for("enrolled in missing", "status", str(ReferenceSubmitted.derive("mp-1", GalleryName.MISSING, digest)))
    house.wait_for("no_candidates", "status", case)
    assert "0 accepted, 1 skipped, 1 rejected" in house.rfr("post", manifest, status=1)


def test_topics_dead_letters_and_models_can_be_looked_at(house: House, tmp_path: Path) -> None:
    assert "as the table says" in house.rfr("topics", "plan")
    assert "as the table says" in house.rfr("topics", "apply")
    house.rfr("topics", "export", tmp_path)
    assert (tmp_path / "asyncapi.json").exists() or list(tmp_path.rglob("*.json"))
    assert "would be put back" in house.rfr("replay", "submissions", "rfr-detection")
    assert "ready" in house.rfr("models", "list")
    assert "every file is the one" in house.rfr("models", "verify", "baseline")


def test_a_house_where_nobody_has_an_account_says_how_the_first_comes_in(house: House) -> None:
    log, deadline = house.folder.parent / "up.log", time.monotonic() + 60
    while not re.search(r"http://localhost:8470/setup\?code=[\w-]{43}\n", log.read_text()):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.5)
    assert "/invitation?code=" in house.rfr("accounts", "invite", "r-ash", "--role", "reviewer")


def test_a_second_house_in_the_same_folder_is_refused(house: House) -> None:
    assert "runs already" in house.rfr("up", status=1)


def _enrol(house: House) -> list[str]:
    """Enrol the portraits, and return their ids once they can be found."""
    said = house.rfr(
        *("enrol", *map(str, house.pictures.references), "--person", "P-1041", "--gallery", "custody"),
        *("--basis", "PACE 1984 s.64A", "--source", "custody-suite-7"),
        *("--captured-at", "2026-02-01", "--review-due", "2099-02-01"),
    )
    ids = re.findall(r"reference-\d.jpg: ([0-9a-f-]{36})", said)
    for reference in ids:
        house.wait_for("custody", "status", reference)
    return ids


def _submission(image: Path) -> list[str | Path]:
    return [
        *("submit", image, "--source", "officer", "--case", "C-77/26", "--purpose", "suspect"),
        *("--basis", "DPA 2018 s.35(5)", "--by", "officer-31", "--harm", "other", "--origin", "cctv"),
        *("--obtained", "Seized from the shop's recorder.", "--exhibit", "AB/1"),
        *("--necessity", "Nobody on the street knew them, and there is no other image."),
    ]


def _submitted(house: House, image: Path) -> str:
    said = house.rfr(*_submission(image))
    (case,) = re.findall(r"(?:accepted|skipped): .*: ([0-9a-f-]{36})", said)
    return str(case)


def _decide(house: House, case: str, reviewer: str, key: Path) -> None:
    asyncio.run(_signed_and_sent(Settings(data_dir=house.folder), UUID(case), reviewer, key))


async def _signed_and_sent(settings: Settings, case: UUID, reviewer: str, key: Path) -> None:
    """Say what the desk would after an examination of a minute."""
    now = datetime.now(UTC)
    looked_at = {"analysed_at": now - timedelta(minutes=2), "shown_at": now - timedelta(minutes=1), "compared_s": 60.0}
    judgement = signing.Judgement(
        reviewer_id=reviewer,
        support=Support.MODERATE_SAME,
        person_id="P-1041",
        features=builders.features(),
        examination=builders.examination(**looked_at),
    )
    async with open_ledger(settings) as ledger, open_bus(settings) as bus:
        known = await ledger.case(case)
        assert known
        assert known.candidates
        words = signing.draft(known.candidates, judgement, now)
        signature = keys.sign_bytes(keys.load(key, passphrase=KEY_WORDS), words.signed_bytes)
        await bus.publish([signing.seal(words, signature)])


def _run(*arguments: str | Path) -> Done:
    """Run a command as `rfr` would, in this process: that saves its imports."""
    with StringIO() as said, redirect_stdout(said), redirect_stderr(said):
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, arguments)))
        return Done(int(ended.value.code or 0), said.getvalue())


def _wait_for(file: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 90
    while not file.exists():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
