"""A watched folder: whoever may write into it hands images in, and finds beside them what became of each drop.

A drop is a folder with `request.json` and images, or one message (`.eml`, RFC 5322) with the same as attachments. It
appears whole: written under a name that begins with a dot, then renamed. Once it is durable it lies in `done/`, with a
receipt; what cannot be taken lies in `rejected/`, with the reason. A drop is taken whole or not at all, and again after
a crash: the ids are the same.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from pathlib import Path
from typing import Any, Final, TypeAlias

from pydantic import ValidationError
from watchfiles import awatch

from producers._admission import Scanner, admit, images_in
from producers._intake import Report
from producers._request import Request, submit
from producers.references import enrol
from rfr_stream import telemetry
from rfr_stream.errors import BadImage, Malformed, Rejected
from topics import explain

REQUEST: Final = "request.json"
DONE: Final = "done"
REJECTED: Final = "rejected"
MAX_REQUEST_BYTES: Final = 65_536
MAX_IMAGES: Final = 1_000
LOOK_EVERY_MS: Final = 5_000
"""A change that the system did not tell of, on a network drive say, waits no longer than this."""
_NAME_BYTES: Final = 240
"""Of a longer name the rest goes: with a number, and with the name of the text beside it, it must be a name."""

HandIn: TypeAlias = Callable[[Sequence[Path | bytes], Request], AsyncIterator[Report]]
"""Hands images in through a door; durable once it has yielded."""
_State: TypeAlias = tuple[int, int]
"""A file's number, and when it or its rights changed: the same as long as nobody has touched it."""

log = telemetry.logger(__name__)


@dataclass(frozen=True, slots=True)
class Drop:
    """What was dropped: the request as it was written, and the images."""

    request: bytes
    images: tuple[Path | bytes, ...]


# --- watching -------------------------------------------------------------------------------------------------------
async def watch(folder: Path, take: Callable[[Path], Awaitable[object]]) -> None:
    """Take what lies in the folder, and what comes, oldest first, until cancelled."""
    prepare(folder)
    stuck = await _take_all(folder, take, {})
    async for _ in awatch(folder, recursive=False, rust_timeout=LOOK_EVERY_MS, yield_on_timeout=True):
        stuck = await _take_all(folder, take, stuck)


async def _take_all(
    folder: Path, take: Callable[[Path], Awaitable[object]], stuck: Mapping[Path, _State]
) -> Mapping[Path, _State]:
    """Take what lies there, but what could not be moved and has not changed since; return what cannot be moved now."""
    lying = _lying(folder)
    for drop, state in lying.items():
        if stuck.get(drop) != state:
            await take(drop)
    left = _lying(folder)
    return {drop: state for drop, state in lying.items() if left.get(drop) == state}


def prepare(folder: Path) -> None:
    """Make the places where drops are put away."""
    for name in (DONE, REJECTED):
        (folder / name).mkdir(exist_ok=True)


def waiting(folder: Path) -> list[Path]:
    """Return the drops that lie there whole, oldest first."""
    return list(_lying(folder))


def _lying(folder: Path) -> dict[Path, _State]:
    found = {}
    for path in folder.iterdir():
        if path.name not in {DONE, REJECTED} and not path.name.startswith("."):
            with suppress(FileNotFoundError):  # it has vanished since
                found[path] = path.lstat()
    oldest_first = sorted(found, key=lambda path: (found[path].st_mtime_ns, path.name))
    return {path: (found[path].st_ino, found[path].st_ctime_ns) for path in oldest_first}


# --- taking ---------------------------------------------------------------------------------------------------------
async def take(
    path: Path,
    *,
    ask: Callable[[bytes], Request],
    hand_in: HandIn,
    max_bytes: int,
    scanner: Scanner | None = None,
) -> bool:
    """Hand a drop in and put it away; whether it was taken.

    Raises:
        Unavailable: store, bus or scanner are away; the drop stays where it is.

    """
    try:
        drop = await asyncio.to_thread(read, path, max_bytes)
        if scanner:
            await _require_harmless(path, drop, scanner)
        asked = ask(drop.request)
        reports = [report async for report in hand_in(drop.images, asked)]
    except (Rejected, ValidationError) as refusal:
        put_away(path, REJECTED, reason(refusal))
        return False
    put_away(path, DONE, "\n".join(f"{report.outcome}: {report.ids}" for report in reports))
    return True


async def _require_harmless(path: Path, drop: Drop, scanner: Scanner) -> None:
    """Let the scanner look at every image; a message it takes apart itself."""
    for file in [image for image in drop.images if isinstance(image, Path)] or [path]:
        if not await scanner.is_clean(file):
            msg = "image: the scanner found in it what would harm whoever opens it"
            raise BadImage(msg)


