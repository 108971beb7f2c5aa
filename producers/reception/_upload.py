"""One upload: the request first, then images, straight onto disk; nothing is acknowledged before all of it is durable.

All or nothing: where one image is refused, none of the request's is kept.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from uuid import UUID

from pydantic import ValidationError

from producers._admission import BEGINNING_BYTES, Original, media_type
from producers._intake import Form, hand_in
from producers._request import ProbeForm, Request, require_permitted
from producers.reception._parts import Parts
from producers.reception._reception import Reception
from producers.reception._refusals import Refused, forbidden, invalid, unfit
from rfr_stream.errors import BadImage, BadVideo, NotPermitted, Unavailable
from rfr_stream.events import Still, canonical
from rfr_stream.policy import is_entrusted, stated
from rfr_stream.ports import OnDisk
from rfr_stream.reception import Client
from rfr_stream.vision.decode import pixels_in

MAX_REQUEST_BYTES: Final = 64 * 1024
_NOT_OPENED: Final = frozenset({"image/heic"})
"""Kept for what it is; its sender is told by the outcome to convert it."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What a client sends: a form of parts, and the key under which it may send the same again."""

    client: Client
    parts: Parts
    asks: type[Request]
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """An image that is safe here: by which submission it is searched with, and by which reference it is held."""

    submission_id: UUID
    reference_id: UUID | None = None


async def take_in(upload: Upload, here: Reception) -> list[Taken]:
    """Return what became of each image, in order; by then all are durable.

    Raises:
        Refused: its sender can mend it.

        Unavailable: store, bus, ledger or scanner are away; the same again does no harm.

    """
    names = aiter(upload.parts)
    form = await form_in(upload, names, here)
    with disk_named(), TemporaryDirectory(dir=here.spool) as folder:
        files = [each async for each in originals(upload.parts, names, Path(folder), here)]
        _require_images(form.request, len(files))
        await require_own_key(upload, form, files, here)
        distinct = list({each.sha256: each for each in files}.values())
        forms = _said_of_each(form)
        said = [(what, each) for what in forms for each in distinct]
        taken = [Taken(*(what.derive(each.sha256) for what in forms)) for each in files]
        ids = [each.submission_id for each in taken]
        await here.store.note(upload.client.name, ids, here.clock())  # before anything can come of it that it is told
        await note_door(form, distinct, here)
        await hand_in(said, blobs=here.blobs, publish=here.publish)
    return taken


async def note_door(form: ProbeForm, files: Sequence[Original], here: Reception) -> None:
    """Put on record by which door images came, whatever becomes of them."""
    if is_entrusted(form.source):
        await here.ledger.entrust({each.sha256: form.source for each in files})


def _said_of_each(form: ProbeForm) -> list[Form]:
    """Return what is said of each image: that it is searched with and, where that is asked, how it is held."""
    enrolment = form.request.enrolment()
    return [form, enrolment] if enrolment else [form]


async def form_in(upload: Upload, names: AsyncIterator[str], here: Reception) -> ProbeForm:
    """Return what is asked, as policy permits it, before the first image has come."""
    said = await request_in(upload.parts, names)
    try:
        form = upload.asks.model_validate_json(said).form()
        require_permitted(form)
        form.request.enrolment()  # what may not be held is refused before the first image has come
        if form.request.demo is not here.demo:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "request.demo", f"{here.demo}, at this reception".lower())
        words = stated(form.request.case_ref, form.request.necessity)
        await here.store.require_own_words(form.submitted_by, words, here.clock())
    except ValidationError as error:
        raise invalid(error, within="request") from None
    except NotPermitted as error:
        raise forbidden(error, within="request") from None
    return form


async def request_in(parts: Parts, names: AsyncIterator[str]) -> bytes:
    """Return the first part, which says what the others are for."""
    if await anext(names, None) != "request":
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "request", "the first part; JSON that says what is asked")
    said = b""
    async for piece in parts.data():
        said += piece
        if len(said) > MAX_REQUEST_BYTES:
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request", f"at most {MAX_REQUEST_BYTES} bytes")
    return said


