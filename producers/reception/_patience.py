"""How long a client may take over its body: nobody holds a place at the door by being slow."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic
from typing import Self

from producers.reception._refusals import Refused
from rfr_stream.settings import IntakeSettings


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of a body: how large it may be, and how slowly it may come."""

    max_bytes: int
    bytes_per_s: int
    stall_s: float

    @classmethod
    def of_images(cls, settings: IntakeSettings) -> Self:
        """Return those of a form with images."""
        return cls(settings.max_upload_bytes, settings.min_bytes_per_s, settings.stall_s)

    @classmethod
    def of_a_video(cls, settings: IntakeSettings, around_it: int) -> Self:
        """Return those of a form with a video, and so many bytes `around_it`."""
        return cls(settings.max_video_bytes + around_it, settings.min_video_bytes_per_s, settings.stall_s)


async def patiently(body: AsyncIterator[bytes], bounds: Bounds) -> AsyncIterator[bytes]:
    """Yield a body's chunks; only the time that is spent waiting for them counts.

    Raises:
        Refused: nothing came for a while, it comes too slowly on the whole, or there is too much of it.

    """
    read, waited_s = 0, 0.0
    while True:
        allowed_s = bounds.stall_s + read / bounds.bytes_per_s - waited_s
        began = monotonic()
        try:
            async with asyncio.timeout(min(bounds.stall_s, max(allowed_s, 0))):
                chunk = await anext(body, None)
        except TimeoutError:
            fix = f"send {bounds.bytes_per_s} bytes a second or more"
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, "body", fix, connection="close") from None
        if chunk is None:
            return
        read, waited_s = read + len(chunk), waited_s + monotonic() - began
        if read > bounds.max_bytes:
            raise too_large(bounds.max_bytes)
        yield chunk


def too_large(max_bytes: int) -> Refused:
    """Return what is said of a body of more than so many bytes."""
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body", f"at most {max_bytes} bytes in one request")
