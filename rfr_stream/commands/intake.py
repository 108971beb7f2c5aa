"""`rfr submit`, `rfr enrol`, `rfr dispose` and `rfr erase`: images in, and references out."""

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, TextIO
from uuid import UUID

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from producers import footage, manifest, missing_persons, officer, public_appeal, references
from producers._admission import images_in
from producers._handed_in import HandedIn
from producers._intake import Publish, Report, Verdict
from producers._recipes import PRESETS, Preset, read_recipe
from producers._request import Request, require_permitted
from producers._request import submit as hand_in_probes
from producers._same_subject import submit_together
from rfr_stream import policy
from rfr_stream.adapters import opening
from rfr_stream.commands._context import CONSOLE, open_bus, reachable, run, say, settings_of
from rfr_stream.events import (
    CaseDisposed,
    Disposal,
    GalleryName,
    Harm,
    HoldRecord,
    Origin,
    Purpose,
    RecipeVariant,
    Regime,
    Source,
    Still,
    VideoFrame,
)
from rfr_stream.faces import Box, Point
from rfr_stream.policy import stated
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


def enrol(  # noqa: PLR0917 - options of the command line
    context: typer.Context,
    images: Annotated[
        list[Path] | None, typer.Argument(exists=True, help="files, and folders of files, of one person")
    ] = None,
    person: Annotated[str | None, typer.Option(help="whom the images show: a reference, no name")] = None,
    gallery: Annotated[GalleryName | None, typer.Option()] = None,
    basis: Annotated[str | None, typer.Option(help="why the images are lawfully held")] = None,
    source: Annotated[str | None, typer.Option(help="the system they come from")] = None,
    captured_at: Annotated[datetime | None, typer.Option(help="UTC")] = None,
    review_due: Annotated[datetime | None, typer.Option(help="when holding them must be looked at again (UTC)")] = None,
    case: Annotated[str | None, typer.Option(help="the case that they were taken in")] = None,
    age_at_capture: Annotated[int | None, typer.Option(min=0, max=130, help="in years")] = None,
    door: Annotated[Source, typer.Option(help="which door they came through")] = Source.OFFICER,
    by: Annotated[str, typer.Option(help="who enrols")] = "gallery-admin",
    *,
    restricted: Annotated[bool, typer.Option("--restricted", help="keep, but never search")] = False,
    subject: Subject = None,
    listed_in: Annotated[
        Path | None,
        typer.Option("--manifest", exists=True, dir_okay=False, help="instead: CSV or JSON Lines, a reference a line"),
    ] = None,
    rejects: Annotated[
        Path | None, typer.Option(dir_okay=False, help="where rejects and reasons go; else MANIFEST.rejects.jsonl")
    ] = None,
) -> None:
    """Enrol reference images, of one person or as a manifest lists them; the same image again renews its hold record.

    Run it again after an interruption, and nothing is doubled.
    """
    settings = settings_of(context)
    if listed_in:
        _refuse(images=images, person=person, gallery=gallery, basis=basis, source=source, subject=subject)
        door_of_all = partial(manifest.enrol, listed_in, submitted_by=by, demo=settings.demo)
        hand_in(settings, manifest.count(listed_in), door_of_all, rejects or rejects_of(listed_in))
        return
    fields = _all_given(
        images=images,
        person=person,
        gallery=gallery,
        basis=basis,
        source=source,
        captured_at=captured_at,
        review_due=review_due,
    )
    hold = HoldRecord(
        legal_basis=fields["basis"],
        source=fields["source"],
        captured_at=fields["captured_at"].replace(tzinfo=UTC),
        review_due=fields["review_due"].replace(tzinfo=UTC),
        restricted=restricted,
        age_at_capture=age_at_capture,
        case_ref=case,
        door=door,
    )
    enrolment = references.Enrolment(
        person_id=fields["person"],
        gallery=fields["gallery"],
        hold=hold,
        subject=parse_subject(subject),
        submitted_by=by,
        demo=settings.demo,
    )
    entries = ((path, enrolment) for path in images_in(fields["images"]))
    hand_in(settings, _total(fields["images"]), partial(references.enrol, entries), rejects)


def rejects_of(listed_in: Path) -> Path:
    """Return where the rejects of a manifest go."""
    return listed_in.with_name(f"{listed_in.name}.rejects.jsonl")


def _refuse(**given: object) -> None:
    """Refuse what the manifest says of each reference itself."""
    for name, value in given.items():
        if value:
            msg = f"the manifest says it of each reference; without {_option(name)}, please"
            raise typer.BadParameter(msg, param_hint=_option(name))


