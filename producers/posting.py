"""Many images of missing and deceased people by one list, CSV or JSON Lines: one a line, searched with, held, or both.

A line says what the unit's door asks (`UnitRequest`); in CSV a dot leads into a part of a field (`found.where`), and
galleries stand side by side. Beside that it says: path (from the list's folder), action (search, enrol or both), and
same_subject: lines of one case that follow one another with the same word there show one person. They are searched
with together, or not at all; else what is wrong with a line is that line's reason and no other's. A line that does not
say whose it is may be of the subject before or after it: both wait until it is mended.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BaseModel, BeforeValidator, StringConstraints, ValidationError, ValidationInfo, field_validator

from producers._admission import Original, admit
from producers._handed_in import HandedIn
from producers._intake import CHUNK_FILES, MAX_IMAGE_BYTES, Arrival, Form, Publish, Report, Verdict, take_in
from producers._listing import Columns, Row, count, rows, said_in
from producers._request import require_permitted
from producers._same_subject import submit_together
from producers.missing_persons import Entrusted, UnitRequest
from rfr_stream.errors import Malformed, Rejected, settle
from rfr_stream.events import MAX_IMAGES, Found, GalleryName, Provenance, Ref, Still, VideoFrame
from rfr_stream.policy import Stated, stated
from rfr_stream.ports import BlobStore
from topics import explain

__all__ = ["Action", "Post", "count", "post"]

Subject: TypeAlias = tuple[str, str]
"""The case, and the word for somebody in it."""

OwnWords: TypeAlias = Callable[[str, Stated], Awaitable[None]]
"""Raises `NotPermitted` where somebody has said the same of another case."""


class Action(StrEnum):
    """What is done with an image."""

    SEARCH = "search"
    ENROL = "enrol"
    BOTH = "both"


def _side_by_side(value: object) -> object:
    return tuple(value.split()) if isinstance(value, str) else value


class Post(UnitRequest):
    """One image, as a line says it."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    action: Action
    same_subject: Ref | None = None
    galleries: Annotated[tuple[GalleryName, ...], BeforeValidator(_side_by_side)] = ()

    @field_validator("action")
    @classmethod
    def _is_held_for_a_reason(cls, action: Action, info: ValidationInfo) -> Action:
        if "enrol" in info.data and (action is Action.SEARCH) is not (info.data["enrol"] is None):
            msg = "say by enrol.* why the image is held where it is enrolled, and nowhere else"
            raise ValueError(msg)
        return action

    @property
    def asked(self) -> UnitRequest:
        """What the door is asked; where the file lies is nobody else's to know."""
        return UnitRequest(**{name: getattr(self, name) for name in UnitRequest.model_fields})

    @property
    def about_its_subject(self) -> dict[str, Any]:
        """All that it has in common with other images of its subject."""
        own: dict[str, Any] = {"path": True, "age_at_capture": True, "enrol": {"captured_at"}}
        return self.model_dump(exclude=own)


_PARTS: Final[dict[str, tuple[type[BaseModel], ...]]] = {
    "provenance": (Provenance,),
    "found": (Found,),
    "enrol": (Entrusted,),
    "media": (Still, VideoFrame),
}
_PLACE: Final = {f"subject.{name}" for name in ("x", "y", "x1", "y1", "x2", "y2")}
_NO_CELL: Final = {"variants", "demo", "subject", *_PARTS}
"""Fields that have parts, or are no matter of a cell's."""
_COLUMNS: Final = Columns(
    {
        *(name for name in Post.model_fields if name not in _NO_CELL),
        *(f"{name}.{part}" for name, kinds in _PARTS.items() for kind in kinds for part in kind.model_fields),
        *_PLACE,
    },
    [name for name, field in Post.model_fields.items() if field.is_required()],
)


@dataclass(frozen=True, slots=True)
class _Line:
    """A line that may be handed in, as far as that shows before its file is opened."""

    number: int
    path: Path
    post: Post
    forms: Sequence[Form]
    """What is said of the image: that it is searched with, and how it is held."""

    @property
    def subject(self) -> Subject | None:
        """Whose images are searched with together; None: nobody's."""
        post = self.post
        if post.same_subject is None or post.action is Action.ENROL:
            return None
        return post.case_ref, post.same_subject

    def rejected(self, reason: Rejected | str) -> "_Wrong":
        return _Wrong(self.path, Verdict.REJECTED, reason=str(reason), line=self.number, subject=self.subject)

    def whole(self, reports: Sequence[Report]) -> Report:
        """Return how the line fared, of what was said by it one after the other."""
        told = next((each for each in reports if each.outcome is Verdict.ACCEPTED), reports[0])
        held = reports[-1].derived_id if self.post.enrol else None
        return Report(self.path, told.outcome, reports[0].derived_id, told.reason, self.number, held)


