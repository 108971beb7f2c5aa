"""What every command shares: the settings, the terminal, and the way to a cluster that is running."""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import typer
import uvloop
from aiokafka.errors import KafkaError
from rich.console import Console

from rfr_stream.adapters import opening
from rfr_stream.errors import Unavailable
from rfr_stream.settings import Settings
from topics.bus import Bus

T = TypeVar("T")

CONSOLE: Final = Console(markup=False)  # what others wrote is printed too, and is no markup
ERRORS: Final = Console(stderr=True)
COMMAND_LINE: Final = "command-line"
"""Whom the log names where nobody says who they are: whoever may run commands here could be anybody."""


def say(text: str) -> None:
    """Print a line as it is: ids and paths are neither wrapped nor read as markup."""
    CONSOLE.print(printable(text), highlight=False, soft_wrap=True)


def printable(text: str) -> str:
    """Return foreign text with every character replaced that a terminal would obey instead of showing."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in text)


def settings_of(context: typer.Context) -> Settings:
    """Return the settings that the front door made of environment and options."""
    settings = context.find_root().obj
    if not isinstance(settings, Settings):
        msg = "commands run below the front door, which makes the settings"
        raise TypeError(msg)
    return settings


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work to its end."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


@asynccontextmanager
async def open_bus(settings: Settings) -> AsyncIterator[Bus]:
    """Open the way to the given cluster, or to the one that `rfr up` runs for this data directory.

    Raises:
        Unavailable: none is given and none runs here, or it does not answer.

    """
    bus = Bus.from_settings(reachable(settings), client_id="rfr-cli")
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(bus)
        except KafkaError as error:
            msg = f"{bus.options['bootstrap_servers']}: no Kafka answers there; is the house up? (`rfr up`)"
            raise Unavailable(msg) from error
        yield bus


@asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncIterator[opening.OpenLedger]:
    """Open the ledger of this installation.

    Raises:
        Unavailable: there is no installation in the data directory, or the database is away.

    """
    if settings.ledger.url is None and not settings.data_dir.is_dir():
        msg = f"{settings.data_dir}: no such data directory; `rfr up` makes one, --data-dir names another"
        raise Unavailable(msg)
    async with opening.ledger(settings) as ledger:
        yield ledger


def reachable(settings: Settings) -> Settings:
    """Return settings that name a cluster.

    Raises:
        Unavailable: none is given, and none runs here.

    """
    if settings.kafka.bootstrap_servers:
        return settings
    file = house_file(settings)
    if not file.exists():
        msg = f"no cluster: start one with `rfr --data-dir {settings.data_dir} up`, or give --bootstrap-servers"
        raise Unavailable(msg)
    return with_cluster(settings, json.loads(file.read_text())["bootstrap_servers"])


def with_cluster(settings: Settings, bootstrap_servers: str) -> Settings:
    """Return the same settings with this cluster."""
    kafka = settings.kafka.model_copy(update={"bootstrap_servers": bootstrap_servers})
    return settings.model_copy(update={"kafka": kafka})


def house_file(settings: Settings) -> Path:
    """Where a running house leaves its process id and its cluster's address."""
    return settings.data_dir / "house.json"
