"""How long a client may take over its body: nobody holds a place at the door by being slow."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from time import monotonic

from producers.reception._refusals import Refused
from rfr_stream.settings import IntakeSettings


async def patiently(body: AsyncIterator[bytes], settings: IntakeSettings, *, max_bytes: int) -> AsyncIterator[bytes]:
    """Yield a body's chunks; only the time that is spent waiting for them counts.

    Raises:
        Refused: nothing came for a while, it comes too slowly on the whole, or there is too much of it.

    """
    read, waited_s = 0, 0.0
    while True:
        allowed_s = settings.stall_s + read / settings.min_bytes_per_s - waited_s
        began = monotonic()
        try:
            async with asyncio.timeout(min(settings.stall_s, max(allowed_s, 0))):
                chunk = await anext(body, None)
        except TimeoutError:
            fix = f"send {settings.min_bytes_per_s} bytes a second or more"
            raise Refused(HTTPStatus.REQUEST_TIMEOUT, "body", fix, connection="close") from None
        if chunk is None:
            return
        read, waited_s = read + len(chunk), waited_s + monotonic() - began
        if read > max_bytes:
            raise too_large(max_bytes)
        yield chunk


def too_large(max_bytes: int) -> Refused:
    """Return what is said of a body of more than so many bytes."""
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body", f"at most {max_bytes} bytes in one request")
