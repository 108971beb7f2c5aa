"""The schema's history. Alembic runs it when a ledger opens; nobody runs it by hand."""
