"""Alembic's entry: runs the migrations inside the transaction that `Database.open` began, and under its lock."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