@dataclass(frozen=True, slots=True)
class _Wrong(Report):
    """Why a line may not be handed in."""

    subject: Subject | None = None
    """Whose images are not searched with, either."""


_Read: TypeAlias = _Line | _Wrong


class _Whose(BaseModel):
    """As much of a line as says whose image it is."""

    case_ref: Ref
    same_subject: Ref


_ANYBODYS: Final[Subject] = ("", "")
"""What no line can say, since it says nothing."""


async def post(
    listed: Path,
    *,
    own_words: OwnWords,
    demo: bool = False,
    blobs: BlobStore,
    publish: Publish,
    journal: HandedIn | None = None,
    max_bytes: int = MAX_IMAGE_BYTES,
) -> AsyncIterator[Report]:
    """Yield how each line fared, in order; memory holds one chunk, however long the list is.

    Raises:
        Malformed: the file is neither CSV nor JSON Lines, or its header lacks a column or has one that nobody knows.

        Unavailable: store, bus, ledger or journal are away; run it again later.

    """
    ports: dict[str, Any] = {"blobs": blobs, "publish": publish, "journal": journal, "max_bytes": max_bytes}
    batches = _batches(_placed(_read(row, listed.parent, demo=demo) for row in rows(listed, _COLUMNS)))
    while batch := await asyncio.to_thread(next, batches, ()):
        checked = [await _in_own_words(line, own_words) for line in batch]
        hand_in = _together if batch[0].subject else _apart
        for report in await hand_in(checked, **ports):
            yield report


# --- reading ----------------------------------------------------------------------------------------------------------
def _read(row: Row, folder: Path, *, demo: bool) -> _Read:
    number, fields = row
    path: Path | None = None
    try:
        said = _checked(fields).model_copy(update={"demo": demo})
        path = folder / said.path
        return _Line(number, path, said, _forms(said))
    except Rejected as refusal:
        return _Wrong(path, Verdict.REJECTED, reason=str(refusal), line=number, subject=_whose(fields))


def _whose(fields: Mapping[str, object] | Rejected) -> Subject | None:
    """Return whose image a line shows that is wrong, as far as it says."""
    if isinstance(fields, Rejected):
        return _ANYBODYS
    said = said_in(fields)
    if "same_subject" not in said or said.get("action") == Action.ENROL:
        return None
    try:
        whose = _Whose.model_validate(said)
    except ValidationError:
        return _ANYBODYS
    return whose.case_ref, whose.same_subject


def _forms(said: Post) -> list[Form]:
    asked = said.asked
    form = asked.form()
    require_permitted(form)
    forms: list[Form] = [] if said.action is Action.ENROL else [form]
    enrolment = asked.enrolment()
    return [*forms, enrolment] if enrolment else forms


def _checked(fields: Mapping[str, object] | Rejected) -> Post:
    try:
        return Post.model_validate(_nested(said_in(fields)))
    except ValidationError as error:
        raise Malformed(explain(error)) from None


def _nested(said: Mapping[str, object]) -> dict[str, object]:
    """Put what a dot leads to where it belongs."""
    whole = {name: value for name, value in said.items() if "." not in name}
    for name, value in said.items():
        field, dot, part = name.partition(".")
        if dot:
            known = whole.get(field)
            whole[field] = {**(known if isinstance(known, dict) else {}), part: value}
    return whole


def _placed(lines: Iterable[_Read]) -> Iterator[_Read]:
    """Count a line that does not say whose it is as the subject's before it, and as a fault of the one after it."""
    before, doubtful = None, False
    for each in lines:
        line = each.rejected(_WITH) if doubtful and each.subject and isinstance(each, _Line) else each
        doubtful = line.subject == _ANYBODYS
        if doubtful and before and isinstance(line, _Wrong):
            line = replace(line, subject=before)
        before = line.subject
        yield line


def _batches(lines: Iterable[_Read]) -> Iterator[Sequence[_Read]]:
    """Cut into the lines of each subject, and chunks of those that stand by themselves or are refused."""
    before: set[Subject] = set()
    for subject, run in groupby(lines, key=lambda line: line.subject):
        if subject is None:
            yield from _chunks(run)
        elif subject in before:
            yield from _chunks(_refused(run, _SCATTERED))
        else:
            before.add(subject)
            yield from _of_one(run)


