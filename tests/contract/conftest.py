"""What several contracts share."""

from collections.abc import Iterator

import postgresql
import pytest


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[postgresql.PostgreSql]:
    """A server for the whole run; it fails, and does not skip, where none is installed."""
    with postgresql.running() as server:
        yield server
