"""The options that narrow a list of leads: declared once, so that what is listed is exactly what is withdrawn."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any
from uuid import UUID

import typer

from rfr_stream.desk import LeadFilter, ModelFilter
from rfr_stream.events import GalleryName


def narrowed(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command these options, and hand it the filter that they make as `only`."""
    narrowing = signature(_filter).parameters

    @wraps(command)
    def with_filter(**options: Any) -> None:  # noqa: ANN401 - options of the command line
        command(only=_filter(**{name: options.pop(name) for name in narrowing}), **options)

    own = [
        each.replace(kind=Parameter.KEYWORD_ONLY)
        for each in signature(command).parameters.values()
        if each.name != "only"
    ]
    with_filter.__signature__ = signature(command).replace(parameters=[*own, *narrowing.values()])  # type: ignore[attr-defined] # typer reads it
    return with_filter


def _filter(
    *,
    submissions: Annotated[list[UUID] | None, typer.Argument(help="only of these submissions")] = None,
    model: Annotated[str | None, typer.Option(help="found with this embedder, by name")] = None,
    model_version: Annotated[str | None, typer.Option(help="of this version")] = None,
    model_sha256: Annotated[str | None, typer.Option(help="with weights of this digest")] = None,
    detector: Annotated[str | None, typer.Option(help="found with this detector, by name")] = None,
    detector_version: Annotated[str | None, typer.Option(help="of this version")] = None,
    detector_sha256: Annotated[str | None, typer.Option(help="with weights of this digest")] = None,
    above: Annotated[float | None, typer.Option(help="found at this threshold or above")] = None,
    below: Annotated[float | None, typer.Option(help="found below this threshold")] = None,
    gallery: Annotated[GalleryName | None, typer.Option(help="found in this gallery")] = None,
    reviewer: Annotated[str | None, typer.Option(help="that this person reviewed")] = None,
    since: Annotated[datetime | None, typer.Option(help="confirmed at or after (UTC)")] = None,
    until: Annotated[datetime | None, typer.Option(help="confirmed before (UTC)")] = None,
    case: Annotated[str | None, typer.Option(help="of this case")] = None,
    person: Annotated[str | None, typer.Option(help="to this person: a reference, no name")] = None,
    reference: Annotated[UUID | None, typer.Option(help="by this reference image")] = None,
    ineligible: Annotated[
        bool, typer.Option("--ineligible", help="whose reference image may not be searched any more")
    ] = False,
    outstanding: Annotated[
        bool, typer.Option("--outstanding", help="whose last word somebody who was told has not acknowledged")
    ] = False,
) -> LeadFilter:
    return LeadFilter(
        submissions=frozenset(submissions) if submissions else None,
        embedder=ModelFilter(model, model_version, model_sha256),
        detector=ModelFilter(detector, detector_version, detector_sha256),
        threshold_from=above,
        threshold_below=below,
        gallery=gallery,
        reviewer_id=reviewer,
        confirmed_from=since and since.replace(tzinfo=UTC),
        confirmed_before=until and until.replace(tzinfo=UTC),
        case_ref=case,
        person_id=person,
        reference_id=reference,
        ineligible=ineligible,
        outstanding=outstanding,
    )