async def hand_in(images: Sequence[Path | bytes], asked: Request, **ports: Any) -> AsyncIterator[Report]:  # noqa: ANN401
    """Yield how each image fares that is searched with and, where that is asked, held; `ports` as of `submit`.

    Raises:
        NotPermitted: policy forbids the one or the other; nothing was opened.

        Unavailable: store, bus or journal are away; the same again does no harm.

    """
    enrolment = asked.enrolment()
    async for report in submit(images, asked, **ports):
        yield report
    if enrolment:
        async for report in enrol(((image, enrolment) for image in images), **ports):
            yield replace(report, reference_id=report.derived_id)


def reason(refusal: Rejected | ValidationError) -> str:
    """Return why; what was given is not repeated."""
    return f"{REQUEST}: {explain(refusal)}" if isinstance(refusal, ValidationError) else str(refusal)


def put_away(path: Path, where: str, said: str) -> None:
    """Move a drop there under a name that is free, with a text about it; the text first: what is moved has one.

    A drop that cannot be moved, since it is somebody else's or has vanished, holds nobody up.
    """
    short = Path(os.fsdecode(os.fsencode(path.name)[:_NAME_BYTES]))
    target, number = path.parent / where / short, 1
    while target.exists() or target.is_symlink():
        number += 1
        target = target.with_name(f"{short.stem}-{number}{short.suffix}")
    target.with_name(f"{target.name}.txt").write_text(f"{said}\n")
    try:
        path.rename(target)
    except OSError as error:
        log.event("drop.stuck", level=logging.WARNING, where=where, error=error)


# --- reading --------------------------------------------------------------------------------------------------------
def read(path: Path, max_bytes: int) -> Drop:
    """Return what was dropped, every image looked at.

    Raises:
        Rejected: it is no drop, there is no image, or one of them cannot be admitted.

    """
    try:
        return _looked_at(path, max_bytes)
    except OSError as error:
        msg = f"drop: cannot be read: {error.strerror or type(error).__name__}"
        raise Malformed(msg) from error
    except RecursionError:
        msg = "drop: parts within parts, more than can be read"
        raise Malformed(msg) from None


def _looked_at(path: Path, max_bytes: int) -> Drop:
    if path.is_symlink():
        msg = "drop: a symbolic link"
        raise Malformed(msg)
    drop = _folder(path) if path.is_dir() else _message(path, max_bytes)
    if not 1 <= len(drop.images) <= MAX_IMAGES:
        msg = f"images: 1 to {MAX_IMAGES} with each {REQUEST}"
        raise Malformed(msg)
    for image in drop.images:
        admit(image, max_bytes=max_bytes)
    return drop


def _folder(path: Path) -> Drop:
    asked = path / REQUEST
    if not asked.is_file() or asked.is_symlink():
        msg = f"{REQUEST}: missing; it says what is asked of the images"
        raise Malformed(msg)
    if asked.stat().st_size > MAX_REQUEST_BYTES:
        msg = f"{REQUEST}: larger than {MAX_REQUEST_BYTES} bytes"
        raise Malformed(msg)
    return Drop(asked.read_bytes(), tuple(image for image in images_in([path]) if image != asked))


def _message(path: Path, max_bytes: int) -> Drop:
    """Read a message; who sent it to whom is not looked at, and goes nowhere."""
    if path.suffix.lower() != ".eml" or not path.is_file():
        msg = "drop: neither a folder nor a message (.eml)"
        raise Malformed(msg)
    if path.stat().st_size > 2 * max_bytes:
        msg = f"drop: larger than {2 * max_bytes} bytes"
        raise Malformed(msg)
    # The old policy splits headers at their marks; the new one parses them, and falls over some.
    message = BytesParser(policy=compat32).parsebytes(path.read_bytes())
    parts = [(part.get_content_type(), _bytes_of(part)) for part in message.walk() if not part.is_multipart()]
    requests = [data for kind, data in parts if kind == "application/json"]
    if len(requests) != 1 or len(requests[0]) > MAX_REQUEST_BYTES:
        msg = f"{REQUEST}: one part of type application/json, of at most {MAX_REQUEST_BYTES} bytes"
        raise Malformed(msg)
    return Drop(requests[0], tuple(data for kind, data in parts if kind.startswith("image/")))


def _bytes_of(part: Message) -> bytes:
    data = part.get_payload(decode=True)
    return data if isinstance(data, bytes) else b""