def _of_one(run: Iterator[_Read]) -> Iterator[Sequence[_Read]]:
    """Return the lines of a subject; too many are refused before a file of theirs is opened."""
    mine = list(islice(run, MAX_IMAGES + 2))
    are_many = len(mine) > MAX_IMAGES + 1
    return _chunks(_refused(chain(mine, run), _MANY)) if are_many else iter([mine])


def _chunks(lines: Iterator[_Read]) -> Iterator[Sequence[_Read]]:
    while chunk := list(islice(lines, CHUNK_FILES)):
        yield chunk


def _refused(lines: Iterable[_Read], reason: str) -> Iterator[_Read]:
    return (line if isinstance(line, _Wrong) else line.rejected(reason) for line in lines)


_MANY: Final = f"same_subject: at most {MAX_IMAGES + 1} lines of one subject"
_SCATTERED: Final = "same_subject: its lines must follow one another, and these came after others"


async def _in_own_words(line: _Read, own_words: OwnWords) -> _Read:
    if isinstance(line, _Wrong):
        return line
    try:
        await own_words(line.post.submitted_by, stated(line.post.case_ref, line.post.necessity))
    except Rejected as refusal:
        return line.rejected(refusal)
    return line


# --- handing in -------------------------------------------------------------------------------------------------------
async def _apart(lines: Sequence[_Read], *, max_bytes: int, **ports: Any) -> list[Report]:  # noqa: ANN401 - see `post`
    """Hand in each line by itself."""
    arrivals = (arrival for line in lines for arrival in _arrivals(line, max_bytes))
    reports = [report async for report in take_in(arrivals, max_bytes=max_bytes, **ports)]
    of_each = {number: list(run) for number, run in groupby(reports, key=lambda report: report.line)}
    return [line if isinstance(line, _Wrong) else line.whole(of_each[line.number]) for line in lines]


def _arrivals(line: _Read, max_bytes: int) -> Iterator[Arrival | Report]:
    """Yield what is said of a line's image, which is opened once."""
    if isinstance(line, _Wrong):
        yield line
        return
    original = settle(admit, line.path, max_bytes=max_bytes)
    if isinstance(original, Original):
        yield from (Arrival(_bytes(original), form, line.number) for form in line.forms)
    else:
        yield line.rejected(original)


def _bytes(original: Original) -> bytes:
    if not isinstance(original.data, bytes):
        raise TypeError
    return original.data


async def _together(lines: Sequence[_Read], *, max_bytes: int, **ports: Any) -> list[Report]:  # noqa: ANN401 - as above
    """Hand in the images of one subject as one submission, then hold each; all of them, or none."""
    good = [line for line in lines if isinstance(line, _Line)]
    looked = [await asyncio.to_thread(settle, admit, line.path, max_bytes=max_bytes) for line in good]
    images = [_bytes(each) for each in looked if isinstance(each, Original)]
    if not len(images) == len(good) == len(lines):
        refused = {line.number: each for line, each in zip(good, looked, strict=True) if isinstance(each, Rejected)}
        return [line if isinstance(line, _Wrong) else line.rejected(refused.get(line.number, _WITH)) for line in lines]
    try:
        _require_alike(good)
        asked = good[0].post.asked
        searched = [each async for each in submit_together(images, asked, max_bytes=max_bytes, **ports)]
    except Rejected as refusal:
        return [line.rejected(refusal) for line in good]
    held = [
        Arrival(image, form, line.number) for line, image in zip(good, images, strict=True) for form in line.forms[1:]
    ]
    reports = [*searched, *[each async for each in take_in(held, max_bytes=max_bytes, **ports)]]
    return [line.whole(reports[place :: len(good)]) for place, line in enumerate(good)]


_WITH: Final = "same_subject: not handed in, since another line of the subject, or one that may be, was refused"


def _require_alike(lines: Sequence[_Line]) -> None:
    first, *others = [line.post for line in lines]
    if any(other.about_its_subject != first.about_its_subject for other in others):
        msg = "same_subject: its lines say the same, but for path, age_at_capture and enrol.captured_at"
        raise Malformed(msg)
    if others and (first.subject or not isinstance(first.media, Still)):
        msg = "same_subject: `subject` and `media` are about one image; post it by itself"
        raise Malformed(msg)
