"""`rfr submit`: images in."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from producers import footage, missing_persons, officer, public_appeal
from producers._admission import images_in
from producers._handed_in import HandedIn
from producers._intake import Publish, Report
from producers._recipes import PRESETS, Preset, read_recipe
from producers._request import Request, require_permitted
from producers._request import submit as hand_in_probes
from producers._same_subject import submit_together
from rfr_stream.adapters import opening
from rfr_stream.commands._context import reachable, run, settings_of
from rfr_stream.commands._handing_in import hand_in
from rfr_stream.events import GalleryName, Harm, Origin, Purpose, RecipeVariant, Regime, Source, Still, VideoFrame
from rfr_stream.faces import Box, Point
from rfr_stream.policy import stated
from rfr_stream.ports import BlobStore
from rfr_stream.settings import Settings

Images = Annotated[list[Path], typer.Argument(exists=True, help="files, and folders of files")]
Subject = Annotated[str | None, typer.Option(help="the face meant, in pixels of the image: x,y or x1,y1,x2,y2")]
Severity = Annotated[Harm, typer.Option(help="what may happen if nobody looks soon")]
Necessity = Annotated[str, typer.Option(help="why this is strictly necessary in this case, and what else was tried")]
TakenBy = Annotated[
    Origin, typer.Option(help="what took the image; a composite, sketch or made image is none of these")
]
Obtained = Annotated[str, typer.Option(help="how the image came into your hands")]
Exhibit = Annotated[str, typer.Option(help="the original's reference among the exhibits")]
Law = Annotated[
    Regime | None, typer.Option(help="which law the search is made under, where the purpose leaves it open")
]
Age = Annotated[int | None, typer.Option(help="years, when the image was taken, as far as anybody knows")]
FoundWhere = Annotated[str | None, typer.Option(help="of the deceased: where")]
FoundAt = Annotated[datetime | None, typer.Option(help="of the deceased: when (UTC)")]


def submit(  # noqa: PLR0917 - options of the command line
    context: typer.Context,
    images: Images,
    source: Annotated[Source, typer.Option(help="which door")],
    case: Annotated[str, typer.Option(help="the case's reference")],
    purpose: Annotated[Purpose, typer.Option(help="whom the search is meant to find")],
    basis: Annotated[str, typer.Option(help="the legal basis")],
    by: Annotated[str, typer.Option(help="who submits or, of the public's images, who endorses: a reference, no name")],
    necessity: Necessity,
    harm: Severity,
    origin: TakenBy,
    obtained: Obtained,
    exhibit: Exhibit,
    regime: Law = None,
    authoriser: Annotated[str | None, typer.Option(help="who authorised it, where policy demands one")] = None,
    gallery: Annotated[list[GalleryName] | None, typer.Option(help="only these of the purpose's galleries")] = None,
    subject: Subject = None,
    video_sha256: Annotated[str | None, typer.Option(help="of the video that the frame was taken from")] = None,
    frame_time_s: Annotated[float | None, typer.Option(help="where in that video")] = None,
    age: Age = None,
    found_where: FoundWhere = None,
    found_at: FoundAt = None,
    recipe: Annotated[list[Preset] | None, typer.Option(help="search with a copy made better by this, too")] = None,
    recipe_file: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="search with a copy made by this recipe (JSON)"),
    ] = None,
    *,
    same_subject: Annotated[
        bool, typer.Option("--same-subject", help="all images show one person, and are one submission: the first's")
    ] = False,
) -> None:
    """Submit images for a search; run it again after an interruption, and nothing is doubled.

    A frame that `rfr frames` took brings its record: video, time and, of a best shot, the subject come from there.
    """
    settings = settings_of(context)
    fields: dict[str, object] = {
        "purpose": purpose,
        "harm": harm,
        "case_ref": case,
        "legal_basis": basis,
        "regime": regime,
        "necessity": necessity,
        "authoriser": authoriser,
        "provenance": {"origin": origin, "obtained": obtained, "exhibit_ref": exhibit},
        "galleries": tuple(gallery or ()),
        "subject": parse_subject(subject),
        "media": _media(video_sha256, frame_time_s),
        "age_at_capture": age,
        "found": found_of(found_where, found_at),
        "variants": _recipes(recipe or (), recipe_file or ()),
        "demo": settings.demo,
    }
    asked = request_of(source, by, fields)
    run(_require_own_words(settings, asked))
    listed = without_records(images_in(images))
    together = partial(submit_together, listed, asked_of(listed[0], asked)) if same_subject and listed else None
    hand_in(settings, len(listed), together or partial(hand_in_each, list(asked_of_each(listed, asked))))


def without_records(images: Iterable[Path]) -> list[Path]:
    """Leave out the records that lie beside their frames: they are about files, and none of those handed in."""
    listed = list(images)
    records = {footage.record_path(image) for image in listed}
    return [path for path in listed if path not in records]


def asked_of_each(images: Sequence[Path], asked: Request) -> Iterator[tuple[list[Path], Request]]:
    """Yield what is asked of which images: of a frame with a record, what its record says of video and subject.

    What the options say goes before what records say.
    """
    of_each = {image: asked_of(image, asked) for image in images}
    yield [image for image in images if of_each[image] is asked], asked
    yield from (([image], of_it) for image, of_it in of_each.items() if of_it is not asked)


def asked_of(image: Path, asked: Request) -> Request:
    """Return what is asked of one image: with what its record says, if it has one."""
    record = None if isinstance(asked.media, VideoFrame) else footage.record_of(image)
    return footage.asked_of(record, asked) if record else asked


async def hand_in_each(
    entries: Sequence[tuple[list[Path], Request]],
    *,
    blobs: BlobStore,
    publish: Publish,
    journal: HandedIn,
    max_bytes: int,
) -> AsyncIterator[Report]:
    """Hand in several requests, one after the other."""
    for images, asked in entries:
        async for report in hand_in_probes(
            images, asked, blobs=blobs, publish=publish, journal=journal, max_bytes=max_bytes
        ):
            yield report


def request_of(source: Source, by: str, fields: dict[str, object]) -> Request:
    """Return what is asked, as the door of this source takes it."""
    match source:
        case Source.OFFICER:
            return officer.OfficerRequest.model_validate({**fields, "submitted_by": by})
        case Source.PUBLIC_APPEAL:
            return public_appeal.AppealRequest.model_validate({**fields, "endorsed_by": by})
        case Source.MISSING_PERSON | Source.DECEASED_PERSON:
            return missing_persons.UnitRequest.model_validate({**fields, "submitted_by": by})


def parse_subject(text: str | None) -> Box | Point | None:
    """Read `x,y` or `x1,y1,x2,y2`."""
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    match numbers:
        case [x, y]:
            return Point(x, y)
        case [x1, y1, x2, y2]:
            return Box(x1, y1, x2, y2)
        case _:
            msg = "give x,y or x1,y1,x2,y2"
            raise typer.BadParameter(msg, param_hint="--subject")


def _recipes(presets: Sequence[Preset], files: Sequence[Path]) -> tuple[RecipeVariant, ...]:
    recipes = [*(PRESETS[preset] for preset in presets), *map(read_recipe, files)]
    return tuple(RecipeVariant(recipe=recipe) for recipe in recipes)


def _media(video_sha256: str | None, frame_time_s: float | None) -> Still | VideoFrame:
    if video_sha256 is None and frame_time_s is None:
        return Still()
    if video_sha256 is None or frame_time_s is None:
        msg = "a frame needs both --video-sha256 and --frame-time-s"
        raise typer.BadParameter(msg)
    return VideoFrame(video_sha256=video_sha256, frame_time_s=frame_time_s)


def found_of(where: str | None, at: datetime | None) -> dict[str, object] | None:
    """Return where and when somebody was found, or that nobody said so; half of it is for the contract to refuse."""
    return {"where": where, "when": at.replace(tzinfo=UTC) if at else None} if where or at else None


async def _require_own_words(settings: Settings, request: Request) -> None:
    """Refuse a statement of necessity that the same person has made of another case."""
    form = request.form()
    require_permitted(form)
    reachable(settings)
    async with opening.ledger(settings) as ledger:
        words = stated(request.case_ref, request.necessity)
        await opening.reception(ledger).require_own_words(form.submitted_by, words, datetime.now(UTC))
