"""`rfr submit`, `rfr enrol` and `rfr erase`: images in, and references out."""

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Final, Protocol
from uuid import UUID

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from producers import missing_persons, officer, public_appeal, references
from producers._admission import images_in
from producers._handed_in import HandedIn
from producers._intake import Publish, Report, Verdict
from producers._recipes import PRESETS, Preset, read_recipe
from producers._request import Request
from producers._request import submit as hand_in_probes
from producers._same_subject import submit_together
from rfr_stream.adapters import opening
from rfr_stream.commands._context import CONSOLE, open_bus, run, say, settings_of
from rfr_stream.events import GalleryName, HoldRecord, Purpose, RecipeVariant, Source, Still, VideoFrame
from rfr_stream.faces import Box, Point
from rfr_stream.ports import BlobStore
from rfr_stream.settings import Settings


class Door(Protocol):
    """What hands the images in, given where they are kept and how they are announced."""

    def __call__(
        self, *, blobs: BlobStore, publish: Publish, journal: HandedIn, max_bytes: int
    ) -> AsyncIterator[Report]: ...


SHOWN: Final = 100
"""Lines about single files, before the rest is only counted."""

Images = Annotated[list[Path], typer.Argument(exists=True, help="files, and folders of files")]
Subject = Annotated[str | None, typer.Option(help="the face meant, in pixels of the image: x,y or x1,y1,x2,y2")]


def submit(  # noqa: PLR0917 - options of the command line
    context: typer.Context,
    images: Images,
    source: Annotated[Source, typer.Option(help="which door")],
    case: Annotated[str, typer.Option(help="the case's reference")],
    purpose: Annotated[Purpose, typer.Option(help="whom the search is meant to find")],
    basis: Annotated[str, typer.Option(help="the legal basis")],
    by: Annotated[str, typer.Option(help="who submits or, of the public's images, who endorses: a reference, no name")],
    necessity: Annotated[str | None, typer.Option(help="why this is strictly necessary")] = None,
    authoriser: Annotated[str | None, typer.Option(help="who authorised it, where policy demands one")] = None,
    gallery: Annotated[list[GalleryName] | None, typer.Option(help="only these of the purpose's galleries")] = None,
    subject: Subject = None,
    video_sha256: Annotated[str | None, typer.Option(help="of the video that the frame was taken from")] = None,
    frame_time_s: Annotated[float | None, typer.Option(help="where in that video")] = None,
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
    """Submit images for a search; run it again after an interruption, and nothing is doubled."""
    settings = settings_of(context)
    fields: dict[str, object] = {
        "purpose": purpose,
        "case_ref": case,
        "legal_basis": basis,
        "necessity": necessity,
        "authoriser": authoriser,
        "galleries": tuple(gallery or ()),
        "subject": parse_subject(subject),
        "media": _media(video_sha256, frame_time_s),
        "variants": _recipes(recipe or (), recipe_file or ()),
        "demo": settings.demo,
    }
    door = submit_together if same_subject else hand_in_probes
    _hand_in(settings, images, partial(door, images, request_of(source, by, fields)))


def request_of(source: Source, by: str, fields: dict[str, object]) -> Request:
    """Return what is asked, as the door of this source takes it."""
    match source:
        case Source.OFFICER:
            return officer.OfficerRequest.model_validate({**fields, "submitted_by": by})
        case Source.PUBLIC_APPEAL:
            return public_appeal.AppealRequest.model_validate({**fields, "endorsed_by": by})
        case Source.MISSING_PERSON | Source.DECEASED_PERSON:
            return missing_persons.UnitRequest.model_validate({**fields, "submitted_by": by})


def enrol(  # noqa: PLR0917 - options of the command line
    context: typer.Context,
    images: Images,
    person: Annotated[str, typer.Option(help="whom the images show: a reference, no name")],
    gallery: Annotated[GalleryName, typer.Option()],
    basis: Annotated[str, typer.Option(help="why the images are lawfully held")],
    source: Annotated[str, typer.Option(help="the system they come from")],
    captured_at: Annotated[datetime, typer.Option(help="UTC")],
    review_due: Annotated[datetime, typer.Option(help="when holding them must be looked at again (UTC)")],
    by: Annotated[str, typer.Option(help="who enrols")] = "gallery-admin",
    *,
    restricted: Annotated[bool, typer.Option("--restricted", help="keep, but never search")] = False,
    subject: Subject = None,
) -> None:
    """Enrol reference images of one person; the same image again renews its hold record."""
    settings = settings_of(context)
    enrolment = references.Enrolment(
        person_id=person,
        gallery=gallery,
        hold=HoldRecord(
            legal_basis=basis,
            source=source,
            captured_at=captured_at.replace(tzinfo=UTC),
            review_due=review_due.replace(tzinfo=UTC),
            restricted=restricted,
        ),
        subject=parse_subject(subject),
        submitted_by=by,
        demo=settings.demo,
    )
    entries = ((path, enrolment) for path in images_in(images))
    _hand_in(settings, images, partial(references.enrol, entries))


def erase(  # noqa: PLR0917 - options of the command line
    context: typer.Context,
    reference_id: UUID,
    person: Annotated[str, typer.Option()],
    gallery: Annotated[GalleryName, typer.Option()],
    reason: Annotated[str, typer.Option()],
    by: Annotated[str, typer.Option(help="who decided")],
) -> None:
    """Erase a reference for good: from the gallery, the ledger and the store."""
    settings = settings_of(context)
    erasure = references.Erasure(
        reference_id=reference_id, person_id=person, gallery=gallery, reason=reason, erased_by=by, demo=settings.demo
    )
    run(_erase(settings, erasure))
    say("Its end is on its way to the gallery, the ledger and the store.")


async def _erase(settings: Settings, erasure: references.Erasure) -> None:
    async with open_bus(settings) as bus:
        await references.erase([erasure], publish=bus.publish)


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


def _hand_in(settings: Settings, images: Sequence[Path], door: Door) -> None:
    """Draw the progress, list what was rejected and why, and fail if anything was."""
    total = sum(1 for _ in images_in(images))
    reports = run(_reports(settings, door, total))
    rejected = [report for report in reports if report.outcome is Verdict.REJECTED]
    for report in rejected:
        say(f"rejected: {report.path}: {report.reason}")
    known = [report for report in reports if report.derived_id]
    for report in known[:SHOWN]:
        say(f"{report.outcome}: {report.path}: {report.derived_id}")
    if len(known) > SHOWN:
        say(f"... and {len(known) - SHOWN} more")
    counts = {verdict: sum(report.outcome is verdict for report in reports) for verdict in Verdict}
    say(", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    if rejected:
        raise typer.Exit(1)


async def _reports(settings: Settings, door: Door, total: int) -> list[Report]:
    columns = (TextColumn("handing in"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    reports: list[Report] = []
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(*columns, console=CONSOLE, transient=True))
        journal = stack.enter_context(HandedIn(settings.data_dir / "handed-in.db"))
        task = progress.add_task("", total=total)
        async with open_bus(settings) as bus, opening.blobs(settings) as blobs:
            limit = settings.vision.max_image_bytes
            async for report in door(blobs=blobs, publish=bus.publish, journal=journal, max_bytes=limit):
                reports.append(report)
                progress.advance(task)
    return reports
