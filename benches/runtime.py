"""What the runtime itself costs: stages that compute nothing, on a real Kafka, all in this process.

    python benches/runtime.py [--messages 20000]

Baseline: aiokafka alone copies the same records from topic to topic: read in bulk, send, wait for the
acknowledgements, commit. Against it, one null stage (decode, build the next event, encode, publish, commit), alone
and with the next stage reading behind it. CPU is this process's alone, the broker's not counted.
"""

import argparse
import asyncio
import logging
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import uvloop
from aiokafka import AIOKafkaConsumer

import topics
from consumers._envelope import Result
from consumers._pipeline import Stage, mount
from consumers._runtime import serve
from rfr_stream import telemetry
from rfr_stream.events import FaceDetected, FaceEmbedded, ImageSubmitted
from rfr_stream.settings import KafkaSettings, PipelineSettings
from topics import Record, admin
from topics.bus import Bus
from topics.embedded import EmbeddedKafka

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # a bench is a script: nobody else says where builders are
import builders

TARGET_US = 120.0
"""CPU of one message in one stage that publishes: five stages of 1,000 messages a second fit on one core."""
FACE, TEMPLATE = builders.face(), builders.template()


async def faces(batch: Sequence[ImageSubmitted]) -> Sequence[Result]:
    return [FaceDetected(submission=event.submission, face=FACE, occurred_at=builders.NOW) for event in batch]


async def templates(batch: Sequence[FaceDetected]) -> Sequence[Result]:
    return [
        FaceEmbedded(submission=event.submission, face=event.face, template=TEMPLATE, occurred_at=builders.NOW)
        for event in batch
    ]


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@dataclass
class Counter:
    """The end of a chain: counts, and says when all are there."""

    wanted: int
    seen: int = 0
    complete: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, batch: Sequence[object]) -> Sequence[Result]:
        self.seen += len(batch)
        if self.seen >= self.wanted:
            self.complete.set()
        return [None] * len(batch)


@dataclass
class Watch:
    """Wall and CPU time since it was made."""

    wall: float = field(default_factory=time.perf_counter)
    cpu: float = field(default_factory=_cpu)

    def report(self, name: str, messages: int) -> float:
        """Print a line; return the CPU microseconds of one message."""
        wall, cpu = time.perf_counter() - self.wall, _cpu() - self.cpu
        print(f"{name:<34} {messages / wall:8.0f} msg/s  {cpu / messages * 1e6:6.1f} us CPU per message")
        return cpu / messages * 1e6


async def fill(bus: Bus, messages: int) -> None:
    events = [builders.image_submitted(builders.submission(f"probe-{n}")) for n in range(messages)]
    watch = Watch()
    async with bus:
        for start in range(0, messages, 500):
            await bus.publish(events[start : start + 500])
    watch.report("publish events", messages)


async def copy(bus: Bus, messages: int) -> float:
    """The baseline: the same records go on unread."""
    options = {**bus.options, "group_id": "bench-copy", "auto_offset_reset": "earliest", "enable_auto_commit": False}
    async with bus, AIOKafkaConsumer(topics.SUBMISSIONS.name, **options) as consumer:
        await consumer.getmany(timeout_ms=10_000, max_records=1)  # the group has settled
        watch, copied = Watch(), 1
        while copied < messages:
            taken = list(chain(*(await consumer.getmany(timeout_ms=1_000, max_records=32)).values()))
            await bus.send([Record(topics.OUTCOMES.name, m.key, m.value, m.headers) for m in taken])
            await consumer.commit()
            copied += len(taken)
        return watch.report("aiokafka alone, copying", messages)


async def run_chain(bus: Bus, stages: Sequence[Stage], end: Counter, folder: Path) -> float:
    """Run the stages in one process until the end has counted all; return the CPU microseconds of one message."""
    settings = PipelineSettings()
    pipelines = [mount(bus, stage, settings=settings, instance="0", demo=False, journal_dir=folder) for stage in stages]
    app = serve(bus, tasks=pipelines)
    watch = Watch()
    running = asyncio.create_task(app.run())
    await end.complete.wait()
    cost_us = watch.report(" > ".join(stage.group for stage in stages), end.wanted)
    app.exit()
    await running
    return cost_us


async def measure(kafka: KafkaSettings, folder: Path, messages: int) -> None:
    """Print what each way costs, and what that makes of one stage."""

    def bus() -> Bus:
        return Bus(kafka, bootstrap_servers=kafka.bootstrap_servers or "", client_id="bench")

    await admin.apply(kafka)
    await fill(bus(), messages)
    alone_us = await copy(bus(), messages)
    for noun, source, run, sink in (
        ("detection", topics.SUBMISSIONS, faces, topics.FACES),
        ("embedding", topics.FACES, templates, topics.TEMPLATES),
    ):
        both, reader = Counter(messages), Counter(messages)
        stages = [Stage(f"null-{noun}", source, run), Stage(f"reader-of-{noun}", sink, both)]
        both_us = await run_chain(bus(), stages, both, folder)
        reader_us = await run_chain(bus(), [Stage(f"{noun}-read-again", sink, reader)], reader, folder)
        stage_us = both_us - reader_us
        print(f"  so null-{noun} costs {stage_us:.1f} us (target {TARGET_US:g}), {stage_us / alone_us:.1f} x aiokafka")


async def main(messages: int) -> None:
    """Measure on a broker of its own."""
    telemetry.configure()
    logging.getLogger().setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        async with EmbeddedKafka(Path(folder)) as kafka:
            await measure(KafkaSettings(bootstrap_servers=kafka.bootstrap_servers), Path(folder), messages)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=20_000)
    uvloop.run(main(parser.parse_args().messages))
