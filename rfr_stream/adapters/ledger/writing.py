"""How rows are written, on either database, and how often that is tried."""

from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar
from uuid import UUID

from sqlalchemy import Column, Connection, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from rfr_stream.adapters.ledger import records
from rfr_stream.adapters.ledger.lookup import among
from rfr_stream.errors import Unavailable

P = ParamSpec("P")
T = TypeVar("T")

_again: Final = retry(
    retry=retry_if_exception_type(Unavailable),
    stop=stop_after_attempt(3),
    wait=wait_random_exponential(multiplier=0.05, max=0.5),
    reraise=True,
)
"""Every operation is repeatable: where a commit's answer was lost, the inbox knows whether it happened."""


def patiently(operation: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Try again where the database is away; before that happens, nothing is spent on it.

    Bookkeeping of tries costs several times what the shortest read does, and nearly every first try succeeds.
    """
    patient = _again(operation)

    @wraps(operation)
    async def tried(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await operation(*args, **kwargs)
        except Unavailable:
            return await patient(*args, **kwargs)

    return tried


def present(connection: Connection, table: Table, ids: Collection[UUID]) -> set[UUID]:
    """Return which of these ids the table has; its first column is its key."""
    key = table.c[0]
    return set(connection.execute(select(key).where(among(key, ids, connection.dialect))).scalars())


def add_new(connection: Connection, table: Table, rows: Sequence[records.Row]) -> None:
    """Insert the rows whose key is new."""
    if rows:
        connection.execute(insert_for(connection, table).on_conflict_do_nothing(), rows)


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[records.Row],
    *,
    keep: Collection[str] = (),
    last: Collection[str] = (),
    count: Collection[str] = (),
    since: Column[Any] | None = None,
) -> None:
    """Insert or replace rows by their first column.

    A column to `keep` is written once and never changed; of `last`, what was said last stands until something else is.
    Each column of `count` says how often its row was replaced.
    By `since`, a row is replaced by none that is older.
    """
    if not rows:
        return
    statement = insert_for(connection, table)
    key, *others = table.c
    said = statement.excluded
    new: dict[str, Any] = {column.name: said[column.name] for column in others}
    new |= {name: func.coalesce(table.c[name], said[name]) for name in keep}
    new |= {name: func.coalesce(said[name], table.c[name]) for name in last}
    new |= {name: table.c[name] + 1 for name in count}
    newer = None if since is None else said[since.name] >= since
    connection.execute(statement.on_conflict_do_update(index_elements=[key], set_=new, where=newer), rows)


def insert_for(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return the dialect's own insert, which knows `ON CONFLICT`."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
