"""`rfr demo`: the main job from end to end on this machine, with every event marked as a demonstration's."""

import asyncio
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from faststream import FastStream
from rich.panel import Panel as Framed

from consumers import together
from rfr_stream import telemetry
from rfr_stream.adapters import opening
from rfr_stream.commands._board import FOLLOWED, Board
from rfr_stream.commands._context import CONSOLE, open_bus, run, say, settings_of
from rfr_stream.commands._panel import FIRST_TWO, THIRD, Choose, Panel, ask, choose_first
from rfr_stream.commands._script import Script, script_of
from rfr_stream.commands.house import broker
from rfr_stream.errors import RfrError
from rfr_stream.events import CAVEAT, CandidatesReady, Outcome
from rfr_stream.ports import CaseState, Ledger
from rfr_stream.settings import Settings
from topics.bus import Bus
from topics.tail import follow

PATIENCE_S: Final = 120.0
LOG: Final = "rfr.log"


def demo(
    context: typer.Context,
    *,
    scripted: Annotated[bool, typer.Option("--scripted", help="two demo reviewers decide; no questions")] = False,
    gallery: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="one folder per person")] = None,
    probes: Annotated[Path | None, typer.Option(exists=True, help="images of whom to search for")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="keep the demonstration's data afterwards")] = False,
) -> None:
    """Run the main job: broker, stages, a gallery, images from three doors, two people, one identification."""
    if (gallery is None) != (probes is None):
        msg = "your own pictures: give both, --gallery and --probes"
        raise typer.BadParameter(msg)
    asks = not scripted and sys.stdin.isatty() and CONSOLE.is_terminal
    with _folder(keep=keep) as folder:
        settings = settings_of(context).model_copy(update={"demo": True, "data_dir": folder})
        telemetry.configure(file=folder / LOG)
        script = script_of(folder / "pictures", gallery=gallery, probes=probes)
        run(_play(settings, script, choose=ask if asks else choose_first))


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    """Lend a data directory of the demonstration's own; after a failure it is kept, for its log."""
    folder = Path(tempfile.mkdtemp(prefix="rfr-demo-"))
    try:
        yield folder
    except (RfrError, OSError):
        keep = True
        raise
    finally:
        if keep:
            say(f"Kept: {folder} (what the stages said: {LOG})")
        else:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Play:
    """What every act of the demonstration needs."""

    settings: Settings
    script: Script
    bus: Bus
    ledger: Ledger
    board: Board = field(default_factory=Board)


async def _play(settings: Settings, script: Script, *, choose: Choose) -> None:
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(broker(settings))
        stages = await stack.enter_async_context(_at_work(together.create_app(running)))
        bus = await stack.enter_async_context(open_bus(running))
        ledger = await stack.enter_async_context(opening.ledger(running))
        play = _Play(running, script, bus, ledger)
        await stack.enter_async_context(_watched(play))
        await _beside(stages, _acts(play, choose))


async def _acts(play: _Play, choose: Choose) -> None:
    await _enrol(play)
    await _submit(play)
    await _review(play, choose)
    _conclude(play.board)


@asynccontextmanager
async def _at_work(app: FastStream) -> AsyncIterator["asyncio.Task[None]"]:
    """Run every stage in this process."""
    stages = asyncio.create_task(_serve(app))
    try:
        yield stages
    finally:
        app.exit()
        await asyncio.wait({stages})


async def _serve(app: FastStream) -> None:
    try:
        await app.run()
    except SystemExit:
        msg = f"a stage failed and stopped the house; {LOG} says which and where"
        raise RfrError(msg) from None


async def _beside(stages: "asyncio.Task[None]", acts: Coroutine[Any, Any, None]) -> None:
    """Let the acts go on for as long as the stages run.

    Raises:
        RfrError: a stage failed.

        Abort: Ctrl-C, which the stages take as their sign to finish.

    """
    story = asyncio.create_task(acts)
    try:
        await asyncio.wait({story, stages}, return_when=asyncio.FIRST_COMPLETED)
        if story.done():
            await story
            return
        await stages
        raise typer.Abort
    finally:
        story.cancel()
        await asyncio.wait({story})


