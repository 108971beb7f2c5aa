"""A desk on a real ledger: its clock stands until a test moves it, and what it publishes is kept until it is counted.

The key of every account is `builders.private_key(account_id)`, so that a test signs as anybody.
"""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import builders
import httpx
from fastapi import FastAPI
from sqlalchemy import Row, text

from producers.console._desk import Desk, digest_of
from producers.console.app import build
from rfr_stream import stages
from rfr_stream.adapters import keys
from rfr_stream.adapters.desk import SqlDesk
from rfr_stream.adapters.keys import KeyVerifier
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.memory.blobs import MemoryBlobs
from rfr_stream.desk import Account
from rfr_stream.events import CandidatesReady, Event, Signed, SubjectUnclear
from rfr_stream.policy import Role
from rfr_stream.settings import DeskSettings

PUBLIC_URL: Final = "http://localhost:8470"


@dataclass
class Clock:
    """What time it is at the desk."""

    now: datetime = builders.NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        """Let time pass: `clock.forward(minutes=5)`."""
        self.now += timedelta(**by)


@dataclass
class DeskHouse:
    """A desk, its application, and the other side of the bus."""

    desk: Desk
    ledger: SqlLedger
    app: FastAPI
    clock: Clock
    published: list[Event]
    _clients: AsyncExitStack
    counted: int = field(default=0)

    # people
    async def newcomer(self, account_id: str, *roles: Role) -> Account:
        """Open an account that has no key yet."""
        return await self.desk.store.accounts.add(account_id, roles or (Role.SUBMITTER,), self.clock())

    async def account(self, account_id: str, *roles: Role) -> Account:
        """Open an account that has a key."""
        await self.newcomer(account_id, *roles)
        key = keys.public_text(builders.private_key(account_id))
        await self.desk.store.accounts.set_key(account_id, key)
        return await self.account_of(account_id)

    async def reviewer(self, account_id: str = "reviewer-a") -> Account:
        """Open the account of a reviewer who is certified."""
        await self.desk.ledger.register(builders.reviewer(account_id))
        return await self.account(account_id, Role.REVIEWER)

    async def supervisor(self, account_id: str = "supervisor-1") -> Account:
        """Open the account of a supervisor whose key is registered."""
        await self.desk.ledger.register(builders.supervisor(account_id))
        return await self.account(account_id, Role.SUPERVISOR)

    async def account_of(self, account_id: str) -> Account:
        """Return the account as it stands."""
        account = await self.desk.store.accounts.account(account_id)
        assert account, account_id
        return account

    # browsers
    async def client(self, account: Account | None = None) -> httpx.AsyncClient:
        """Return a browser, of somebody who is signed in or of nobody; what it sends comes from a page of the desk."""
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False),  # a browser sees the page
            base_url=self.desk.settings.public_url,
            headers={"sec-fetch-site": "same-origin"},
        )
        if account:
            client.cookies.set(self.desk.cookie, await self.session(account))
        return await self._clients.enter_async_context(client)

    async def session(self, account: Account) -> str:
        """Open a session; return its token, which is the cookie's value."""
        token = secrets.token_hex(8)
        await self.desk.store.accounts.enter(account.account_id, digest_of(token), self.clock())
        return token

    # behind the desk's back
    async def rows(self, statement: str) -> Sequence[Row[Any]]:
        """Return what the database says."""
        return await self.ledger.database.read(lambda connection: connection.execute(text(statement)).all())

    # the bus
    async def hold(self, *found: CandidatesReady | SubjectUnclear) -> None:
        """Let lists, and questions which face is meant, come to people."""
        assert await stages.hold(found, ledger=self.desk.ledger, now=self.clock()) == [None] * len(found)

    async def count(self) -> Sequence[Event]:
        """Let the review stage count what was published since; return it."""
        fresh = self.published[self.counted :]
        self.counted = len(self.published)
        for said in fresh:
            assert isinstance(said, Signed), said
            await stages.decide(said, ledger=self.desk.ledger, verifier=self.desk.verifier, now=self.clock())
        return fresh


@asynccontextmanager
async def opened(folder: Path, **settings: Any) -> AsyncIterator[DeskHouse]:  # noqa: ANN401 - any of `DeskSettings`
    """Open a desk whose ledger is in this folder."""
    published: list[Event] = []

    async def publish(events: Sequence[Event]) -> None:
        published.extend(events)

    desk_settings = DeskSettings(**{"public_url": PUBLIC_URL, **settings})
    async with SqlLedger(f"sqlite:///{folder / 'ledger.db'}") as ledger, AsyncExitStack() as clients:
        clock = Clock()
        desk = Desk(
            settings=desk_settings,
            ledger=ledger,
            store=SqlDesk(ledger),
            blobs=MemoryBlobs(),
            verifier=KeyVerifier(desk_settings.public_url),
            publish=publish,
            seal_file=folder / "seal.pem",
            clock=clock,
        )
        yield DeskHouse(desk, ledger, build(desk), clock, published, clients)
