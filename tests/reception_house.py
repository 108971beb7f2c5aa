"""A reception on a real ledger and a real file store: what it publishes is kept, and a test says what is away."""

import io
import json
import tracemalloc
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import builders
import httpx
from fastapi import FastAPI
from PIL import Image

from producers._admission import Scanner
from producers.reception._decoding import DECODER, Decoding
from producers.reception._reception import Reception
from producers.reception.app import build
from rfr_stream.adapters.files import FileBlobs
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.reception import SqlReception
from rfr_stream.errors import Rejected, Unavailable
from rfr_stream.events import Event, ImageSubmitted, Submission
from rfr_stream.ports import BlobStore
from rfr_stream.reception import Door, token_of
from rfr_stream.settings import DetectionSettings, IntakeSettings, VisionSettings

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


def video_form(video: bytes, **fields: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 - JSON
    """Return the parts of an upload of a video; `frames` says of which frames."""
    return [("request", (None, json.dumps({**REQUEST, **fields}).encode(), "application/json")), ("video", video)]


def faults(answer: httpx.Response) -> dict[str, str]:
    """Return what is to be mended, by field."""
    assert answer.headers["content-type"] == "application/problem+json"
    return {each["field"]: each["fix"] for each in answer.json()["errors"]}


@dataclass
class Behind:
    """What is behind the doors: a bus that keeps what it is given, or is away; and how long the line is."""

    events: list[Event] = field(default_factory=list)
    is_away: bool = False
    waiting: int | None = 0

    async def publish(self, events: Sequence[Event]) -> None:
        if self.is_away:
            msg = "the message bus did not acknowledge"
            raise Unavailable(msg)
        self.events += events

    def messages(self) -> int:
        if self.waiting is None:
            msg = "cluster: it does not say"
            raise Unavailable(msg)
        return self.waiting

    @property
    def submissions(self) -> list[Submission]:
        return [event.submission for event in self.events if isinstance(event, ImageSubmitted)]


@dataclass
class ReceptionHouse:
    """A reception, its application, and what is behind it."""

    here: Reception
    app: FastAPI
    behind: Behind
    blobs: BlobStore

    async def token(self, name: str = "portal-1", door: Door = Door.OFFICER) -> str:
        """Let a client in, if it is not, and return its token."""
        known = await self.here.store.client(name)
        return token_of(known or await self.here.store.add(name, door), KEY)

    @asynccontextmanager
    async def client(self, name: str = "portal-1", door: Door = Door.OFFICER) -> AsyncIterator[httpx.AsyncClient]:
        """Yield a client that shows its token."""
        headers = {"authorization": f"Bearer {await self.token(name, door)}"}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://reception", headers=headers) as client:
            yield client

    async def kept(self) -> list[bytes | Rejected]:
        """Return the originals that were announced."""
        return await self.blobs.get([each.image for each in self.behind.submissions])

    @property
    def is_tidy(self) -> bool:
        """Whether nothing is left of what came in."""
        return not list(self.here.spool.iterdir())


@asynccontextmanager
async def opened(
    folder: Path,
    *,
    scanner: Scanner | None = None,
    blobs: BlobStore | None = None,
    max_image_bytes: int = 2 * 2**20,
    pack: str = "null",
    decoder: tuple[str, ...] = DECODER,
    **settings: Any,  # noqa: ANN401 - any of `IntakeSettings`
) -> AsyncIterator[ReceptionHouse]:
    """Open a reception whose ledger, blobs (unless others are given) and spool are in this folder."""
    (folder / "spool").mkdir()
    behind = Behind()
    async with SqlLedger(f"sqlite:///{folder / 'ledger.db'}") as ledger, FileBlobs(folder / "blobs") as files:
        here = Reception(
            settings=IntakeSettings(**settings),
            ledger=ledger,
            store=SqlReception(ledger),
            blobs=blobs or files,
            publish=behind.publish,
            backlog=behind,
            key=KEY,
            decoding=Decoding(
                IntakeSettings(**settings),
                VisionSettings(
                    pack=pack,
                    max_image_bytes=max_image_bytes,
                    max_video_pixels=1_000_000,
                    max_video_s=60,
                    decode_threads=1,
                ),
                DetectionSettings(),
                folder,
                command=decoder,
            ),
            spool=folder / "spool",
            scanner=scanner,
            clock=lambda: builders.NOW,
            max_image_bytes=max_image_bytes,
            max_image_pixels=1_000_000,
        )
        yield ReceptionHouse(here, build(here), behind, here.blobs)


async def streamed(house: ReceptionHouse, path: str, files: list[tuple[str, Any]]) -> tuple[int, int]:
    """Send an upload in pieces; return the status of the answer, and how much memory that took at most."""
    whole = httpx.Request("POST", "http://reception/", files=files).read()
    boundary = whole[2 : whole.index(b"\r\n")]
    pieces = (whole[start : start + 65_536] for start in range(0, len(whole), 65_536))
    headers = [
        (b"content-type", b"multipart/form-data; boundary=" + boundary),
        (b"authorization", f"Bearer {await house.token()}".encode()),
    ]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "scheme": "http",
        "server": ("reception", 80),
        "root_path": "",
    }
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        piece = next(pieces, b"")
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}

    async def send(message: Any) -> None:  # noqa: ANN401 - ASGI
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    tracemalloc.start()
    await house.app(scope, receive, send)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return statuses[0], peak