async def originals(parts: Parts, names: AsyncIterator[str], folder: Path, here: Reception) -> AsyncIterator[Original]:
    """Yield the images of a body, each as it lies in the folder; to the end of the body."""
    number = 0
    async for name in names:
        if name != "image":
            fix = "after `request`, parts named `image` alone"
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "body", fix)
        if number == here.settings.max_images:
            fix = f"at most {number}; send the others in another request"
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "image", fix)
        yield await _original(parts.data(), folder / str(number), f"image[{number}]", here)
        number += 1


async def _original(data: AsyncIterator[bytes], path: Path, within: str, here: Reception) -> Original:
    """Write an image down and look at it from outside: what it begins with, how large it is, what the scanner says."""
    original = await written_down(data, path, within, Sort(here.max_image_bytes, BEGINNING_BYTES, media_type))
    await _require_few_pixels(original, path, within, here)
    await require_harmless(path, within, here)
    return original


@dataclass(frozen=True, slots=True)
class Sort:
    """How large files of a sort may be, and how many of their first bytes say which they are."""

    max_bytes: int
    beginning_bytes: int
    media_type: Callable[[bytes], str]

    def of(self, beginning: bytes, within: str) -> str:
        try:
            return self.media_type(beginning)
        except (BadImage, BadVideo) as error:
            raise unfit(error, within=within, status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE) from None


async def written_down(data: AsyncIterator[bytes], path: Path, within: str, sort: Sort) -> Original:
    """Return a file as it lies on disk; its digest is made on the way."""
    digest, size, kind = sha256(), 0, ""
    beginning = b""
    with path.open("xb") as file:
        async for piece in data:
            size += len(piece)
            if size > sort.max_bytes:
                raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, within, f"at most {sort.max_bytes} bytes")
            digest.update(piece)
            file.write(piece)
            beginning += piece[: sort.beginning_bytes - len(beginning)]
            if len(beginning) == sort.beginning_bytes and not kind:
                kind = sort.of(beginning, within)  # before the rest of it has come
    if not size:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, within, "empty; send the original file")
    found = digest.hexdigest()
    return Original(OnDisk(path, found, size), found, kind or sort.of(beginning, within))


async def _require_few_pixels(original: Original, path: Path, within: str, here: Reception) -> None:
    if original.media_type not in _NOT_OPENED:
        try:
            pixels = await asyncio.to_thread(pixels_in, path)
        except BadImage as error:
            raise unfit(error, within=within) from None
        if pixels > here.max_image_pixels:
            fix = f"at most {here.max_image_pixels} pixels"
            raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, within, fix)


async def require_harmless(path: Path, within: str, here: Reception) -> None:
    if here.scanner and not await here.scanner.is_clean(path):
        fix = "the scanner found in it what would harm whoever opens it; do not send it again"
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, within, fix)


def _require_images(asked: Request, images_n: int) -> None:
    if not images_n:
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "image", "one part or more, after `request`")
    of_one_image = asked.subject is not None or not isinstance(asked.media, Still)
    if of_one_image and images_n > 1:
        fix = "`subject` and `media` are about one image; send each in a request of its own"
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "image", fix)


async def require_own_key(upload: Upload, form: ProbeForm, files: Sequence[Original], here: Reception) -> None:
    """Refuse a key that this client has used for something else."""
    if upload.key is None:
        return
    said = [*map(str, form.statement), *(each.sha256 for each in files)]
    digest = sha256(canonical(said)).hexdigest()
    if not await here.store.reserve(upload.client.name, upload.key, digest, here.clock()):
        fix = "a key of its own for every request; this one was used with another body"
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "Idempotency-Key", fix)


@contextmanager
def disk_named() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = f"spool: {error.strerror or type(error).__name__}"
        raise Unavailable(msg) from error
