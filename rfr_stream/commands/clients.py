"""`rfr clients`: which machines may hand images in, and by which door."""

from datetime import UTC, datetime
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer
from rich.table import Table

from rfr_stream.adapters import keys, opening
from rfr_stream.commands._context import CONSOLE, open_ledger, run, say, settings_of
from rfr_stream.desk import Operation
from rfr_stream.errors import Malformed
from rfr_stream.reception import Client, Door, is_name, require_callback, token_of
from rfr_stream.settings import Settings

clients = typer.Typer(help="Which machines may hand images in.", no_args_is_help=True)

Callback = Annotated[str | None, typer.Option(help="where it is told what became of its submissions: https://...")]

BY: Final = "command-line"
"""Whom the log names: whoever may run commands here could be anybody."""


@clients.command("add")
def add(
    context: typer.Context,
    name: str,
    door: Annotated[Door, typer.Option(help="the one that it may use")],
    callback: Callback = None,
) -> None:
    """Let a machine in, and say its token: this once, since it is kept nowhere."""
    settings = settings_of(context)
    client = run(_add(settings, name, door, callback))
    say(token_of(client, keys.secret_of_house(settings.intake_key_file)))


@clients.command("list")
def list_(context: typer.Context) -> None:
    """List the machines that may hand in, and those that may not any more."""
    table = Table()
    for column in ("client", "door", "generation", "standing", "told at"):
        table.add_column(column, no_wrap=column == "client")
    for each in run(_all(settings_of(context))):
        standing = f"revoked {each.revoked_at:%Y-%m-%d}" if each.revoked_at else "open"
        table.add_row(each.name, each.door, str(each.generation), standing, each.callback or "")
    CONSOLE.print(table)


@clients.command("revoke")
def revoke(context: typer.Context, name: str) -> None:
    """Keep a machine out, from its next request on; `add` lets it in again, with another token."""
    run(_revoke(settings_of(context), name))
    say(f"{name} is kept out.")


@clients.command("callback")
def call_back(context: typer.Context, name: str, callback: Callback = None) -> None:
    """Change where a machine is told what became of its submissions; without --callback, it is told nowhere."""
    run(_call_back(settings_of(context), name, callback))
    say(f"{name} is told there from now on." if callback else f"{name} is told nowhere; it may ask.")


async def _call_back(settings: Settings, name: str, callback: str | None) -> None:
    if callback:
        require_callback(callback)
    async with open_ledger(settings) as ledger:
        what = f"client: {_told(callback)}"
        await opening.desk(ledger).log.write(BY, Operation.ALTERATION, name, what, datetime.now(UTC))
        await opening.reception(ledger).call_back(name, callback)


def _told(callback: str | None) -> str:
    """Return what the log says of it: a path or a query may hold a secret."""
    return f"told of outcomes at {urlsplit(callback).netloc}" if callback else "told of outcomes nowhere"


async def _add(settings: Settings, name: str, door: Door, callback: str | None) -> Client:
    if not is_name(name):
        msg = "name: letters, digits and hyphens, at most 64; it is a machine's, and nobody's"
        raise Malformed(msg)
    if callback:
        require_callback(callback)
    async with opening.ledger(settings) as ledger:
        what = f"client: let in at {door}" + (f", {_told(callback)}" if callback else "")
        await opening.desk(ledger).log.write(BY, Operation.ALTERATION, name, what, datetime.now(UTC))
        return await opening.reception(ledger).add(name, door, callback)


async def _all(settings: Settings) -> list[Client]:
    async with open_ledger(settings) as ledger:
        return await opening.reception(ledger).clients()


async def _revoke(settings: Settings, name: str) -> None:
    async with open_ledger(settings) as ledger:
        now = datetime.now(UTC)
        await opening.desk(ledger).log.write(BY, Operation.ALTERATION, name, "client: kept out", now)
        await opening.reception(ledger).revoke(name, now)
