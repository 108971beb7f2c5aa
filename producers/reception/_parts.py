"""The parts of a multipart body, one after another, as they come: never a whole body in memory, nor a whole part."""

from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from producers.reception._refusals import Refused

_END: Final = object()
"""Of a part, between what belongs to it and the next."""


def boundary_of(content_type: str) -> bytes:
    """Return what stands between the parts.

    Raises:
        Refused: the body is no form of parts.

    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Content-Type", "multipart/form-data, with a boundary")
    return boundary


class Parts:
    """Yields the name of each part; its bytes come by `data`, and what is not read of them is passed over."""

    def __init__(self, body: AsyncIterator[bytes], boundary: bytes) -> None:
        """Read a body whose parts are kept apart by this."""
        self._body = body
        self._found: deque[str | bytes | object] = deque()
        self._header, self._value, self._name = b"", b"", ""
        self._is_whole = False
        with _faults_named():
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._add_to_header,
                    "on_header_value": self._add_to_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": lambda: self._found.append(self._name),
                    "on_part_data": lambda data, start, end: self._found.append(data[start:end]),
                    "on_part_end": lambda: self._found.append(_END),
                    "on_end": self._end,
                },
            )

    def __aiter__(self) -> AsyncIterator[str]:
        """Yield the parts' names, in order."""
        return self._names()

    async def _names(self) -> AsyncIterator[str]:
        while await self._is_more():
            if isinstance(found := self._found.popleft(), str):
                yield found

    async def data(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the part whose name came last."""
        while await self._is_more():
            found = self._found.popleft()
            if found is _END:
                return
            if isinstance(found, bytes):
                yield found

    async def _is_more(self) -> bool:
        """Read on until there is something, or the body has ended.

        Raises:
            Refused: it ended in the middle, or is no form of parts.

        """
        while not self._found:
            chunk = await anext(self._body, None)
            if chunk is None and not self._is_whole:
                raise _malformed()
            if chunk is None:
                return False
            if chunk and not self._is_whole:  # what comes after the last boundary is nobody's
                with _faults_named():
                    self._parser.write(chunk)
        return True

    def _begin(self) -> None:
        self._header, self._value, self._name = b"", b"", ""

    def _add_to_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_to_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._header, self._value = b"", b""

    def _end(self) -> None:
        self._is_whole = True


@contextmanager
def _faults_named() -> Iterator[None]:
    try:
        yield
    except FormParserError:
        raise _malformed() from None


def _malformed() -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, "body", "send parts of multipart/form-data, whole, each with its name")
