"""`rfr demo`: the main job from end to end on this machine, with every event marked as a demonstration's."""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.live import Live
from rich.panel import Panel
from rich.prompt import Prompt

from consumers import together
from producers import console as reviewing
from rfr_stream.adapters import keys, opening
from rfr_stream.commands._board import FOLLOWED, Board
from rfr_stream.commands._context import CONSOLE, open_bus, run, settings_of
from rfr_stream.commands._script import Script, script_of
from rfr_stream.commands.deciding import print_case, shuffled
from rfr_stream.commands.house import broker
from rfr_stream.errors import RfrError
from rfr_stream.events import CAVEAT, Support
from rfr_stream.ports import Case, CaseState, Ledger, Reviewer
from rfr_stream.settings import Settings
from topics.bus import Bus
from topics.tail import follow

PATIENCE_S: Final = 120.0
REVIEWERS: Final = ("demo-reviewer-a", "demo-reviewer-b")


def demo(
    context: typer.Context,
    *,
    scripted: Annotated[bool, typer.Option("--scripted", help="two demo reviewers decide; no questions")] = False,
    gallery: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="one folder per person")] = None,
    probes: Annotated[Path | None, typer.Option(exists=True, help="images to search for")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="keep the demonstration's data afterwards")] = False,
) -> None:
    """Run the main job: broker, stages, a gallery, images from three doors, two people, one identification."""
    folder = Path(tempfile.mkdtemp(prefix="rfr-demo-"))
    settings = settings_of(context).model_copy(update={"demo": True, "data_dir": folder})
    asks = not scripted and sys.stdin.isatty() and CONSOLE.is_terminal
    try:
        script = script_of(folder / "pictures", gallery=gallery, probes=probes)
        run(_play(settings, script, decide=_ask if asks else _decide_alone))
    finally:
        if keep:
            CONSOLE.print(f"Kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


Decide = Callable[[Settings, Case, str], Awaitable[str | None]]
"""Shows a case to one reviewer and returns the person they name, or None for none of these."""


async def _play(settings: Settings, script: Script, *, decide: Decide) -> None:
    with CONSOLE.status("Starting a real Apache Kafka (the first time, Maven brings it)"):
        house = broker(settings)
        running = await house.__aenter__()
    try:
        async with _stages(running), open_bus(running) as bus, opening.ledger(running) as ledger:
            board = Board()
            watching = asyncio.create_task(_follow(board, bus))
            await _enrol(running, script, bus, ledger)
            await _submit(running, script, bus, board)
            await _review(running, bus, ledger, decide)
            await _until(lambda: bool(board.confirmed), "the identification is on its topic", required=False)
            watching.cancel()
            _conclude(board)
    finally:
        await asyncio.shield(house.__aexit__(None, None, None))


@asynccontextmanager
async def _stages(settings: Settings) -> AsyncIterator[None]:
    """Run every stage in this process."""
    app = together.create_app(settings)
    running = asyncio.create_task(app.run())
    try:
        yield
    finally:
        app.exit()
        with suppress(asyncio.CancelledError):
            await running


async def _follow(board: Board, bus: Bus) -> None:
    async for record in follow(bus.options, FOLLOWED, from_start=True):
        board.see(record)


async def _enrol(settings: Settings, script: Script, bus: Bus, ledger: Ledger) -> None:
    """Enrol the gallery and wait until its references can be found."""
    async with opening.blobs(settings) as blobs:
        ids = await script.enrol(blobs, bus.publish)
    CONSOLE.print(f"Gallery: {len(ids)} references submitted for enrolment.")

    async def held() -> bool:
        return len(await ledger.held(ids)) == len(ids)

    await _until(held, "the gallery is enrolled")


async def _submit(settings: Settings, script: Script, bus: Bus, board: Board) -> None:
    """Send the probes through all three doors and watch them advance."""
    async with opening.blobs(settings) as blobs:
        sent = await script.submit(blobs, bus.publish)
    CONSOLE.print(f"{len(sent)} images submitted: an officer's, the public's, the missing persons unit's.")

    def all_known() -> bool:
        lines = board.lines
        return all(key in lines and lines[key].standing != "on its way" for key in map(str, sent))

    with Live(get_renderable=board.table, console=CONSOLE, refresh_per_second=8):
        await _until(all_known, "every submission has candidates or an outcome")


async def _review(settings: Settings, bus: Bus, ledger: Ledger, decide: Decide) -> None:
    """Let two people decide about the first case that is held."""
    held = await ledger.cases([CaseState.AWAITING_REVIEW])
    CONSOLE.print(Panel(f"{len(held)} cases are held for review: two people must decide.", style="bold"))
    if not held:
        msg = "no case is held for review; the probes found nobody in this gallery"
        raise RfrError(msg)
    signers = {name: keys.generate() for name in REVIEWERS}
    for name, key in signers.items():
        await ledger.register(Reviewer(name, keys.public_text(key), datetime.now(UTC) + timedelta(hours=1)))
    for name, key in signers.items():
        person = await decide(settings, held[0], name)
        await _sign(bus, held[0], reviewer_id=name, key=key, person_id=person)


async def _sign(bus: Bus, case: Case, *, reviewer_id: str, key: Ed25519PrivateKey, person_id: str | None) -> None:
    if case.candidates is None:
        return
    judgement = reviewing.Judgement(
        reviewer_id=reviewer_id,
        support=Support.MODERATE_SAME if person_id else Support.MODERATE_DIFFERENT,
        person_id=person_id,
        similarities=("shape of the brow and of the mouth",) if person_id else (),
        dissimilarities=("lighting and compression, explained by the camera",),
    )
    await reviewing.decide(case.candidates, judgement, sign=partial(keys.sign_bytes, key), publish=bus.publish)


async def _ask(settings: Settings, case: Case, reviewer: str) -> str | None:
    """Let the person at the terminal be this reviewer."""
    CONSOLE.rule(f"You are {reviewer}. Open the probe, then each candidate.")
    print_case(settings, case, reviewer)
    order = shuffled(case, reviewer)
    choices = ["none", *(str(number) for number in range(1, len(order) + 1))]
    answer = await asyncio.to_thread(Prompt.ask, "Who may this be?", choices=choices, default="none", console=CONSOLE)
    return None if answer == "none" else order[int(answer) - 1].person_id


async def _decide_alone(settings: Settings, case: Case, reviewer: str) -> str | None:
    """Decide as a demonstration's reviewer, who looks at nothing: the candidate of the shortest list."""
    print_case(settings, case, reviewer)
    return case.candidates.candidates[0].person_id if case.candidates else None


def _conclude(board: Board) -> None:
    CONSOLE.print(board.table())
    for event in board.confirmed:
        CONSOLE.print(Panel("An identification was confirmed by two people. It is a lead, and says so:", style="bold"))
        CONSOLE.print_json(event.model_dump_json())
    if not board.confirmed:
        CONSOLE.print("The two did not name the same person: nothing was released.")
    CONSOLE.print(board.latencies())
    CONSOLE.print(CAVEAT, style="italic")


async def _until(condition: Callable[[], bool | Awaitable[bool]], what: str, *, required: bool = True) -> None:
    """Wait until something holds; the stages run meanwhile."""
    deadline = asyncio.get_running_loop().time() + (PATIENCE_S if required else 10.0)
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return
        if asyncio.get_running_loop().time() > deadline:
            if required:
                msg = f"waited {PATIENCE_S:.0f} s in vain until {what}"
                raise RfrError(msg)
            return
        await asyncio.sleep(0.1)
