"""Before a switch: whether faces are on their way that only the model before can take."""

import asyncio
from pathlib import Path

import builders

from rfr_stream.commands.migrating import crops_on_their_way
from rfr_stream.errors import Unavailable
from rfr_stream.settings import KafkaSettings, Settings
from topics import admin
from topics.bus import Bus
from topics.embedded import EmbeddedKafka


async def test_faces_that_wait_for_the_embedding_stage_are_counted(broker: EmbeddedKafka, tmp_path: Path) -> None:
    assert await crops_on_their_way(Settings(data_dir=tmp_path)) is None
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
    settings = Settings(data_dir=tmp_path, kafka=kafka)
    await admin.apply(kafka)
    before = await counted(settings)
    async with Bus.from_settings(settings, client_id="test") as bus:
        await bus.publish([builders.face_detected(builders.submission(case_ref=f"case-{n}")) for n in range(3)])
    assert await counted(settings) == before + 3


async def counted(settings: Settings) -> int:
    """Ask until a new broker knows of groups; a cluster that does not answer is no empty one."""
    async with asyncio.timeout(60):
        while True:
            try:
                waiting = await crops_on_their_way(settings)
            except Unavailable:
                await asyncio.sleep(0.2)
            else:
                assert waiting is not None
                return waiting
