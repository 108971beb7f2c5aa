"""Which model serves, as a row, and how many references there are and were."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import Connection, RowMapping, func, select, text

from rfr_stream.adapters.ledger import records
from rfr_stream.adapters.ledger.tables import erased_references, held_references
from rfr_stream.ports import Extent, Served

ROW: Final = UUID("2b7a5c0e-6c1d-5f3a-9d84-0e4f5a6b7c8d")
"""The key of the only row, and the name of the lock under which it changes."""

_MODELS: Final = TypeAdapter(tuple[Served, ...])


def to_row(models: Sequence[Served]) -> records.Row:
    """Return the row."""
    return {"id": ROW, "models": _MODELS.dump_json(tuple(models)).decode()}


def to_models(rows: Iterable[Mapping[str, Any] | RowMapping]) -> tuple[Served, ...]:
    """Return what the row says, if there is one."""
    return next((_MODELS.validate_json(row["models"]) for row in rows), ())


def extent(connection: Connection) -> Extent:
    """Count references, and how often they were written again."""
    rewritten = func.coalesce(func.sum(held_references.c.rewritten), 0)
    held = connection.execute(select(func.count(), rewritten).select_from(held_references)).one()
    erased = connection.execute(select(func.count()).select_from(erased_references)).scalar_one()
    return Extent(held[0], erased, held[1])


def let_nobody_come_or_go(connection: Connection) -> None:
    """Wait for the enrolments and erasures that are being written, and hold up others until this transaction ends."""
    if connection.dialect.name == "postgresql":  # SQLite's writers have the whole file already
        connection.execute(text("LOCK TABLE held_references, erased_references IN SHARE MODE"))
