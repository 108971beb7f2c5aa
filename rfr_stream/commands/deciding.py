"""`rfr reviewers`, `cases`, `status` and `watch`: for those who decide, and those who wait for it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.live import Live
from rich.table import Table

import topics
from rfr_stream import policy, review
from rfr_stream.adapters import keys
from rfr_stream.commands._board import FOLLOWED, Board
from rfr_stream.commands._context import CONSOLE, open_bus, open_ledger, run, say, settings_of
from rfr_stream.ports import Case, CaseState, Duty, Reviewer
from rfr_stream.settings import Settings
from topics.tail import follow

reviewers = typer.Typer(help="Who may decide.", no_args_is_help=True)


@reviewers.command("key")
def key(
    file: Annotated[Path, typer.Argument(help="where the private key is to lie; for its owner alone")],
    passphrase: Annotated[
        str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True, help="of the key file")
    ],
) -> None:
    """Make a reviewer's own key, and say its public half, which whoever registers them needs."""
    say(keys.public_text(_new_key(file, passphrase)))


@reviewers.command("add")
def add(
    context: typer.Context,
    reviewer_id: str,
    *,
    competent_until: Annotated[datetime, typer.Option(help="until when the training is in date (UTC)")],
    public_key: Annotated[
        str | None, typer.Option(help="what `rfr reviewers key` said: nobody else has the key")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="instead: a key file on this machine, made if need be")] = None,
    passphrase: Annotated[str | None, typer.Option(help="of the key file; asked for where it is not given")] = None,
    duty: Annotated[Duty, typer.Option(help="what the key may sign")] = Duty.REVIEW,
) -> None:
    """Register a person by the public half of their key, or renew their training date."""
    if (public_key is None) == (key is None):
        msg = "give either --public-key or --key"
        raise typer.BadParameter(msg)
    public = keys.checked_public_text(public_key) if public_key else _public_half(key or Path(), passphrase)
    until = competent_until.replace(tzinfo=UTC)
    run(_register(settings_of(context), Reviewer(reviewer_id, public, until, duty, recorded_at=datetime.now(UTC))))
    say(f"{reviewer_id} may {duty} until {competent_until:%Y-%m-%d}.")


def _public_half(file: Path, passphrase: str | None) -> str:
    if passphrase is None:
        passphrase = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=not file.exists())
    private = keys.load(file, passphrase=passphrase) if file.exists() else _new_key(file, passphrase)
    return keys.public_text(private)


def _new_key(path: Path, passphrase: str) -> keys.Ed25519PrivateKey:
    if not passphrase:
        msg = "the key file needs a passphrase"
        raise typer.BadParameter(msg, param_hint="--passphrase")
    private = keys.generate()
    keys.save(private, path, passphrase=passphrase)
    return private


async def _register(settings: Settings, reviewer: Reviewer) -> None:
    async with open_ledger(settings) as ledger:
        await ledger.register(reviewer)


def cases(context: typer.Context, *, limit: Annotated[int, typer.Option(min=1)] = 50) -> None:
    """List what waits for people, oldest first."""
    table = Table()
    table.add_column("submission", no_wrap=True)
    for column in ("state", "case", "purpose", "list", "since"):
        table.add_column(column)
    for case in run(_cases(settings_of(context), limit)):
        found = case.candidates
        about = (
            (found.submission.case_ref, found.submission.purpose, str(len(found.candidates))) if found else ("", "", "")
        )
        table.add_row(str(case.submission_id), _standing(case), *about, f"{case.opened_at:%Y-%m-%d %H:%M}")
    CONSOLE.print(table)


def _standing(case: Case) -> str:
    """Say where a case stands; whether somebody has decided already is no business of who may be the second."""
    return CaseState.AWAITING_REVIEW if case.state in review.UNDER_REVIEW else case.state


async def _cases(settings: Settings, limit: int) -> list[Case]:
    async with open_ledger(settings) as ledger:
        return await ledger.cases(sorted(review.CAN_EXPIRE), limit=limit)


def status(
    context: typer.Context, handed_in: Annotated[UUID, typer.Argument(help="a submission's id, or a reference's")]
) -> None:
    """Say what became of a submission, or whether a reference can be found."""
    said = run(_status(settings_of(context), handed_in))
    say(f"{handed_in}: {said or 'on its way, or never handed in here'}")
    raise typer.Exit(0 if said else 1)


async def _status(settings: Settings, handed_in: UUID) -> str | None:
    async with open_ledger(settings) as ledger:
        if case := await ledger.case(handed_in):
            return review.as_told(case) or _standing(case)
        if handed_in in await ledger.erased([handed_in]):
            return "erased"
        if reference := (await ledger.held([handed_in])).get(handed_in):
            why_not = policy.ineligibility(reference, datetime.now(UTC))
            return f"enrolled in {reference.gallery}" + (f", but not searched: {why_not}" if why_not else "")
    return None


def watch(
    context: typer.Context,
    *,
    from_start: Annotated[bool, typer.Option("--from-start", help="also what the topics still hold")] = False,
) -> None:
    """Show events as they pass, one line for each submission, until Ctrl-C."""
    run(_watch(settings_of(context), from_start=from_start))


async def _watch(settings: Settings, *, from_start: bool) -> None:
    board = Board()
    blind = [name for name in FOLLOWED if name != topics.DECISIONS.name]  # a reviewer may be watching
    async with open_bus(settings) as bus:
        with Live(board.table(), console=CONSOLE, refresh_per_second=8) as live:
            async for kept in follow(bus.options, blind, from_start=from_start):
                board.see(kept)
                live.update(board.table())
