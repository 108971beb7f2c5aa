"""`rfr seeds`: submissions whose answer is known, that find out how often reviewers err. Never shown to a reviewer."""

from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.table import Table

from producers._intake import Report, Verdict
from producers._request import Request
from producers.known_answers import plant
from rfr_stream.adapters import opening
from rfr_stream.commands._context import CONSOLE, open_ledger, run, say, settings_of
from rfr_stream.commands.intake import (
    Age,
    Exhibit,
    FoundAt,
    FoundWhere,
    Images,
    Law,
    Necessity,
    Obtained,
    Severity,
    Subject,
    TakenBy,
    found_of,
    parse_subject,
    request_of,
)
from rfr_stream.conduct import SeedCount
from rfr_stream.events import GalleryName, Purpose, Source
from rfr_stream.settings import Settings

seeds = typer.Typer(help="Submissions whose answer is known, mixed into the queue.", no_args_is_help=True)

NOBODY: Final = "nobody"


@seeds.command("add")
def add(  # noqa: PLR0917 - options of the command line
    context: typer.Context,
    images: Images,
    answer: Annotated[str, typer.Option(help=f"whom they show, as a gallery names them, or {NOBODY}")],
    source: Annotated[Source, typer.Option(help="the door through which it is to have come")],
    case: Annotated[str, typer.Option(help="a reference in the style of real ones, that no case has")],
    purpose: Annotated[Purpose, typer.Option(help="whom the search is meant to find")],
    basis: Annotated[str, typer.Option(help="the legal basis, as a real submission would give it")],
    by: Annotated[str, typer.Option(help="in whose name: they will not be asked to review it")],
    necessity: Necessity,
    harm: Severity,
    origin: TakenBy,
    obtained: Obtained,
    exhibit: Exhibit,
    regime: Law = None,
    authoriser: Annotated[str | None, typer.Option(help="where the purpose demands one")] = None,
    gallery: Annotated[list[GalleryName] | None, typer.Option(help="only these of the purpose's galleries")] = None,
    subject: Subject = None,
    age: Age = None,
    found_where: FoundWhere = None,
    found_at: FoundAt = None,
) -> None:
    """Keep images whose answer is known, until the review stage asks reviewers about them; nothing is sent now."""
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
        "age_at_capture": age,
        "found": found_of(found_where, found_at),
        "demo": settings.demo,
    }
    shows = None if answer == NOBODY else answer
    reports = run(_plant(settings, images, request_of(source, by, fields), shows))
    rejected = [report for report in reports if report.outcome is Verdict.REJECTED]
    for report in rejected:
        say(f"rejected: {report.path}: {report.reason}")
    say(f"{len(reports) - len(rejected)} planted, {len(rejected)} rejected")
    raise typer.Exit(1 if rejected else 0)


async def _plant(settings: Settings, images: list[Path], request: Request, shows: str | None) -> list[Report]:
    async with open_ledger(settings) as ledger, opening.blobs(settings) as blobs:
        door = partial(plant, shows=shows, blobs=blobs, seeds=ledger, max_bytes=settings.vision.max_image_bytes)
        return [report async for report in door(images, request)]


@seeds.command("list")
def count(context: typer.Context) -> None:
    """Count them by the way in which they come, beside the real cases that they must not differ from."""
    counts = run(_count(settings_of(context)))
    real = sum(each.real for each in counts)
    planted = sum(each.mated + each.non_mated for each in counts)
    table = Table("door", "purpose", "show somebody", "show nobody", "wait for their turn", "of seeds", "of real cases")
    for each in counts:
        numbers = (each.mated, each.non_mated, each.waiting)
        shares = (_percent(each.mated + each.non_mated, planted), _percent(each.real, real))
        table.add_row(each.source, each.purpose, *map(str, numbers), *shares)
    CONSOLE.print(table)


async def _count(settings: Settings) -> list[SeedCount]:
    async with open_ledger(settings) as ledger:
        return await opening.desk(ledger).statistics.seeds()


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else ""
