"""One real broker for the whole folder."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from topics.embedded import EmbeddedKafka


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.kafka)


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A broker that answers; a test that kills or restarts it leaves it running again."""
    kafka = EmbeddedKafka(tmp_path_factory.mktemp("rfr"))
    asyncio.run(kafka.start())
    yield kafka
    asyncio.run(kafka.stop())
