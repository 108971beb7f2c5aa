"""A reception on a real ledger and a real file store: what it publishes is kept, and a test says what is away."""

import io
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import builders
import httpx
from fastapi import FastAPI
from PIL import Image

from producers.reception.app import build
from producers.reception._reception import Reception, Scanner
from rfr_stream.adapters.files import FileBlobs
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.reception import SqlReception
from rfr_stream.errors import Unavailable
from rfr_stream.events import Event, ImageSubmitted, Submission
from rfr_stream.reception import Client, Door, token_of
from rfr_stream.settings import IntakeSettings

KEY: Final = bytes(range(32))
REQUEST: Final[dict[str, Any]] = {
    "purpose": "suspect",
    "harm": "serious_harm",
    "case_ref": "C-77/26",
    "legal_basis": "DPA 2018 s.35(5)",
    "necessity": "The recording is the only lead; nobody on the street knew them, and no appeal has helped.",
    "provenance": {"origin": "cctv", "obtained": "Seized from the shop's recorder.", "exhibit_ref": "AB/1"},
    "submitted_by": "officer-31",
}


def picture(shade: int = 0, kind: str = "PNG", *, size: tuple[int, int] = (40, 30)) -> bytes:
    """Return a small picture; another shade is another image."""
    out = io.BytesIO()
    Image.new("RGB", size, (shade % 256, shade // 256, 90)).save(out, kind)
    return out.getvalue()


def form(*images: bytes, request: Mapping[str, Any] | bytes | None = None, **fields: Any) -> list[tuple[str, Any]]:  # noqa: ANN401
    """Return the parts of an upload, the request first."""
    said = request if isinstance(request, bytes) else json.dumps({**(request or REQUEST), **fields}).encode()
    files = [("image", ("any name.exe", image, "text/html")) for image in images or (picture(),)]
    return [("request", (None, said, "application/json")), *files]


@dataclass
class ReceptionHouse:
    """A reception, its application, and what is behind it."""

    here: Reception
    app: FastAPI
    events: list[Event]
    away: set[str] = field(default_factory=set)
    waiting: int = 0
    """How long the line behind the doors is."""

    async def publish(self, events: Sequence[Event]) -> None:
        if "bus" in self.away:
            msg = "the message bus did not acknowledge"
            raise Unavailable(msg)
        self.events += events

    def messages(self) -> int:
        return self.waiting

    @property
    def submissions(self) -> list[Submission]:
        return [cast("ImageSubmitted", event).submission for event in self.events]

    async def token(self, name: str = "portal-1", door: Door = Door.OFFICER) -> str:
        """Let a client in, if it is not, and return its token."""
        known = await self.here.store.client(name)
        return token_of(known or await self.here.store.add(name, door), KEY)

    @asynccontextmanager
    async def client(self, name: str = "portal-1", door: Door = Door.OFFICER) -> AsyncIterator[httpx.AsyncClient]:
        headers = {"authorization": f"Bearer {await self.token(name, door)}"}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://reception", headers=headers) as client:
            yield client


@asynccontextmanager
async def opened(
    folder: Path, *, scanner: Scanner | None = None, max_image_bytes: int = 2 * 2**20, **settings: Any
) -> AsyncIterator[ReceptionHouse]:
    """Open a reception whose ledger, blobs and spool are in this folder."""
    spool = folder / "spool"
    spool.mkdir()
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(SqlLedger(f"sqlite:///{folder / 'ledger.db'}"))
        blobs = await stack.enter_async_context(FileBlobs(folder / "blobs"))
        house = ReceptionHouse.__new__(ReceptionHouse)
        here = Reception(
            settings=IntakeSettings(**settings),
            ledger=ledger,
            store=SqlReception(ledger),
            blobs=blobs,
            publish=lambda events: house.publish(events),
            backlog=cast("Any", house),
            key=KEY,
            spool=spool,
            scanner=scanner,
            clock=lambda: builders.NOW,
            max_image_bytes=max_image_bytes,
            max_image_pixels=1_000_000,
        )
        house.__init__(here, build(here), [])  # type: ignore[misc]
        yield house