def _all_given(**given: Any) -> dict[str, Any]:  # noqa: ANN401 - options of many kinds
    """Require what nobody else says where there is no manifest."""
    for name, value in given.items():
        if not value:
            msg = "needed, unless there is a --manifest"
            raise typer.BadParameter(msg, param_hint=_option(name))
    return given


def _option(name: str) -> str:
    return "IMAGES" if name == "images" else f"--{name.replace('_', '-')}"


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


def dispose(  # noqa: PLR0917 - options of the command line
    context: typer.Context,
    case: Annotated[str, typer.Argument(help="the case that images were taken in: its reference")],
    disposal: Annotated[Disposal, typer.Argument(help="what became of it")],
    person: Annotated[str, typer.Option(help="whose images: a reference, no name")],
    reason: Annotated[str, typer.Option(help="who or what says so")],
    by: Annotated[str, typer.Option(help="who puts it on record")],
    keep_because: Annotated[
        str | None, typer.Option(help="the exceptional reason to go on searching what is presumed to be deleted")
    ] = None,
    authorised_by: Annotated[str | None, typer.Option(help="who agreed to keep a child's image")] = None,
) -> None:
    """Say what became of a case; its images stop being searched at once, unless policy lets them be."""
    settings = settings_of(context)
    said = CaseDisposed(
        occurred_at=datetime.now(UTC),
        person_id=person,
        case_ref=case,
        disposal=disposal,
        reason=reason,
        decided_by=by,
        exceptional_reason=keep_because,
        authorised_by=authorised_by,
        demo=settings.demo,
    )
    run(_dispose(settings, said))
    say(f"On its way. The images taken in this case: {policy.EFFECTS[disposal].value}.")


async def _dispose(settings: Settings, said: CaseDisposed) -> None:
    async with open_bus(settings) as bus:
        await references.dispose([said], publish=bus.publish)


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


def _total(images: Sequence[Path]) -> int:
    return sum(1 for _ in images_in(images))


def hand_in(settings: Settings, total: int, door: Door, rejects: Path | None = None) -> None:
    """Draw the progress, say what was rejected and why, and fail if anything was."""
    tally = Tally()
    began = time.monotonic()
    with ExitStack() as stack:
        report = stack.enter_context(rejects.open("w", encoding="utf-8")) if rejects else None
        run(_reports(settings, door, total, partial(_take_note, tally, report)))
    lines = [*tally.rejected, *tally.taken]
    for line in lines:
        say(line)
    unsaid = tally.counts.total() - len(lines)
    if unsaid > 0:
        say(f"... and {unsaid} more")
    counts = ", ".join(f"{tally.counts[verdict]} {verdict}" for verdict in Verdict)
    say(f"{counts} ({tally.counts.total() / max(time.monotonic() - began, 1e-3):.0f}/s)")
    if tally.counts[Verdict.REJECTED]:
        if rejects:
            say(f"Why, line by line: {rejects}")
        raise typer.Exit(1)


@dataclass
class Tally:
    """What became of all files, in memory that does not grow with them."""

    counts: Counter[Verdict] = field(default_factory=Counter)
    rejected: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)


def _take_note(tally: Tally, rejects: TextIO | None, report: Report) -> None:
    """Count a report, keep a line about it while there are few, and write down why it was rejected."""
    tally.counts[report.outcome] += 1
    is_rejected = report.outcome is Verdict.REJECTED
    lines = tally.rejected if is_rejected else tally.taken
    if len(lines) < SHOWN:
        where = f"line {report.line}" if report.path is None else report.path
        lines.append(f"{report.outcome}: {where}: {report.reason if is_rejected else report.derived_id}")
    if is_rejected and rejects:
        field, _, fix = (report.reason or "").partition(": ")
        said = {"line": report.line, "file": report.path and str(report.path), "field": field, "fix": fix}
        rejects.write(json.dumps(said) + "\n")


class Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


async def _reports(settings: Settings, door: Door, total: int, see: Callable[[Report], None]) -> None:
    columns = (TextColumn("handing in"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(*columns, console=CONSOLE, transient=True))
        journal = stack.enter_context(HandedIn(settings.data_dir / "handed-in.db"))
        task = progress.add_task("", total=total)
        async with open_bus(settings) as bus, opening.blobs(settings) as blobs:
            limit = settings.vision.max_image_bytes
            async for report in door(blobs=blobs, publish=bus.publish, journal=journal, max_bytes=limit):
                see(report)
                progress.advance(task)