@asynccontextmanager
async def _watched(play: _Play) -> AsyncIterator[None]:
    """Say what passes on the topics, meanwhile."""
    watching = asyncio.create_task(_follow(play))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait({watching})


async def _follow(play: _Play) -> None:
    async for kept in follow(play.bus.options, FOLLOWED, from_start=True):
        if said := play.board.see(kept):
            say(said)


async def _enrol(play: _Play) -> None:
    """Enrol the gallery and wait until its references can be found."""
    with CONSOLE.status("Loading the models, and enrolling the gallery ..."):
        async with opening.blobs(play.settings) as blobs:
            ids = await play.script.enrol(blobs, play.bus.publish)

        refused = play.board.refused

        async def settled() -> bool:
            held = await play.ledger.held(ids)
            return all(each in held or each in refused for each in ids)

        await _until(settled, f"all {len(ids)} references are enrolled, or refused")
    enrolled = [each for each in ids if each not in refused]
    say(f"Gallery: references enrolled: {len(enrolled)}, of people: {len(play.script.people)}.")
    for reason, n in Counter(refused[each] for each in ids if each in refused).items():
        say(f"         {n} refused: {reason}")


async def _submit(play: _Play) -> None:
    """Send the probes through their doors and wait until each has candidates or an outcome."""
    async with opening.blobs(play.settings) as blobs:
        sent = [str(each) for each in await play.script.submit(blobs, play.bus.publish)]
    doors = sorted({probe.door for probe in play.script.probes})
    say(f"{len(sent)} images submitted, through these doors: {', '.join(doors)}.")
    lines = play.board.lines
    await _until(lambda: all(key in lines and lines[key].settled for key in sent), "every submission has an outcome")
    CONSOLE.print(play.board.table())


async def _review(play: _Play, choose: Choose) -> None:
    """Let two people decide about the first case that is held, and a third if they disagree; wait for what comes."""
    cases = await play.ledger.cases([CaseState.AWAITING_REVIEW])
    held = [case.candidates for case in cases if case.candidates]
    if not held:
        msg = "no case is held for review: the probes found nobody in this gallery"
        raise RfrError(msg)
    CONSOLE.print(Framed(f"{len(held)} held for review: two people must decide. This is the first.", style="bold"))
    found = held[0]
    panel = Panel(choose, play.settings, play.bus, play.ledger)
    await panel.hear(found, FIRST_TWO)
    if await _do_disagree(play, found):
        say("The two do not agree: a third person looks, and is told nothing of what they said.")
        await panel.hear(found, THIRD)
    line = play.board.lines[found.key]
    await _until(lambda: line.outcome is not None, "the review stage counts the decisions")
    if line.outcome is Outcome.CONFIRMED:
        await _until(lambda: bool(play.board.confirmed), "the identification is on its topic")


async def _do_disagree(play: _Play, found: CandidatesReady) -> bool:
    """Wait until both were counted."""
    counting = {CaseState.AWAITING_REVIEW, CaseState.AWAITING_SECOND_REVIEW}

    async def state() -> CaseState | None:
        case = await play.ledger.case(found.submission.submission_id)
        return case.state if case else None

    async def counted() -> bool:
        return await state() not in counting

    await _until(counted, "the review stage counts the decisions")
    return await state() is CaseState.AWAITING_THIRD_REVIEW


def _conclude(board: Board) -> None:
    for event in board.confirmed:
        CONSOLE.print(
            Framed("Two people named the same person. What is released is a lead, and says so:", style="bold")
        )
        CONSOLE.print_json(event.model_dump_json())
    if not board.confirmed:
        CONSOLE.print(Framed("The reviewers did not agree on one person: nothing was released.", style="bold"))
    CONSOLE.print(board.table())
    CONSOLE.print(board.latencies())
    CONSOLE.print(CAVEAT, style="italic")


async def _until(condition: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    """Wait until something holds; the stages run meanwhile.

    Raises:
        RfrError: it did not within `PATIENCE_S`.

    """
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        if asyncio.get_running_loop().time() > deadline:
            msg = f"waited {PATIENCE_S:.0f} s in vain until {what}"
            raise RfrError(msg)
        await asyncio.sleep(0.1)
