"""How a stage is a member of its consumer group, and the polling that proves it alive."""

from dataclasses import asdict, dataclass
from typing import Any, Final

from aiokafka import TopicPartition

NOWHERE: Final = TopicPartition("", -1)
"""Polling this partition proves that the member lives, and hands out nothing.

`pause()` would do as well, but throws away what was fetched ahead.
"""


@dataclass(frozen=True, slots=True)
class Membership:
    """What a static member asks of its group and cluster; times in milliseconds."""

    session_timeout_ms: int = 10_000
    heartbeat_interval_ms: int = 1_000
    rebalance_timeout_ms: int = 30_000
    """Longer than the drain; aiokafka's default is the session timeout."""
    max_poll_interval_ms: int = 300_000
    max_partition_fetch_bytes: int = 262_144
    """Some hundred events of each partition read ahead; by default, a backlog fills a process with megabytes of them.
    A larger record is fetched all the same, alone."""

    def options(self, group: str, instance: str) -> dict[str, Any]:
        """Return the consumer's options; the first start reads from the beginning, so that nothing is skipped."""
        return {
            "group_id": group,
            "group_instance_id": f"{group}-{instance}",
            "auto_offset_reset": "earliest",
            "isolation_level": "read_committed",
            **asdict(self),
        }

    @property
    def poll_every_s(self) -> float:
        """Often enough to be seen in time."""
        return self.max_poll_interval_ms / 4000
