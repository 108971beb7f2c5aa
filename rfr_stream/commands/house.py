"""`rfr up` and `rfr down`: the whole house, or some of its stages, in this process."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Annotated

import typer

from consumers import together
from rfr_stream import telemetry
from rfr_stream.commands._context import CONSOLE, house_file, run, settings_of, with_cluster
from rfr_stream.errors import RfrError
from rfr_stream.settings import Settings
from topics import admin
from topics.embedded import EmbeddedKafka, broker_jars

DOWN_WAIT_S = 30.0


def up(
    context: typer.Context,
    stages: Annotated[list[str] | None, typer.Option("--stage", help="only these; may be given several times")] = None,
    port: Annotated[int | None, typer.Option(help="of the embedded broker; none: a free one")] = None,
) -> None:
    """Start the broker, unless one is given, and every stage; stop with Ctrl-C or `rfr down`."""
    run(_up(settings_of(context), tuple(stages or together.STAGES), port))


def down(context: typer.Context) -> None:
    """Stop the house of this data directory: it finishes what it holds, commits, and lets go."""
    file = house_file(settings_of(context))
    if not file.exists():
        CONSOLE.print("Nothing is running here.")
        return
    pid = json.loads(file.read_text())["pid"]
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        file.unlink(missing_ok=True)
        CONSOLE.print("It had ended already.")
        return
    deadline = time.monotonic() + DOWN_WAIT_S
    while file.exists():
        if time.monotonic() > deadline:
            msg = f"process {pid} has not ended within {DOWN_WAIT_S:.0f} s"
            raise RfrError(msg)
        time.sleep(0.1)
    CONSOLE.print("Stopped.")


@asynccontextmanager
async def broker(settings: Settings, *, port: int | None = None) -> AsyncIterator[Settings]:
    """Yield settings that name a running cluster with all topics: the given one, or the embedded one, started here."""
    if settings.kafka.bootstrap_servers:
        yield settings
        return
    await asyncio.to_thread(broker_jars)  # says itself what it fetches, and must not share the line with our words
    async with AsyncExitStack() as stack:
        with CONSOLE.status("Starting Apache Kafka ..."):
            kafka = await stack.enter_async_context(EmbeddedKafka(settings.data_dir, port=port))
            running = with_cluster(settings, kafka.bootstrap_servers)
            await admin.apply(running.kafka)
        yield running


async def _up(settings: Settings, stages: tuple[str, ...], port: int | None) -> None:
    telemetry.configure()
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(broker(settings, port=port))
        app = together.create_app(running, stages)
        stack.enter_context(_announced(running))
        CONSOLE.print(f"Kafka answers at {running.kafka.bootstrap_servers}. Stages: {', '.join(stages)}.")
        await app.run()


@contextmanager
def _announced(settings: Settings) -> Iterator[None]:
    """Leave word of this house in its data directory for as long as it runs."""
    file = house_file(settings)
    file.write_text(json.dumps({"pid": os.getpid(), "bootstrap_servers": settings.kafka.bootstrap_servers}))
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
