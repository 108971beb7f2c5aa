"""A watched folder: what is dropped is handed in whole, or put away with the reason."""

import asyncio
import errno
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Any, Final

import builders
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from producers import dropping, missing_persons, officer
from producers._admission import Scanner
from producers._intake import Report
from producers._request import Request
from rfr_stream.adapters.memory.blobs import MemoryBlobs
from rfr_stream.errors import NotPermitted, Rejected, Unavailable
from rfr_stream.events import Event, ImageSubmitted, ReferenceSubmitted

MAX_BYTES = 10_000
PNG = b"\x89PNG\r\n\x1a\n and so on"
JPEG = b"\xff\xd8\xff and so on"


class House:
    """A folder, and what comes out of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[Event] = []
        self.fault: Exception | None = None
        self.kind: type[Request] = officer.OfficerRequest
        self.max_bytes = MAX_BYTES
        self.scanner: Scanner | None = None
        dropping.prepare(folder)

    async def hand_in(self, images: Sequence[Path | bytes], asked: Request) -> AsyncIterator[Report]:
        if self.fault:
            raise self.fault
        ports = {"blobs": MemoryBlobs(), "publish": self._publish, "max_bytes": MAX_BYTES}
        async for report in dropping.hand_in(images, asked, **ports):
            yield report

    async def _publish(self, events: Sequence[Event]) -> None:
        self.events += events

    @property
    def take(self) -> Any:  # noqa: ANN401 - a partial
        ask = self.kind.model_validate_json
        limit, scanner = self.max_bytes, self.scanner
        return partial(dropping.take, ask=ask, hand_in=self.hand_in, max_bytes=limit, scanner=scanner)

    def said(self, where: str) -> str:
        """Return what stands beside the one thing that lies there."""
        (text,) = (self.folder / where).glob("*.txt")
        assert text.with_suffix("").exists()
        return text.read_text()


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def request(**changes: Any) -> bytes:  # noqa: ANN401 - JSON
    asked = officer.OfficerRequest(**builders.asked(submitted_by="officer-7"))
    return json.dumps({**asked.model_dump(mode="json"), **changes}).encode()


def folder_drop(
    house: House, name: str = "job-1", *, asked: bytes | None = None, images: dict[str, bytes] | None = None
) -> Path:
    drop = house.folder / name
    drop.mkdir()
    (drop / dropping.REQUEST).write_bytes(request() if asked is None else asked)
    for image, data in (images or {"a": PNG, "b": JPEG}).items():
        (drop / f"{image}.bin").write_bytes(data)
    return drop


def message(*images: bytes, asked: bytes | None = None) -> bytes:
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "Somebody <somebody@example.org>", "the photographs"
    mail.set_content("as agreed")
    mail.add_attachment(request() if asked is None else asked, maintype="application", subtype="json")
    for image in images:
        mail.add_attachment(image, maintype="image", subtype="png", filename="Somebody's face.png")
    return mail.as_bytes()


async def test_a_folder_is_handed_in_and_put_away_with_a_receipt(house: House) -> None:
    assert await house.take(folder_drop(house))

    ids = [str(event.submission.submission_id) for event in house.events if isinstance(event, ImageSubmitted)]
    assert len(ids) == 2
    assert all(f"accepted: {each}" in house.said(dropping.DONE) for each in ids)
    assert dropping.waiting(house.folder) == []


async def test_a_message_is_handed_in_and_nothing_of_its_sender_is_passed_on(house: House) -> None:
    mail = house.folder / "mail.eml"
    mail.write_bytes(message(PNG, JPEG))

    assert await house.take(mail)

    assert len(house.events) == 2
    assert not [event for event in house.events if "omebody" in event.model_dump_json()]
    assert (house.folder / dropping.DONE / "mail.eml").exists()


@pytest.mark.parametrize(
    ("asked", "images", "why"),
    [
        (b"{", {"a": PNG}, "request.json: value: Invalid JSON"),
        (request(purpose="curiosity"), {"a": PNG}, "purpose: Input should be"),
        (request(name="Somebody"), {"a": PNG}, "?: Extra inputs"),
        (
            request(purpose="missing", regime="uk_gdpr", galleries=["custody", "missing"], source="x"),
            {"a": PNG},
            "?: Extra inputs",
        ),
        (request(), {"a": PNG, "b": b"<html>"}, "image: does not begin like"),
        (request(), {"a": b""}, "image: empty"),
        (request(), {"a": PNG + bytes(MAX_BYTES)}, "image: larger than"),
        (b" " * (dropping.MAX_REQUEST_BYTES + 1), {"a": PNG}, "request.json: larger than"),
    ],
)
async def test_a_drop_is_taken_whole_or_not_at_all(
    house: House, asked: bytes, images: dict[str, bytes], why: str
) -> None:
    assert not await house.take(folder_drop(house, asked=asked, images=images))

    assert house.events == []
    assert why in house.said(dropping.REJECTED)
    assert "Somebody" not in house.said(dropping.REJECTED)


@pytest.mark.parametrize(("review_due", "events_n"), [("2999-01-31", 4), ("2020-01-31", 0)])
async def test_what_the_unit_drops_is_held_too_where_it_asks_for_that(
    house: House, review_due: str, events_n: int
) -> None:
    house.kind = missing_persons.UnitRequest
    held = {"person_id": "mp-1", "basis": "given to find her", "source": "unit", "captured_at": "2026-01-31"}
    asked = builders.asked(purpose="missing", regime="uk_gdpr", submitted_by="unit-3")
    said = missing_persons.UnitRequest(**asked).model_dump(mode="json")
    drop = json.dumps({**said, "enrol": {**held, "review_due": review_due}}).encode()

    assert await house.take(folder_drop(house, asked=drop)) is bool(events_n)

    kinds = [type(event) for event in house.events]
    assert kinds == ([ImageSubmitted] * 2 + [ReferenceSubmitted] * 2)[:events_n]
    for event in house.events:
        told = f"reference {event.reference_id}" if isinstance(event, ReferenceSubmitted) else event.key
        assert f"accepted: {told}\n" in house.said(dropping.DONE)


@pytest.mark.parametrize("data", [b"", b"no mail", message(), message(PNG, asked=b"{}"), b"\x00" * 100])
async def test_a_message_that_is_none_is_put_away_with_the_reason(house: House, data: bytes) -> None:
    mail = house.folder / "mail.eml"
    mail.write_bytes(data)

    assert not await house.take(mail)
    assert house.said(dropping.REJECTED)


def nested(depth: int) -> bytes:
    """Return a message with a multipart part in a multipart part in ..."""
    heads = (f'Content-Type: multipart/mixed; boundary="{n}"\n\n--{n}\n' for n in range(depth))
    return "".join(heads).encode() + message(PNG)


def forwarded(depth: int) -> bytes:
    return b"Content-Type: message/rfc822\n\n" * depth + message(PNG)


HOSTILE: Final = {
    "parts in parts": nested(1_500),  # Python takes no more than 1,000 of anything in itself
    "forwarded again and again": forwarded(1_500),
    "comments in comments": message().replace(b"application/json", b"application/json" + b"(" * 5_000),
    "half a parameter": message(PNG).replace(b"image/png", b"image/png; name*0*"),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_message_is_put_away_and_the_next_is_heard(house: House, data: bytes) -> None:
    house.max_bytes = len(data)
    (house.folder / "1.eml").write_bytes(data)
    (house.folder / "2.eml").write_bytes(message(PNG))

    for drop in dropping.waiting(house.folder):
        await house.take(drop)

    assert dropping.waiting(house.folder) == []
    assert (house.folder / dropping.DONE / "2.eml").exists()


@pytest.mark.parametrize("data", [nested(40), forwarded(40)], ids=["parts", "forwarded"])
async def test_a_message_may_be_passed_on_many_times(house: House, data: bytes) -> None:
    (house.folder / "mail.eml").write_bytes(data)
    assert await house.take(house.folder / "mail.eml")
    assert len(house.events) == 1


_SCRAPS: Final = (
    *(b"=?utf-8?b?", b"=?x?q?=", b"?=", b"charset=x", b"; charset*=utf-8''%ff", b"; name*0*", b"; name*1=a", b"''"),
    *(b"Content-Transfer-Encoding: ", b"base64\n", b"uuencode\n", b"quoted-printable\n", b"begin 666 x\n", b"rot13"),
    *(b"Content-Type: ", b"message/rfc822\n\n", b"message/partial", b"message/delivery-status\n\n", b"multipart/mixed"),
    *(b"boundary=", b"boundary=a", b"Content-Disposition: ", b"MIME-Version: ", b"idna", b"utf-16", b"\r\n ", b"--a\n"),
    *(bytes([each]) for each in b'\x00\n\r \t"%()*,./:;<=>@[\\]\xc3\xff'),
    *(b"(" * 1_000, b"<" * 1_000),
)
_MESSAGE: Final = message(PNG, JPEG)
_PLACES: Final = [place for found in re.finditer(rb": |;|\n", _MESSAGE) for place in found.span()]


@given(
    st.lists(
        st.tuples(st.sampled_from(_PLACES), st.integers(0, 20), st.sampled_from(_SCRAPS) | st.binary(max_size=8)),
        min_size=1,
        max_size=8,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
def test_a_message_may_say_anything_and_nothing_but_a_refusal_comes_of_it(
    tmp_path: Path, changes: list[tuple[int, int, bytes]]
) -> None:
    data = _MESSAGE
    for place, gone_n, scrap in changes:
        data = data[:place] + scrap + data[place + gone_n :]
    (tmp_path / "mail.eml").write_bytes(data)
    with suppress(Rejected):
        dropping.read(tmp_path / "mail.eml", MAX_BYTES)


# --- what the disk says -----------------------------------------------------------------------------------------------
def refuse(monkeypatch: pytest.MonkeyPatch, method: str, only: Path) -> None:
    """Let the system refuse this one method on this one path, as it does to whom it does not belong."""
    real = getattr(Path, method)

    def guarded(path: Path, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any method
        if path == only:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, method, guarded)


@pytest.mark.parametrize("method", ["read_bytes", "is_dir", "stat"])
@pytest.mark.parametrize("name", ["1", "1.eml"])
async def test_a_drop_that_cannot_be_read_is_put_away_and_the_next_is_heard(
    house: House, monkeypatch: pytest.MonkeyPatch, name: str, method: str
) -> None:
    drop = house.folder / name
    if drop.suffix:
        drop.write_bytes(message(PNG))
    else:
        folder_drop(house, name)
    later = folder_drop(house, "2")
    refuse(monkeypatch, method, drop if drop.is_file() or method == "is_dir" else drop / dropping.REQUEST)

    assert not await house.take(drop)
    assert await house.take(later)
    assert house.said(dropping.REJECTED) == "drop: cannot be read: Permission denied\n"


@pytest.mark.parametrize("where", [dropping.DONE, dropping.REJECTED])
async def test_a_drop_that_cannot_be_moved_is_passed_by_until_it_changes(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    asked = request() if where == dropping.DONE else b"{"
    stuck, tried = folder_drop(house, "Somebody", asked=asked), list[Path]()

    async def take(drop: Path) -> None:
        tried.append(drop)
        await house.take(drop)

    monkeypatch.setattr(dropping, "LOOK_EVERY_MS", 50)
    with monkeypatch.context() as patched:
        refuse(patched, "rename", stuck)
        watching = asyncio.create_task(dropping.watch(house.folder, take))
        try:
            for name in ("a", "b"):
                await _until(lambda: stuck in tried)
                later = folder_drop(house, f".{name}").rename(house.folder / name)
                await _until(lambda later=later: later in tried)
            assert tried.count(stuck) == 1
            patched.undo()
            stuck.chmod(0o700)
            await _until(lambda: not stuck.exists())
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
    assert (house.folder / where / "Somebody").exists()
    (said,) = [record for record in caplog.records if record.getMessage() == "drop.stuck"]
    assert "Somebody" not in str(vars(said))


@pytest.mark.parametrize("name", ["x" * 255, f"x.{'e' * 253}", f"{'é' * 125}.eml", "x" * 251 + ".eml"])
@pytest.mark.parametrize("asked", [request(), b"{"], ids=["taken", "rejected"])
async def test_a_drop_whose_name_is_as_long_as_may_be_is_put_away_and_so_is_the_next(
    house: House, name: str, asked: bytes
) -> None:
    for _ in range(12):
        await house.take(folder_drop(house, name, asked=asked))
    where = house.folder / (dropping.REJECTED if asked == b"{" else dropping.DONE)
    told, moved = [[path for path in where.iterdir() if path.is_dir() is kind] for kind in (False, True)]
    assert {path.name for path in told} == {f"{path.name}.txt" for path in moved}
    assert (len(moved), dropping.waiting(house.folder)) == (12, [])


async def test_what_vanishes_while_somebody_looks_is_no_drop(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, there = house.folder / "gone", folder_drop(house)
    found = [gone, there, house.folder / dropping.DONE]
    monkeypatch.setattr(Path, "iterdir", lambda _: iter(found))
    assert dropping.waiting(house.folder) == [there]


async def test_a_drop_that_vanishes_before_its_turn_is_not_the_end(house: House) -> None:
    assert not await house.take(house.folder / "gone.eml")
    assert house.events == []


async def test_a_message_without_images_is_rejected(house: House) -> None:
    mail = house.folder / "mail.eml"
    mail.write_bytes(message())
    assert not await house.take(mail)
    assert "images: 1 to" in house.said(dropping.REJECTED)


async def test_a_link_and_a_stray_file_are_no_drops(house: House, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (house.folder / "link").symlink_to(elsewhere, target_is_directory=True)
    (house.folder / "stray.png").write_bytes(PNG)

    for path in dropping.waiting(house.folder):
        assert not await house.take(path)

    assert elsewhere.exists()
    assert {path.name for path in (house.folder / dropping.REJECTED).iterdir()} == {
        "link",
        "link.txt",
        "stray.png",
        "stray.png.txt",
    }


async def test_what_policy_forbids_is_put_away_with_its_reason(house: House) -> None:
    house.fault = NotPermitted("necessity: said of another case before")
    assert not await house.take(folder_drop(house))
    assert house.said(dropping.REJECTED) == "necessity: said of another case before\n"


async def test_a_drop_whose_store_is_away_stays_where_it_is(house: House) -> None:
    house.fault, drop = Unavailable("blobs: away"), folder_drop(house)
    with pytest.raises(Unavailable):
        await house.take(drop)
    assert dropping.waiting(house.folder) == [drop]


HARMFUL = PNG + b" harm"


class OneSignature:
    """A scanner that knows one file, also within a message."""

    is_away = False

    async def is_clean(self, path: Path) -> bool:
        if self.is_away:
            msg = "scanner: away"
            raise Unavailable(msg)
        data = await asyncio.to_thread(path.read_bytes)
        return HARMFUL not in data and b64encode(HARMFUL) not in data


@pytest.mark.parametrize("kind", ["folder", "message"])
async def test_what_the_scanner_finds_is_put_away_and_kept_nowhere_else(house: House, kind: str) -> None:
    house.scanner = OneSignature()
    drop = house.folder / "mail.eml"
    if kind == "folder":
        drop = folder_drop(house, images={"a": PNG, "b": HARMFUL})
    else:
        drop.write_bytes(message(HARMFUL))
    assert not await house.take(drop)
    assert "scanner" in house.said(dropping.REJECTED)
    assert house.events == []


async def test_while_the_scanner_is_away_a_drop_stays_where_it_is(house: House) -> None:
    house.scanner, drop = OneSignature(), folder_drop(house)
    house.scanner.is_away = True
    with pytest.raises(Unavailable):
        await house.take(drop)
    assert dropping.waiting(house.folder) == [drop]
    house.scanner.is_away = False
    assert await house.take(drop)


async def test_the_same_name_twice_loses_nothing(house: House) -> None:
    for _ in range(2):
        assert await house.take(folder_drop(house))

    assert {path.name for path in (house.folder / dropping.DONE).glob("job-*")} == {
        "job-1",
        "job-1.txt",
        "job-1-2",
        "job-1-2.txt",
    }


async def test_what_is_being_written_is_left_alone(house: House) -> None:
    folder_drop(house, ".job-1")
    assert dropping.waiting(house.folder) == []


async def test_what_comes_while_somebody_watches_is_taken_once_it_has_its_name(house: House) -> None:
    folder_drop(house, "before")
    watching = asyncio.create_task(dropping.watch(house.folder, house.take))
    try:
        await _until(lambda: len(house.events) == 2)
        folder_drop(house, ".after", images={"c": PNG + b"2"}).rename(house.folder / "after")
        await _until(lambda: len(house.events) == 3)
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _until(condition: Any) -> None:  # noqa: ANN401 - a function
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - files tell nobody
            await asyncio.sleep(0.02)
