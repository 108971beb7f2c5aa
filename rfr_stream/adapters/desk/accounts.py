"""Who may come in, and who is in. Passwords and codes come here as digests alone."""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, func, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from rfr_stream.adapters.ledger import records
from rfr_stream.adapters.ledger.database import Database, is_forbidden
from rfr_stream.adapters.ledger.tables import accounts, reviewers, sessions
from rfr_stream.desk import Account
from rfr_stream.errors import NotPermitted
from rfr_stream.policy import Role, require_compatible
from rfr_stream.ports import Duty, Reviewer

_LONGEST: Final = timedelta(hours=24)
"""The most that `RFR_DESK__SESSION_HOURS` allows."""
_TOUCH_EVERY: Final = timedelta(seconds=30)
"""A session's last use is written no more often: a page is a dozen requests."""


_NO_INVITATION: Final = {"invitation_sha256": None, "invited_until": None}
_REGISTERING: Final = UUID("5d0f4a8e-6a0c-5b4e-8a55-3f9d3a1c7e10")
"""The name of the lock under which the first supervisor is registered."""


class Accounts:
    """Accounts and their sessions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- accounts ---------------------------------------------------------------------------------------------------
    async def add(self, account_id: str, roles: Iterable[Role], now: datetime, **fields: Any) -> Account:  # noqa: ANN401
        """Add an account; `fields`: `subject`, or `password_hash`, or `invitation_sha256` and `invited_until`.

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
        return await self._find(*_open_invitation(invitation_sha256, now))

    async def accept(self, invitation_sha256: str, password_hash: str, now: datetime) -> Account | None:
        """Use up an invitation: keep the password, and end every session. None: it is no more, or never was."""
        used = update(accounts).where(*_open_invitation(invitation_sha256, now))
        used_up = used.values(password_hash=password_hash, **_NO_INVITATION).returning(*accounts.c)

        def use(connection: Connection) -> Account | None:
            row = connection.execute(used_up).mappings().one_or_none()
            if row is None:
                return None
            connection.execute(delete(sessions).where(sessions.c.account_id == row["account_id"]))
            return _to_account(row)

        return await self._database.write(use)

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

    async def link(self, account_id: str, subject: str) -> None:
        """Let an account from before there was a provider be the one of somebody whom it vouches for.

        Raises:
            NotPermitted: this person has another account.

        """
        try:
            await self._change(account_id, subject=subject)
        except IntegrityError:
            msg = "subject: this person has another account"
            raise NotPermitted(msg) from None

    async def set_password(self, account_id: str, password_hash: str) -> None:
        """Keep a new password's hash; the invitation is used up, and every session ends."""
        await self._change(account_id, password_hash=password_hash, **_NO_INVITATION)
        await self.leave_everywhere(account_id)

    async def rehash(self, account_id: str, before: str, password_hash: str) -> None:
        """Keep another hash of the same password."""
        same = update(accounts).where(accounts.c.account_id == account_id, accounts.c.password_hash == before)
        kept = same.values(password_hash=password_hash)
        await self._database.write(lambda connection: connection.execute(kept))

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
        """Keep somebody out, or let them in again; every session ends, and every invitation."""
        await self._change(account_id, disabled=disabled, **_NO_INVITATION)
        await self.leave_everywhere(account_id)

    async def _find(self, *where: ColumnElement[bool]) -> Account | None:
        def find(connection: Connection) -> Account | None:
            row = connection.execute(select(accounts).where(*where)).mappings().one_or_none()
            return _to_account(row) if row else None

        return await self._database.read(find)

    async def _change(self, account_id: str, **fields: Any) -> None:  # noqa: ANN401 - columns
        change = update(accounts).where(accounts.c.account_id == account_id).values(fields)
        await self._database.write(lambda connection: connection.execute(change))

    # --- the register -----------------------------------------------------------------------------------------------
    async def registered(self) -> dict[str, Reviewer]:
        """Return everybody who is registered to sign, by name."""

        def listed(connection: Connection) -> dict[str, Reviewer]:
            rows = connection.execute(select(reviewers)).mappings()
            return {row["reviewer_id"]: records.to_reviewer(row) for row in rows}

        return await self._database.read(listed)

    async def register_first(self, supervisor: Reviewer) -> bool:
        """Register a supervisor unless there is one: whoever sets a desk up has nobody to vouch for them.

        Raises:
            NotPermitted: this desk may not write the register, or knows the name or the key already.

        """
        row = {field: getattr(supervisor, field) for field in reviewers.c.keys()}  # noqa: SIM118 - not a dict
        others = select(reviewers.c.reviewer_id).where(reviewers.c.duty == Duty.SUPERVISE)

        def add(connection: Connection) -> bool:
            self._database.lock(connection, [_REGISTERING])
            if connection.execute(others).first():
                return False
            connection.execute(insert(reviewers).values(row))
            return True

        try:
            return await self._database.write(add)
        except DBAPIError as error:
            if not isinstance(error, IntegrityError) and not is_forbidden(error):
                raise
            msg = "public_key: this desk may not register it; the command below does"
            raise NotPermitted(msg) from None

    # --- sessions ---------------------------------------------------------------------------------------------------
    async def enter(self, account_id: str, token_sha256: str, now: datetime) -> None:
        """Open a session, and forget those that ended long ago."""
        row = {"token_sha256": token_sha256, "account_id": account_id, "opened_at": now, "seen_at": now}

        def add(connection: Connection) -> None:
            connection.execute(delete(sessions).where(sessions.c.opened_at < now - _LONGEST))
            connection.execute(insert(sessions).values(row))

        await self._database.write(add)

    async def inside(
        self, token_sha256: str, now: datetime, *, idle: timedelta, longest: timedelta, used: bool = True
    ) -> Account | None:
        """Return whose session this is, and note whether it was used; None: it ended, or never was."""
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
        if used and row["seen_at"] < now - _TOUCH_EVERY:
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


def _open_invitation(invitation_sha256: str, now: datetime) -> tuple[ColumnElement[bool], ...]:
    mine, in_date = accounts.c.invitation_sha256 == invitation_sha256, accounts.c.invited_until > now
    return mine, in_date, ~accounts.c.disabled


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
