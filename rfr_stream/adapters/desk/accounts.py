"""Who may come in, and who is in. Passwords and codes come here as digests alone."""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from rfr_stream.adapters.ledger.database import Database
from rfr_stream.adapters.ledger.tables import accounts, sessions
from rfr_stream.desk import Account
from rfr_stream.errors import NotPermitted
from rfr_stream.policy import Role, require_compatible

_TOUCH_EVERY: Final = timedelta(seconds=30)
"""A session's last use is written no more often: a page is a dozen requests."""


class Accounts:
    """Accounts and their sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- accounts ---------------------------------------------------------------------------------------------------
    async def add(self, account_id: str, roles: Iterable[Role], now: datetime, **fields: Any) -> Account:  # noqa: ANN401
        """Add an account; `fields`: `subject`, or `invitation_sha256` and `invited_until`.

        Raises:
            NotPermitted: there is one already, or its roles conflict.

        """
        held = frozenset(roles)
        require_compatible(held)
        row = {"account_id": account_id, "roles": _as_text(held), "created_at": now, **fields}
        try:
            await self._database.write(lambda connection: connection.execute(insert(accounts).values(row)))
        except IntegrityError:
            msg = "account_id: there is an account of this name, or for this person, already"
            raise NotPermitted(msg) from None
        return Account(account_id, held)

    async def account(self, account_id: str) -> Account | None:
        """Return the account of this name."""
        return await self._find(accounts.c.account_id == account_id)

    async def invited(self, invitation_sha256: str, now: datetime) -> Account | None:
        """Return whom this code invites, while it is in date."""
        return await self._find(accounts.c.invitation_sha256 == invitation_sha256, accounts.c.invited_until > now)

    async def known_as(self, subject: str) -> Account | None:
        """Return the account of a person whom a provider vouches for."""
        return await self._find(accounts.c.subject == subject)

    async def all(self) -> list[Account]:
        """Return every account, by name."""

        def listed(connection: Connection) -> list[Account]:
            rows = connection.execute(select(accounts).order_by(accounts.c.account_id)).mappings()
            return [_to_account(row) for row in rows]

        return await self._database.read(listed)

    async def count(self) -> int:
        """Return how many there are; none: the house has not been set up."""
        wanted = select(func.count()).select_from(accounts).where(accounts.c.password_hash.is_not(None))
        return await self._database.read(lambda connection: int(connection.execute(wanted).scalar_one()))

    async def set_password(self, account_id: str, password_hash: str) -> None:
        """Keep a new password's hash; the invitation is used up, and every session ends."""
        fields = {"password_hash": password_hash, "invitation_sha256": None, "invited_until": None}
        await self._change(account_id, **fields)
        await self.leave_everywhere(account_id)

    async def set_roles(self, account_id: str, roles: Iterable[Role]) -> None:
        """Give other roles; every session ends.

        Raises:
            NotPermitted: two of them conflict.

        """
        held = frozenset(roles)
        require_compatible(held)
        await self._change(account_id, roles=_as_text(held))
        await self.leave_everywhere(account_id)

    async def set_key(
        self, account_id: str, public_key: str, *, wrapped_key: str | None = None, credential_id: str | None = None
    ) -> None:
        """Keep the public half of the key that this person signs with, and where its private half is."""
        await self._change(account_id, public_key=public_key, wrapped_key=wrapped_key, credential_id=credential_id)

    async def invite(self, account_id: str, invitation_sha256: str, until: datetime) -> None:
        """Let a one-time code set this account's password, until then."""
        await self._change(account_id, invitation_sha256=invitation_sha256, invited_until=until)

    async def disable(self, account_id: str, *, disabled: bool) -> None:
        """Keep somebody out, or let them in again; every session ends."""
        await self._change(account_id, disabled=disabled)
        await self.leave_everywhere(account_id)

    async def _find(self, *where: ColumnElement[bool]) -> Account | None:
        def find(connection: Connection) -> Account | None:
            row = connection.execute(select(accounts).where(*where)).mappings().one_or_none()
            return _to_account(row) if row else None

        return await self._database.read(find)

    async def _change(self, account_id: str, **fields: Any) -> None:  # noqa: ANN401 - columns
        change = update(accounts).where(accounts.c.account_id == account_id).values(fields)
        await self._database.write(lambda connection: connection.execute(change))

    # --- sessions ---------------------------------------------------------------------------------------------------
    async def enter(self, account_id: str, token_sha256: str, now: datetime) -> None:
        """Open a session."""
        row = {"token_sha256": token_sha256, "account_id": account_id, "opened_at": now, "seen_at": now}
        await self._database.write(lambda connection: connection.execute(insert(sessions).values(row)))

    async def inside(self, token_sha256: str, now: datetime, *, idle: timedelta, longest: timedelta) -> Account | None:
        """Return whose session this is, and note that it was used; None: it ended, or never was."""
        wanted = (
            select(accounts, sessions.c.seen_at)
            .join(sessions, sessions.c.account_id == accounts.c.account_id)
            .where(
                sessions.c.token_sha256 == token_sha256,
                sessions.c.seen_at > now - idle,
                sessions.c.opened_at > now - longest,
                ~accounts.c.disabled,
            )
        )
        row = await self._database.read(lambda connection: connection.execute(wanted).mappings().one_or_none())
        if row is None:
            return None
        if row["seen_at"] < now - _TOUCH_EVERY:
            touch = update(sessions).where(sessions.c.token_sha256 == token_sha256).values(seen_at=now)
            await self._database.write(lambda connection: connection.execute(touch))
        return _to_account(row)

    async def leave(self, token_sha256: str) -> None:
        """End a session."""
        gone = delete(sessions).where(sessions.c.token_sha256 == token_sha256)
        await self._database.write(lambda connection: connection.execute(gone))

    async def leave_everywhere(self, account_id: str) -> None:
        """End every session of an account."""
        gone = delete(sessions).where(sessions.c.account_id == account_id)
        await self._database.write(lambda connection: connection.execute(gone))


def _as_text(roles: frozenset[Role]) -> str:
    return json.dumps(sorted(roles))


def _to_account(row: RowMapping) -> Account:
    return Account(
        account_id=row["account_id"],
        roles=frozenset(map(Role, json.loads(row["roles"]))),
        password_hash=row["password_hash"],
        public_key=row["public_key"],
        wrapped_key=row["wrapped_key"],
        credential_id=row["credential_id"],
        disabled=row["disabled"],
    )
