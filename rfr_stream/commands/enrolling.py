"""`rfr enrol | erase | dispose`: what the gallery holds."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from producers import manifest, references
from producers._admission import images_in
from rfr_stream import policy
from rfr_stream.commands._context import open_bus, run, say, settings_of
from rfr_stream.commands._handing_in import hand_in, rejects_of, total_of
from rfr_stream.commands.intake import Subject, parse_subject
from rfr_stream.events import CaseDisposed, Disposal, GalleryName, HoldRecord, Source
from rfr_stream.settings import Settings


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
    hand_in(settings, total_of(fields["images"]), partial(references.enrol, entries), rejects)


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
