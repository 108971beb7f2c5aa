"""One database, two dialects: connections, transactions, locks, and what a failure means for the caller."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Table, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from rfr_stream.adapters.ledger.lookup import Rows, SqliteLookup, by_key
from rfr_stream.errors import Unavailable

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_MIGRATION_LOCK: Final = UUID("0f0d1f5e-63c6-5b43-8a4e-6b6f5a1c9d52")
_WRITES: Final = "rfr_writes"

_SQLITE_AWAY: Final = frozenset({5, 6, 7, 10, 13, 14, 15})
"""BUSY, LOCKED, NOMEM, IOERR, FULL, CANTOPEN, PROTOCOL (sqlite.org/rescode.html)."""
_POSTGRES_AWAY: Final = ("08", "40", "53", "57", "58", "55P03", "25006")
"""Connection, rollback (serialization, deadlock), resources, operator, system; a lock that cannot be had; a standby,
which cannot write (PostgreSQL's appendix A)."""


class Database:
    """Transactions on SQLite or PostgreSQL. Whatever fails because the database is away raises `Unavailable`."""

    def __init__(self, url: str, *, pool_size: int, busy_timeout_ms: int) -> None:
        """Remember where; nothing is opened before `open`."""
        self._busy_timeout_ms = busy_timeout_ms
        self._url = make_url(url)
        self._pool_size = pool_size
        self._is_sqlite = self._url.get_backend_name() == "sqlite"
        self._turn = asyncio.Lock()
        self._engine: AsyncEngine | None = None
        self._lookup: SqliteLookup | None = None

    async def open(self) -> None:
        """Connect, and bring the schema up to date; several processes may do so at once."""
        await self.close()
        if self._file:
            _create_private(self._file)
        self._engine = create_async_engine(
            self._url, pool_size=self._pool_size, max_overflow=0, pool_pre_ping=not self._is_sqlite
        )
        if self._is_sqlite:
            event.listen(self._engine.sync_engine, "connect", self._prepare_sqlite)
            event.listen(self._engine.sync_engine, "begin", _begin_sqlite)
        async with self.writing() as connection:
            await self.lock(connection, [_MIGRATION_LOCK])
            await connection.run_sync(_migrate)
        if self._file:
            with _translated():
                self._lookup = SqliteLookup(self._file)

    async def close(self) -> None:
        """Let go of every connection."""
        if self._lookup is not None:
            self._lookup.close()
            self._lookup = None
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """One snapshot, however many statements."""
        level = {} if self._is_sqlite else {"isolation_level": "REPEATABLE READ"}
        with _translated():
            async with self._opened.execution_options(**level).begin() as connection:
                yield connection

    async def rows(self, table: Table, ids: Collection[UUID]) -> Rows:
        """Return the rows of these keys as they stand committed now, in no order; unknown ids have none."""
        if not ids:
            return []
        engine = self._opened
        with _translated():
            if self._lookup is not None:
                return self._lookup.rows(table, ids)
            # One statement is its own snapshot: a transaction round it would be two more round trips.
            async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
                found = await connection.execute(by_key(table, ids, connection.dialect))
                return [dict(row) for row in found.mappings()]

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, durable once this returns.

        SQLite has one writer at a time: those of this process queue here, fairly, rather than poll for the file.
        """
        turn: AbstractAsyncContextManager[Any] = self._turn if self._is_sqlite else nullcontext()
        with _translated():
            async with turn, self._opened.execution_options(**{_WRITES: True}).begin() as connection:
                yield connection

    async def lock(self, connection: AsyncConnection, ids: Iterable[UUID]) -> None:
        """Wait until no other transaction has locked any of these ids; held until this one ends.

        Locks by name hold for rows that do not exist yet, which `FOR UPDATE` cannot; taken in one order, so that
        two batches never wait for each other. Each takes a place in PostgreSQL's lock table, which has
        `max_locks_per_transaction` x `max_connections` of them. SQLite's writers have the whole file already.
        """
        if self._is_sqlite:
            return
        names = sorted({int.from_bytes(id_.bytes[:8], signed=True) for id_ in ids})
        await connection.execute(
            text("SELECT pg_advisory_xact_lock(name) FROM unnest(CAST(:names AS bigint[])) AS name"), {"names": names}
        )

    @property
    def _file(self) -> Path | None:
        return Path(self._url.database) if self._is_sqlite and self._url.database else None

    @property
    def _opened(self) -> AsyncEngine:
        if self._engine is None:
            msg = "the ledger is not open: use it as `async with SqlLedger(url) as ledger`"
            raise RuntimeError(msg)
        return self._engine

    def _prepare_sqlite(self, connection: Any, _record: object) -> None:  # noqa: ANN401 - its face of aiosqlite
        connection.isolation_level = None  # the driver begins no transactions of its own; `_begin_sqlite` does
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout = {self._busy_timeout_ms}",
            "journal_mode = WAL",
            "synchronous = FULL",  # with NORMAL a power cut takes back commits that were acknowledged
            "foreign_keys = ON",
            "secure_delete = ON",  # what is erased is overwritten in the file too
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()


def _create_private(file: Path) -> None:
    """Make what is not there for its owner alone; SQLite gives the files beside it the same mode."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _translated():
        file.touch(mode=0o600)


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes its lock at once: one that began by reading could not take it later without `SQLITE_BUSY`."""
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _migrate(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@contextmanager
def _translated() -> Iterator[None]:
    """Tell a database that is away from a statement that is wrong: the latter is a bug, and stays what it was."""
    try:
        yield
    except Exception as error:
        if not _is_away(error):
            raise
        msg = f"ledger: {type(error).__name__}"
        raise Unavailable(msg) from None  # the cause may quote the statement's parameters


def _is_away(error: Exception) -> bool:
    """Look through SQLAlchemy's wrapping for the driver's own code."""
    if isinstance(error, OSError | PoolTimeoutError) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    ):
        return True
    cause: BaseException | None = error.orig if isinstance(error, DBAPIError) else error
    sqlite_code = getattr(cause, "sqlite_errorcode", None)
    if sqlite_code is not None:
        return sqlite_code & 0xFF in _SQLITE_AWAY
    return str(getattr(cause, "sqlstate", "")).startswith(_POSTGRES_AWAY)
