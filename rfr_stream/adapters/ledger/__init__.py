"""`Ledger` on SQLite and PostgreSQL: SQLAlchemy Core, and migrations that travel with the package."""

from rfr_stream.adapters.ledger.ledger import SqlLedger

__all__ = ["SqlLedger"]
