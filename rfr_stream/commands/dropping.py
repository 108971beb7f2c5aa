"""`rfr drop`: a folder that is watched, one door for each."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from producers import dropping, missing_persons, officer
from producers._handed_in import HandedIn
from producers._intake import Report
from producers._request import Request
from rfr_stream.adapters import opening
from rfr_stream.commands._context import open_bus, run, say, settings_of
from rfr_stream.errors import Unavailable
from rfr_stream.policy import stated
from rfr_stream.settings import Settings
from topics.bus import SendFailed


class DropDoor(StrEnum):
    """Whose folder it is: whoever may write into it comes through this door."""

    OFFICER = "officer"
    UNIT = "unit"


_REQUESTS: Final[dict[DropDoor, type[Request]]] = {
    DropDoor.OFFICER: officer.OfficerRequest,
    DropDoor.UNIT: missing_persons.UnitRequest,
}


def drop(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="is watched until Ctrl-C")],
    door: Annotated[DropDoor, typer.Option(help="whose images come in here")],
    *,
    once: Annotated[bool, typer.Option("--once", help="take what lies there, and end")] = False,
) -> None:
    """Take what is dropped into a folder: folders with request.json and images, or messages (.eml) with the same."""
    run(_watch(settings_of(context), folder, _REQUESTS[door], once=once))


async def _watch(settings: Settings, folder: Path, kind: type[Request], *, once: bool) -> None:
    async with AsyncExitStack() as stack:
        journal = stack.enter_context(HandedIn(settings.data_dir / "handed-in.db"))
        bus = await stack.enter_async_context(open_bus(settings))
        blobs = await stack.enter_async_context(opening.blobs(settings))
        ledger = await stack.enter_async_context(opening.ledger(settings))
        statements, limit = opening.reception(ledger), settings.vision.max_image_bytes

        async def hand_in(images: Sequence[Path | bytes], asked: Request) -> AsyncIterator[Report]:
            words, by = stated(asked.case_ref, asked.necessity), asked.form().submitted_by
            await statements.require_own_words(by, words, datetime.now(UTC))
            ports = {"blobs": blobs, "publish": bus.publish, "journal": journal, "max_bytes": limit}
            async for report in dropping.hand_in(images, asked, **ports):
                yield report

        ask, scanner = _reader(kind, settings), opening.scanner(settings)
        take = partial(dropping.take, ask=ask, hand_in=hand_in, max_bytes=limit, scanner=scanner)
        if once:
            dropping.prepare(folder)
            for path in dropping.waiting(folder):
                await _patiently(take, path)
        else:
            say(f"Watching {folder}; what is taken lies in {dropping.DONE}/, what is not in {dropping.REJECTED}/.")
            await dropping.watch(folder, partial(_patiently, take))


def _reader(kind: type[Request], settings: Settings) -> Callable[[bytes], Request]:
    def ask(request: bytes) -> Request:
        return kind.model_validate_json(request).model_copy(update={"demo": settings.demo})

    return ask


async def _patiently(take: Callable[[Path], Awaitable[bool]], path: Path) -> None:
    """Take a drop; one whose turn comes while store, bus or ledger are away waits."""
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type((Unavailable, SendFailed)), wait=wait_random_exponential(max=30)
    ):
        with attempt:
            taken = await take(path)
    say(f"{path.name}: {'taken' if taken else 'rejected'}")
