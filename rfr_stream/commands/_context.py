"""What every command shares: the settings, the terminal, and the way to a cluster that is running."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import typer
import uvloop
from rich.console import Console

from rfr_stream.settings import Settings
from topics.bus import Bus

T = TypeVar("T")

CONSOLE: Final = Console()
ERRORS: Final = Console(stderr=True)


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
    """Open the way to the running cluster."""
    async with Bus.from_settings(settings, client_id="rfr-cli") as bus:
        yield bus
