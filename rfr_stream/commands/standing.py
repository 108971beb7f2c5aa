"""`rfr standing`: who is still sought by every later enrolment, until when, and that somebody is no longer."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer
from pydantic import TypeAdapter
from rich.table import Table

from rfr_stream.adapters import opening
from rfr_stream.commands._context import COMMAND_LINE, CONSOLE, open_ledger, run, say, settings_of
from rfr_stream.desk import Operation
from rfr_stream.events import Prose, Ref
from rfr_stream.ports import Ending, StandingProbe
from rfr_stream.settings import Settings

standing = typer.Typer(
    help="Missing and unidentified dead people, whom every later enrolment is compared with.", no_args_is_help=True
)

Why = Annotated[str, typer.Option(help="it stays here, on record")]
By = Annotated[str, typer.Option(help="who says so: a reference, no name")]


@standing.command("list")
def list_(
    context: typer.Context,
    *,
    every: Annotated[bool, typer.Option("--all", help="those too that do not stand any more")] = False,
) -> None:
    """List the probes that stand, the one that lapses first at the head."""
    now = datetime.now(UTC)
    found = [each for each in run(_all(settings_of(context))) if every or state_of(each, now) == "stands"]
    CONSOLE.print(standing_table(found, now))
    embedders = len({each.probe.template.embedder for each in found})
    say(f"{len(found)} listed." + (" Only those of the gallery's own embedder are compared." * (embedders > 1)))


def standing_table(found: Sequence[StandingProbe], now: datetime) -> Table:
    """Draw probes, each with how it stands."""
    table = Table()
    table.add_column("submission", no_wrap=True)
    for column in ("case", "sought", "since", "until", "embedder", "now"):
        table.add_column(column)
    for each in found:
        asked, made_by = each.probe.submission, each.probe.template.embedder
        table.add_row(
            str(asked.submission_id),
            asked.case_ref,
            asked.purpose,
            f"{asked.submitted_at:%Y-%m-%d}",
            f"{each.until:%Y-%m-%d}",
            f"{made_by.name} {made_by.version}",
            state_of(each, now),
        )
    return table


def state_of(each: StandingProbe, now: datetime) -> str:
    """Return in words whether it stands, and if not, why."""
    if each.ending:
        return f"ended by {each.ending.by}: {each.ending.reason}"
    if each.resolved:
        return "rests: its case is confirmed"
    return "stands" if each.until > now else "lapses now"


@standing.command("end")
def end(context: typer.Context, submission: UUID, *, reason: Why, by: By) -> None:
    """Compare nobody with this probe any more, for good: whoever was sought is found, or need not be."""
    ending = Ending(datetime.now(UTC), TypeAdapter(Ref).validate_python(by), _said(reason))
    run(_end(settings_of(context), submission, ending))
    say(f"{submission} is no longer sought; whoever submitted it is told.")


@standing.command("keep")
def keep(
    context: typer.Context,
    submission: UUID,
    *,
    reason: Why,
    by: By,
    days: Annotated[float | None, typer.Option(min=1, max=3650, help="none: as RFR_STANDING says")] = None,
) -> None:
    """Keep a search that stands, until its next review."""
    settings, now = settings_of(context), datetime.now(UTC)
    until = now + timedelta(days=days or settings.standing.review_after_days)
    run(_keep(settings, submission, until, Ending(now, TypeAdapter(Ref).validate_python(by), _said(reason))))
    say(f"{submission} stands until {until:%Y-%m-%d}.")


def _said(reason: str) -> str:
    return TypeAdapter(Prose).validate_python(reason)


async def _all(settings: Settings) -> list[StandingProbe]:
    async with open_ledger(settings) as ledger:
        now = datetime.now(UTC)
        await opening.desk(ledger).log.write(COMMAND_LINE, Operation.CONSULTATION, "standing", "list", now)
        return await ledger.stood()


async def _end(settings: Settings, submission: UUID, ending: Ending) -> None:
    async with open_ledger(settings) as ledger:
        log = opening.desk(ledger).log
        what = f"standing search ended: {ending.reason}"
        await log.write(ending.by, Operation.ALTERATION, str(submission), what, ending.at)
        await ledger.end(submission, ending)


async def _keep(settings: Settings, submission: UUID, until: datetime, said: Ending) -> None:
    async with open_ledger(settings) as ledger:
        log = opening.desk(ledger).log
        what = f"standing search kept until {until:%Y-%m-%d}: {said.reason}"
        await log.write(said.by, Operation.ALTERATION, str(submission), what, said.at)
        await ledger.keep(submission, until, said.at)
