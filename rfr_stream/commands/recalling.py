"""`rfr leads`, `withdraw` and `subscribers`: for supervisors, who see what was given out to whom, and take it back."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter
from rich.table import Table

from producers.console import recalling, signing
from rfr_stream import policy
from rfr_stream.adapters import keys, opening
from rfr_stream.commands._context import COMMAND_LINE, CONSOLE, open_bus, open_ledger, run, say, settings_of
from rfr_stream.commands._narrowing import narrowed
from rfr_stream.desk import EVERY_LEAD, Lead, LeadFilter, Operation
from rfr_stream.errors import NotPermitted
from rfr_stream.events import Ref, WithdrawalOrdered
from rfr_stream.ports import Duty
from rfr_stream.settings import Settings

subscribers = typer.Typer(help="Who is told of every lead.", no_args_is_help=True)


# --- what was given out ---------------------------------------------------------------------------------------------
@narrowed
def leads(
    context: typer.Context,
    *,
    only: LeadFilter,
    withdrawn: Annotated[
        bool | None, typer.Option("--withdrawn/--not-withdrawn", help="only those that were, or were not")
    ] = None,
) -> None:
    """List the leads that were given out, latest first, and who has not acknowledged the last word on each."""
    found = run(_find(settings_of(context), replace(only, withdrawn=withdrawn)))
    CONSOLE.print(leads_table(found))
    outstanding = sum(bool(lead.outstanding) for lead in found)
    say(f"{len(found)} given out; of {outstanding} the last word is not acknowledged by all who were told.")


def leads_table(found: Sequence[Lead]) -> Table:
    """Draw leads, each with what became of it."""
    table = Table()
    table.add_column("submission", no_wrap=True)
    for column in ("case", "person", "gallery", "found with", "reviewers", "confirmed", "now", "not acknowledged by"):
        table.add_column(column)
    for lead in found:
        said = lead.said
        table.add_row(
            str(said.submission_id),
            said.case_ref,
            said.person_id,
            said.gallery,
            f"{said.embedder.name} {said.embedder.version} at {lead.threshold:g}",
            ", ".join(review.reviewer_ref for review in said.reviews),
            f"{said.occurred_at:%Y-%m-%d %H:%M}",
            _standing(lead),
            ", ".join(lead.outstanding),
        )
    return table


def _standing(lead: Lead) -> str:
    stands = f"withdrawn: {lead.withdrawal.reason}" if lead.withdrawal else "given out"
    return f"{stands}; reference {lead.ineligible}" if lead.ineligible else stands


async def _find(settings: Settings, only: LeadFilter) -> list[Lead]:
    async with open_ledger(settings) as ledger:
        desk, now = opening.desk(ledger), datetime.now(UTC)
        await desk.log.write(COMMAND_LINE, Operation.CONSULTATION, "leads", "list", now)
        return await desk.leads.find(now, only=only)


# --- taking back ----------------------------------------------------------------------------------------------------
@narrowed
def withdraw(
    context: typer.Context,
    *,
    only: LeadFilter,
    reason: Annotated[str, typer.Option(help="every subscriber is told it: no names")],
    by: Annotated[str, typer.Option(help="the supervisor who orders it")],
    key: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="the supervisor's key file")] = None,
    passphrase: Annotated[str | None, typer.Option(help="of the key file; asked for where it is not given")] = None,
    go: Annotated[bool, typer.Option("--go", help="sign and send the orders; without it, only say which")] = False,
) -> None:
    """Order that leads must no longer be relied on, by id or by what they share; a dry run unless told to go."""
    if only == EVERY_LEAD:
        msg = "name submissions, or what the leads share; nobody withdraws every lead by saying nothing"
        raise typer.BadParameter(msg)
    settings = settings_of(context)
    found = run(_find(settings, replace(only, withdrawn=False)))
    _require_all(found, only)
    unsigned = recalling.orders(found, reason=reason, ordered_by=by, now=datetime.now(UTC))
    CONSOLE.print(leads_table(found))
    if go and unsigned:
        run(_send(settings, _signed(unsigned, key, passphrase)))
        say(f"{len(unsigned)} orders signed and sent; `rfr leads --outstanding` shows who has yet to acknowledge them.")
    else:
        say(f"{len(unsigned)} would be withdrawn; --go signs and sends the orders.")


def _require_all(found: Sequence[Lead], only: LeadFilter) -> None:
    """Refuse ids that are none of a lead.

    Raises:
        NotPermitted: there is no such lead, it is withdrawn already, or it has not what they must share.

    """
    known = {lead.said.submission_id for lead in found}
    if missing := sorted(map(str, (only.submissions or frozenset()) - known)):
        msg = f"submission_id: no lead that could be withdrawn: {', '.join(missing)}"
        raise NotPermitted(msg)


def _signed(unsigned: Sequence[WithdrawalOrdered], key: Path | None, passphrase: str | None) -> list[WithdrawalOrdered]:
    if key is None:
        msg = "an order needs its supervisor's signature"
        raise typer.BadParameter(msg, param_hint="--key")
    private = keys.load(key, passphrase=passphrase or typer.prompt("Passphrase", hide_input=True))
    return [signing.seal(order, keys.sign_bytes(private, order.signed_bytes)) for order in unsigned]


async def _send(settings: Settings, orders: Sequence[WithdrawalOrdered]) -> None:
    """Send what the review stage will count: it is asked here first, since it answers with dead letters alone.

    Raises:
        NotPermitted: whoever signed is no supervisor of this house, or has lapsed.

    """
    async with open_ledger(settings) as ledger, open_bus(settings) as bus:
        first, log = orders[0], opening.desk(ledger).log
        known = await ledger.reviewer(first.signer)
        supervisor = policy.require_competent(first, known, datetime.now(UTC), Duty.SUPERVISE)
        if not opening.verifier(settings).verify(supervisor.public_key, first):
            msg = "--key: not the key that this supervisor is registered with"
            raise NotPermitted(msg)
        for order in orders:
            await log.write(order.signer, Operation.DISCLOSURE, order.key, "withdrawal ordered", order.occurred_at)
        await bus.publish(orders)


# --- who is told ----------------------------------------------------------------------------------------------------
@subscribers.command("add")
def add(
    context: typer.Context,
    subscriber: Annotated[str, typer.Argument(help="the name by which it acknowledges")],
    *,
    since: Annotated[datetime | None, typer.Option(help="it has read leads since then (UTC); none: now")] = None,
) -> None:
    """Register who is told of every lead from now on, so that what it does not acknowledge is noticed."""
    name = TypeAdapter(Ref).validate_python(subscriber)
    moment = since.replace(tzinfo=UTC) if since else datetime.now(UTC)
    run(_subscribe(settings_of(context), name, moment))
    say(f"{name} is expected to acknowledge every lead since {moment:%Y-%m-%d %H:%M}.")


async def _subscribe(settings: Settings, subscriber: str, since: datetime) -> None:
    async with open_ledger(settings) as ledger:
        await ledger.subscribe(subscriber, since)


@subscribers.command("list")
def list_subscribers(context: typer.Context) -> None:
    """List who is told of every lead, and since when."""
    table = Table("subscriber", "since")
    for name, since in run(_subscribed(settings_of(context))).items():
        table.add_row(name, f"{since:%Y-%m-%d %H:%M}")
    CONSOLE.print(table)


async def _subscribed(settings: Settings) -> dict[str, datetime]:
    async with open_ledger(settings) as ledger:
        return await ledger.subscribed()
