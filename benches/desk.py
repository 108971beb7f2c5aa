"""How fast do the desk's pages answer with 10,000 cases waiting, beside a bare route of the same framework?

    python benches/desk.py [--cases 10000] [--requests 200] [--databases sqlite postgresql]

Each page over real HTTP from a server in a process of its own: one connection, one request after the other, the median.
The baseline is a route of the same framework in the same server that answers with a constant, asked in turns with the
page. Needs PostgreSQL for its half.

Target, or the exit status is 1: the queue within 50 ms, a comparison page within 150 ms, both at the median.
"""

import argparse
import asyncio
import multiprocessing
import secrets
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import uvicorn
from fastapi.responses import PlainTextResponse

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import builders
import desk_pages
import postgresql

from producers.console._desk import Desk, digest_of, utc_now
from producers.console.app import build
from rfr_stream import stages
from rfr_stream.adapters.desk import SqlDesk
from rfr_stream.adapters.keys import KeyVerifier
from rfr_stream.adapters.ledger import SqlLedger
from rfr_stream.adapters.memory.blobs import MemoryBlobs
from rfr_stream.desk import Analysis, Seen, Suitability, Visibility
from rfr_stream.events import CandidatesReady, Component, Harm, Purpose
from rfr_stream.policy import Role
from rfr_stream.settings import DeskSettings

TARGETS_MS: Final = {"queue": 50.0, "comparison": 150.0}
BARE: Final = "/bare"
HARMS: Final = tuple(Harm)
PURPOSES: Final = (Purpose.SUSPECT, Purpose.MISSING)
BATCH: Final = 250
WARM_UP: Final = 20


@dataclass(frozen=True, slots=True)
class Prepared:
    """A database full of waiting cases, and one reviewer's session in it."""

    url: str
    token: str
    case: CandidatesReady


async def prepare(url: str, cases: int) -> Prepared:
    """Fill a database, and let a reviewer analyse one case."""
    token, now = secrets.token_hex(16), utc_now()
    async with SqlLedger(url) as ledger:
        desk = SqlDesk(ledger)
        for first in range(0, cases, BATCH):
            batch = [listed(number) for number in range(first, min(first + BATCH, cases))]
            await stages.hold(batch, ledger=ledger, now=now)
        await ledger.register(builders.reviewer("reviewer-a", competent_until=builders.MUCH_LATER.replace(year=2100)))
        await desk.accounts.add("reviewer-a", [Role.REVIEWER], now)
        await desk.accounts.enter("reviewer-a", digest_of(token), now)
        case = listed(0)
        await desk.examinations.analyse(case.submission.submission_id, "reviewer-a", analysis(), now)
    return Prepared(url, token, case)


def listed(number: int) -> CandidatesReady:
    """Return a list of ten candidates."""
    harm, purpose = HARMS[number % len(HARMS)], PURPOSES[number % len(PURPOSES)]
    return desk_pages.listed(f"{number}", people=10, harm=harm, purpose=purpose)


def analysis() -> Analysis:
    """Return an analysis that saw everything clearly."""
    seen = tuple(Seen(component=each, visibility=Visibility.CLEAR) for each in Component)
    return Analysis(suitability=Suitability.SUITABLE, seen=seen)


def serve(url: str, port: int) -> None:
    """Run the desk, and beside it a route that does nothing."""

    async def run() -> None:
        async with SqlLedger(url) as ledger:
            settings = DeskSettings(public_url=f"http://127.0.0.1:{port}")
            store, blobs = SqlDesk(ledger), MemoryBlobs()

            async def publish(_: object) -> None: ...

            app = build(
                Desk(settings, ledger, store, blobs, KeyVerifier(settings.public_url), publish), per_minute=10**6
            )

            async def bare() -> PlainTextResponse:
                return PlainTextResponse("bare")

            app.add_api_route(BARE, bare)
            await uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off")).serve()

    asyncio.run(run())


@contextmanager
def served(url: str) -> Iterator[str]:
    """Serve the desk in a process of its own; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(url, port), daemon=True)
    server.start()
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while not answers(address):
        if time.monotonic() > deadline:
            msg = "the desk did not start"
            raise RuntimeError(msg)
        time.sleep(0.1)
    try:
        yield address
    finally:
        server.terminate()
        server.join()


def answers(address: str) -> bool:
    """Whether somebody listens there."""
    try:
        return httpx.get(address + BARE).is_success
    except httpx.TransportError:
        return False


def medians(address: str, prepared: Prepared, requests: int) -> dict[str, float]:
    """Return the median of each page in milliseconds, the pages asked in turns."""
    pages = {
        "bare": BARE,
        "queue": "/queue",
        "comparison": f"/cases/{prepared.case.submission.submission_id}/comparison",
    }
    taken: dict[str, list[float]] = {name: [] for name in pages}
    with httpx.Client(base_url=address, cookies={"rfr": prepared.token}, timeout=60) as client:
        for turn in range(requests + WARM_UP):
            for name, path in pages.items():
                begun = time.perf_counter()
                answer = client.get(path)
                if turn >= WARM_UP:
                    taken[name].append((time.perf_counter() - begun) * 1_000)
                answer.raise_for_status()
    return {name: statistics.median(each) for name, each in taken.items()}


def measure(database: str, cases: int, requests: int) -> bool:
    """Print one database's figures; return whether they are within the targets."""
    with ExitStack() as stack:
        if database == "sqlite":
            url = f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory())}/ledger.db"
        else:
            url = stack.enter_context(postgresql.running()).fresh()
        prepared = asyncio.run(prepare(url, cases))
        found = medians(stack.enter_context(served(url)), prepared, requests)
    for name, target in TARGETS_MS.items():
        beside = f"{found[name] / found['bare']:5.1f} x bare ({found['bare']:.1f} ms)"
        print(f"{database:11} {name:11} {found[name]:7.1f} ms   {beside}   aim {target:g} ms")
    return all(found[name] <= target for name, target in TARGETS_MS.items())


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    asked = parser.parse_args()
    print(f"{asked.cases} cases waiting, {asked.requests} requests of each page")
    met = [measure(each, asked.cases, asked.requests) for each in asked.databases]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
