"""`rfr accounts`: who may come in at the desk, for whoever runs the house; supervisors have a page for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer
from pydantic import TypeAdapter, ValidationError
from rich.table import Table

from producers.console.entrance import invite as invite_to
from rfr_stream.adapters import keys, opening
from rfr_stream.commands._context import COMMAND_LINE, CONSOLE, open_ledger, run, say, settings_of
from rfr_stream.desk import Account, Operation
from rfr_stream.errors import Malformed, NotPermitted
from rfr_stream.events import Ref
from rfr_stream.policy import Role
from rfr_stream.settings import Settings

if TYPE_CHECKING:
    from rfr_stream.adapters.desk import SqlDesk

accounts = typer.Typer(help="Who may come in at the desk.", no_args_is_help=True)


@accounts.command("invite")
def invite(
    context: typer.Context,
    account_id: str,
    role: Annotated[list[Role], typer.Option(help="what the account is for; may be given several times")],
) -> None:
    """Make an account, and say the link by which its owner chooses a password; or a new link, if there is one."""
    say(run(_invite(settings_of(context), account_id, frozenset(role))))


@accounts.command("list")
def list_(context: typer.Context) -> None:
    """List the accounts, with the fingerprints of their keys."""
    table = Table()
    for column in ("account", "roles", "key", "standing"):
        table.add_column(column, no_wrap=column == "account")
    for each in run(_all(settings_of(context))):
        fingerprint = keys.fingerprint(each.public_key) if each.public_key else ""
        table.add_row(
            each.account_id, ", ".join(sorted(each.roles)), fingerprint, "closed" if each.disabled else "open"
        )
    CONSOLE.print(table)


@accounts.command("disable")
def disable(context: typer.Context, account_id: str) -> None:
    """Close an account, and end its sessions."""
    run(_change(settings_of(context), account_id, disabled=True))
    say(f"{account_id} is closed.")


@accounts.command("enable")
def enable(context: typer.Context, account_id: str) -> None:
    """Open an account again."""
    run(_change(settings_of(context), account_id, disabled=False))
    say(f"{account_id} is open.")


@accounts.command("link")
def link(
    context: typer.Context,
    account_id: str,
    subject: Annotated[str, typer.Option(help="the provider's own name for this person: the claim `sub`")],
) -> None:
    """Let an account from before there was a provider be the one of somebody whom it vouches for."""
    run(_link(settings_of(context), account_id, subject))
    say(f"{account_id} comes in by {settings_of(context).desk.oidc_issuer}.")


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator["SqlDesk"]:
    async with open_ledger(settings) as ledger:
        yield opening.desk(ledger)


async def _invite(settings: Settings, account_id: str, roles: frozenset[Role]) -> str:
    async with _store(settings) as store:
        name = _checked(account_id)
        return await invite_to(store, settings.desk, name, roles, by=COMMAND_LINE, now=datetime.now(UTC))


async def _all(settings: Settings) -> list[Account]:
    async with _store(settings) as store:
        return await store.accounts.all()


async def _change(settings: Settings, account_id: str, *, disabled: bool) -> None:
    async with _store(settings) as store:
        await _write(store, account_id, "closed" if disabled else "opened")
        await store.accounts.disable(account_id, disabled=disabled)


async def _link(settings: Settings, account_id: str, subject: str) -> None:
    if settings.desk.oidc_issuer is None:
        msg = "RFR_DESK__OIDC_ISSUER: there is no provider to link to"
        raise NotPermitted(msg)
    async with _store(settings) as store:
        await _write(store, account_id, "linked to the provider's person")
        await store.accounts.link(account_id, f"{settings.desk.oidc_issuer} {subject}")


async def _write(store: "SqlDesk", account_id: str, change: str) -> None:
    """Write down what is about to be done to an account.

    Raises:
        NotPermitted: there is none of this name.

    """
    if await store.accounts.account(account_id) is None:
        msg = "account_id: there is no account of this name"
        raise NotPermitted(msg)
    await store.log.write(COMMAND_LINE, Operation.ALTERATION, account_id, f"account: {change}", datetime.now(UTC))


def _checked(account_id: str) -> str:
    """Return the name as it was given.

    Raises:
        Malformed: no account can have it.

    """
    try:
        return _NAME.validate_python(account_id)
    except ValidationError as error:
        msg = "account_id: a reference, and nobody's name: letters, digits and ._:/@+-"
        raise Malformed(msg) from error


_NAME: Final = TypeAdapter[str](Ref)
