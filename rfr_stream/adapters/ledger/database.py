"""One database, two dialects: connections, transactions, locks, and what a failure means for the caller.

A transaction is a plain function of a connection. On PostgreSQL it runs on the event loop, over asyncpg; on SQLite it
runs whole in a thread: a driver that hands each of its statements to a thread and back waits for a busy event loop
twenty times in one transaction, while it holds the file's only write lock.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from uuid import UUID

from alembic import command
from alembic.config import Config
from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, Table, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from rfr_stream.adapters.ledger.lookup import Rows, SqliteLookup, by_key
from rfr_stream.errors import Unavailable
from rfr_stream.ports import Turn

T = TypeVar("T")

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_MIGRATION_LOCK: Final = UUID("0f0d1f5e-63c6-5b43-8a4e-6b6f5a1c9d52")
_WRITES: Final = "rfr_writes"
_NOT_OPEN: Final = "the ledger is not open: use it as `async with SqlLedger(url) as ledger`"

_SQLITE_AWAY: Final = frozenset({5, 6, 7, 10, 13, 14, 15})
"""BUSY, LOCKED, NOMEM, IOERR, FULL, CANTOPEN, PROTOCOL (sqlite.org/rescode.html)."""
_POSTGRES_AWAY: Final = ("08", "40", "53", "57", "58", "55P03", "25006")
"""Connection, rollback (serialization, deadlock), resources, operator, system; a lock that cannot be had; a standby,
which cannot write (PostgreSQL's appendix A)."""

_POSTGRES_FORBIDDEN: Final = "42501"
"""insufficient_privilege."""


class Database:
    """Transactions on SQLite or PostgreSQL. Whatever fails because the database is away raises `Unavailable`."""

    def __init__(self, url: str, *, pool_size: int, busy_timeout_ms: int) -> None:
        """Remember where; nothing is opened before `open`."""
        self._busy_timeout_ms = busy_timeout_ms
        self._url = make_url(url)
        self._pool_size = pool_size
        self._is_sqlite = self._url.get_backend_name() == "sqlite"
        self._sqlite: Engine | None = None
        self._postgresql: AsyncEngine | None = None
        self._writer: ThreadPoolExecutor | None = None
        self._lookup: SqliteLookup | None = None

    async def open(self) -> None:
        """Connect, and bring the schema up to date; several processes may do so at once."""
        await self.close()
        if self._file:
            _create_private(self._file)
        if self._is_sqlite:
            self._sqlite = create_engine(self._url.set(drivername="sqlite"), pool_size=self._pool_size, max_overflow=0)
            event.listen(self._sqlite, "connect", self._prepare_sqlite)
            event.listen(self._sqlite, "begin", _begin_sqlite)
            # One writer at a time: those of this process queue here, fairly, rather than poll for the file.
            self._writer = ThreadPoolExecutor(1, thread_name_prefix="rfr-ledger")
        else:
            self._postgresql = create_async_engine(
                self._url, pool_size=self._pool_size, max_overflow=0, pool_pre_ping=True
            )
        try:
            await self.write(self._migrate)
            if self._file:
                with _translated():
                    self._lookup = SqliteLookup(self._file)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of every connection."""
        if self._lookup is not None:
            self._lookup.close()
            self._lookup = None
        if self._writer is not None:
            self._writer.shutdown()
            self._writer = None
        if self._sqlite is not None:
            self._sqlite.dispose()
            self._sqlite = None
        if self._postgresql is not None:
            await self._postgresql.dispose()
            self._postgresql = None

    async def read(self, transaction: Callable[[Connection], T]) -> T:
        """Return what the transaction returns: one snapshot, however many statements."""
        if self._is_sqlite:
            return await asyncio.to_thread(self._on_sqlite, transaction)
        return await self._on_postgresql(transaction, isolation_level="REPEATABLE READ")

    async def write(self, transaction: Callable[[Connection], T]) -> T:
        """Return what the transaction returns, durable by then; what it raises undoes it."""
        if self._is_sqlite:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._writer, lambda: self._on_sqlite(transaction, **{_WRITES: True}))
        return await self._on_postgresql(transaction)

    async def rows(self, table: Table, ids: Collection[UUID]) -> Rows:
        """Return the rows of these keys as they stand committed now, in no order; unknown ids have none."""
        if not ids:
            return []
        if self._lookup is not None:
            with _translated():
                return self._lookup.rows(table, ids)

        def found(connection: Connection) -> Rows:
            return [dict(row) for row in connection.execute(by_key(table, ids, connection.dialect)).mappings()]

        if self._is_sqlite:
            return await self.read(found)
        # One statement is its own snapshot: a transaction round it would be two more round trips.
        return await self._on_postgresql(found, isolation_level="AUTOCOMMIT")

    def _on_sqlite(self, transaction: Callable[[Connection], T], **options: Any) -> T:  # noqa: ANN401 - SQLAlchemy's
        if self._sqlite is None:
            raise RuntimeError(_NOT_OPEN)
        with _translated(), self._sqlite.execution_options(**options).begin() as connection:
            return transaction(connection)

    async def _on_postgresql(self, transaction: Callable[[Connection], T], **options: Any) -> T:  # noqa: ANN401
        if self._postgresql is None:
            raise RuntimeError(_NOT_OPEN)
        with _translated():
            async with self._postgresql.execution_options(**options).begin() as connection:
                return await connection.run_sync(transaction)

    async def take_turn(self, name: UUID) -> Turn | None:
        """Return what only one process at a time can have, until it leaves it or dies; None while another has it."""
        if self._postgresql is not None:
            with _translated():
                return await _PostgresTurn.take(self._postgresql, _lock_name(name))
        return _FileTurn.take(self._file, name)

    def lock(self, connection: Connection, ids: Iterable[UUID]) -> None:
        """Wait until no other transaction has locked any of these ids; held until this one ends.

        Locks by name hold for rows that do not exist yet, which `FOR UPDATE` cannot; taken in one order, so that
        two batches never wait for each other. Each takes a place in PostgreSQL's lock table, which has
        `max_locks_per_transaction` x `max_connections` of them. SQLite's writers have the whole file already.
        """
        if self._is_sqlite:
            return
        names = sorted(set(map(_lock_name, ids)))
        connection.execute(
            text("SELECT pg_advisory_xact_lock(name) FROM unnest(CAST(:names AS bigint[])) AS name"), {"names": names}
        )

    def _migrate(self, connection: Connection) -> None:
        self.lock(connection, [_MIGRATION_LOCK])
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    @property
    def _file(self) -> Path | None:
        return Path(self._url.database) if self._is_sqlite and self._url.database else None

    def _prepare_sqlite(self, connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's
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


class _PostgresTurn:
    """A session's lock: it lasts as long as its connection, which serves nothing else."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    @classmethod
    async def take(cls, engine: AsyncEngine, name: int) -> Self | None:
        connection = await engine.execution_options(isolation_level="AUTOCOMMIT").connect()
        turn = cls(connection)
        try:
            taken = await connection.scalar(text("SELECT pg_try_advisory_lock(:name)"), {"name": name})
        except BaseException:
            await turn.leave()
            raise
        if not taken:
            await connection.close()
        return turn if taken else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def leave(self) -> None:
        """Hang up, since a connection that went back to the pool would keep the lock."""
        await self._connection.invalidate()
        await self._connection.close()

    async def holds(self) -> bool:
        try:
            await self._connection.execute(text("SELECT 1"))
        except Exception as error:
            if not _is_away(error):
                raise
            return False
        return True


class _FileTurn:
    """A lock on a file beside the database; the kernel lets go of it however the process ends."""

    def __init__(self, lock: FileLock | None) -> None:
        self._lock = lock

    @classmethod
    def take(cls, database: Path | None, name: UUID) -> Self | None:
        if database is None:  # in memory: nobody else can see it
            return cls(None)
        lock = FileLock(f"{database}-{name}.lock", fallback_to_soft=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return None
        return cls(lock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._lock:
            self._lock.release()

    async def holds(self) -> bool:
        return True


def _lock_name(id_: UUID) -> int:
    return int.from_bytes(id_.bytes[:8], signed=True)


def _create_private(file: Path) -> None:
    """Make what is not there for its owner alone; SQLite gives the files beside it the same mode."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _translated():
        file.touch(mode=0o600)


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes its lock at once: one that began by reading could not take it later without `SQLITE_BUSY`."""
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def is_forbidden(error: DBAPIError) -> bool:
    """Whether the database does not let this role do that."""
    return str(getattr(error.orig, "sqlstate", "")) == _POSTGRES_FORBIDDEN


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
