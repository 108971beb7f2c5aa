"""`rfr up` and `rfr down`: the whole house, or some of its stages, in this process."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Annotated, Final

import typer
from filelock import FileLock, Timeout

from consumers import together
from producers.console.entrance import set_up_link
from rfr_stream import telemetry
from rfr_stream.commands._console import desk_open
from rfr_stream.commands._context import CONSOLE, house_file, run, say, settings_of, with_cluster
from rfr_stream.commands._reception import reception_open
from rfr_stream.errors import RfrError
from rfr_stream.settings import Settings
from topics import admin
from topics.embedded import EmbeddedKafka, broker_jars

DOWN_WAIT_S: Final = 60.0
CONSOLE_NAME: Final = "console"
RECEPTION_NAME: Final = "reception"
SERVERS: Final = (CONSOLE_NAME, RECEPTION_NAME)
"""What `--stage` calls the review desk and the HTTP intake, which are no stages."""


def up(
    context: typer.Context,
    stages: Annotated[list[str] | None, typer.Option("--stage", help="only these; may be given several times")] = None,
    port: Annotated[int | None, typer.Option(help="of the embedded broker; none: a free one")] = None,
) -> None:
    """Start the broker, unless one is given, and every stage; stop with Ctrl-C or `rfr down`."""
    chosen = tuple(stages or (*together.STAGES, *SERVERS))
    together.require_known([each for each in chosen if each not in SERVERS])  # before a broker is started in vain
    telemetry.configure()
    run(_up(settings_of(context), chosen, port))


def down(context: typer.Context) -> None:
    """Stop the house of this data directory: it finishes what it holds, commits, and lets go."""
    settings = settings_of(context)
    file = house_file(settings)
    if not is_held(settings):
        say("It had ended already." if file.exists() else "Nothing is running here.")
        file.unlink(missing_ok=True)
        return
    pid = json.loads(file.read_text())["pid"]
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + DOWN_WAIT_S
    while is_held(settings):
        if time.monotonic() > deadline:
            msg = f"process {pid} has not ended within {DOWN_WAIT_S:.0f} s"
            raise RfrError(msg)
        time.sleep(0.1)
    say("Stopped.")


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


async def _up(settings: Settings, chosen: tuple[str, ...], port: int | None) -> None:
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        if not settings.kafka.bootstrap_servers:
            stack.enter_context(_held(settings))
        running = await stack.enter_async_context(broker(settings, port=port))
        if not settings.kafka.bootstrap_servers:
            _announce(running)
        say(f"Kafka answers at {running.kafka.bootstrap_servers}. Running: {', '.join(chosen)}.")
        if CONSOLE_NAME in chosen:
            desk = await stack.enter_async_context(desk_open(running))
            say(f"The review desk: {running.desk.public_url}")
            if link := await set_up_link(desk):
                say(f"Nobody has an account yet. The first is a supervisor's; for an hour: {link}")
        if RECEPTION_NAME in chosen:
            say(f"The reception: {await stack.enter_async_context(reception_open(running))}")
        await together.create_app(running, [each for each in chosen if each not in SERVERS]).run()


def _announce(settings: Settings) -> None:
    """Leave word where other commands find the cluster; whole or not at all."""
    file = house_file(settings)
    new = file.with_suffix(".new")
    new.write_text(json.dumps({"pid": os.getpid(), "bootstrap_servers": settings.kafka.bootstrap_servers}))
    new.replace(file)


@contextmanager
def _held(settings: Settings) -> Iterator[None]:
    """Be the house of this data directory.

    The kernel lets go of the lock however this process ends, so that `rfr down` never mistakes a stranger's process
    for it. Stages on a cluster of somebody else's are no house: there may be many, and their supervisor stops them.

    Raises:
        RfrError: there is one already.

    """
    lock = _lock(settings)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        msg = f"a house runs already in {settings.data_dir}; `rfr down` stops it"
        raise RfrError(msg) from None
    try:
        yield
    finally:
        house_file(settings).unlink(missing_ok=True)
        lock.release()


def is_held(settings: Settings) -> bool:
    """Whether a house runs in this data directory."""
    if not settings.data_dir.is_dir():
        return False
    try:
        with _lock(settings).acquire(timeout=0):
            return False
    except Timeout:
        return True


def _lock(settings: Settings) -> FileLock:
    return FileLock(settings.data_dir / "house.lock", fallback_to_soft=False)
