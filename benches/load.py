"""Uploads at four times the rate at which the chain works, from another process: what becomes of each of them.

Real photographs, each of another officer in another case, at the officers' door over loopback. First a few hundred, to
see how fast the chain works; then a minute at `--times` that rate, whatever the answers are. In the end every
acknowledged upload must have ended exactly once, and whoever was refused must have been told when to come again.

    python benches/load.py [--seconds 60] [--times 4] [--backlog 500] [--pack baseline]

Reception, chain, broker and what sends are a process each. Exit code 1 where an upload is lost or ends twice, where a
refusal is none of 429 with Retry-After, or where the memory of reception or chain grows on.
"""

import argparse
import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle
from statistics import median
from typing import Final

import httpx
import numpy as np
import psutil
import uvloop
from _data import TestData
from _doors import Running, asking, running, tokens
from pipeline import LFW_CENTRE, house, in_ledger, prepare

import topics
from rfr_stream.reception import Door
from rfr_stream.settings import Settings
from topics import Topic
from topics.bus import Bus
from topics.tail import read_tail

PATH: Final = "/officer/submissions"
AT_ONCE: Final = 64
"""Uploads in flight; whoever comes then waits with the sender, and is late."""
PATIENCE_S: Final = 900.0
MAX_GROWTH: Final = 0.05
"""Of the house's memory, from the second third of the load to the last; what fills caches fills in the first."""


@dataclass
class Told:
    """What the sender was told."""

    acknowledged: list[str] = field(default_factory=list)
    refused: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    """Answers that are neither."""
    took_s: list[float] = field(default_factory=list)
    """Of the acknowledged, from the first byte to the answer."""

    def note(self, answer: httpx.Response, took_s: float) -> None:
        if answer.status_code == 202:
            self.acknowledged += [each["submission_id"] for each in answer.json()["submissions"]]
            self.took_s.append(took_s)
        elif answer.status_code == 429 and answer.headers.get("retry-after", "").isdecimal():
            self.refused += 1
        else:
            self.wrong[f"HTTP {answer.status_code}"] += 1


@dataclass(frozen=True)
class Sender:
    """Hands in photographs, each in a case of its own."""

    url: str
    token: str
    images: Iterator[bytes]
    numbers: Iterator[int] = field(default_factory=count)

    async def paced(self, rate: float, seconds: float) -> Told:
        """Begin `rate` uploads a second, however the answers come."""
        told, places = Told(), asyncio.Semaphore(AT_ONCE)
        began = time.perf_counter()
        async with self._client() as client, asyncio.TaskGroup() as uploads:
            for number in range(int(rate * seconds)):
                await asyncio.sleep(began + number / rate - time.perf_counter())
                await places.acquire()
                upload = uploads.create_task(self._hand_in(client, told))
                upload.add_done_callback(lambda _: places.release())
        return told

    async def until(self, acknowledged: int) -> Told:
        """Hand in until so many are acknowledged."""
        told = Told()
        async with self._client() as client:

            async def one_by_one() -> None:
                while len(told.acknowledged) < acknowledged and not told.wrong:
                    await self._hand_in(client, told)

            await asyncio.gather(*(one_by_one() for _ in range(4)))
        if told.wrong:
            msg = f"the reception takes nothing: {dict(told.wrong)}"
            raise SystemExit(msg)
        return told

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, headers={"authorization": f"Bearer {self.token}"}, timeout=60)

    async def _hand_in(self, client: httpx.AsyncClient, told: Told) -> None:
        number = next(self.numbers)
        parts = asking(
            next(self.images),
            case_ref=f"LOAD/{number}",
            submitted_by=f"officer-{number}",
            subject={"x": LFW_CENTRE.x, "y": LFW_CENTRE.y},
        )
        began = time.perf_counter()
        try:
            answer = await client.post(PATH, files=parts)
        except httpx.TransportError as error:
            told.wrong[type(error).__name__] += 1
        else:
            told.note(answer, time.perf_counter() - began)


@dataclass(frozen=True)
class Ends:
    """How submissions have ended, by the bus alone."""

    settings: Settings

    async def of_each(self) -> Counter[str]:
        """Return how many different ends each submission has: a list of candidates, or word that there is none."""
        candidates = await self._said(topics.CANDIDATES)
        closed = {said for said in await self._said(topics.OUTCOMES) if said[0] not in {each[0] for each in candidates}}
        return Counter(submission_id for submission_id, _ in candidates | closed)

    async def wait_for(self, acknowledged: Sequence[str]) -> Counter[str]:
        """Wait until each has one, or until nothing more comes."""
        known, since = Counter[str](), time.perf_counter()
        while set(acknowledged) - set(known) and time.perf_counter() - since < PATIENCE_S / 10:
            now = await self.of_each()
            known, since = now, since if len(now) == len(known) else time.perf_counter()
            await asyncio.sleep(1)
        return known

    async def _said(self, topic: Topic) -> set[tuple[str, str]]:
        bus = Bus(self.settings.kafka, bootstrap_servers=str(self.settings.kafka.bootstrap_servers), client_id="bench")
        records = [kept.record for kept in await read_tail(bus.options, topic.name)]
        return {((record.key or b"").decode(), record.header("ce_id")) for record in records}


async def chain_rate(sender: Sender, settings: Settings, acknowledged: int) -> tuple[float, list[str]]:
    """Return submissions/s through the chain while others wait, and which these were."""
    told = await sender.until(acknowledged)
    marks: list[tuple[float, int]] = []
    while not marks or marks[-1][1] < acknowledged * 0.95:
        marks.append((time.perf_counter(), in_ledger(settings.data_dir / "ledger.db")))
        await asyncio.sleep(0.2)
    (began, first), (ended, last) = next(mark for mark in marks if mark[1] >= acknowledged * 0.2), marks[-1]
    return (last - first) / (ended - began), told.acknowledged


async def memory_mib(process: psutil.Process) -> list[float]:
    """Sample resident memory until cancelled."""
    samples: list[float] = []
    try:
        while True:
            samples.append(process.memory_info().rss / 2**20)
            await asyncio.sleep(0.25)
    except asyncio.CancelledError:
        return samples


def growth(samples: Sequence[float]) -> float:
    """Return by what share of itself memory has grown, from the second third to the last."""
    _, second, last = np.array_split(np.asarray(samples), 3)
    return float(median(last) / median(second) - 1)


async def loaded(settings: Settings, here: Mapping[str, Running], asked: argparse.Namespace, sender: Sender) -> bool:
    """Print what a minute of too much does; return whether it is what it must be."""
    ends = Ends(settings)
    rate, before = await chain_rate(sender, settings, asked.warm)
    say("the chain", f"{rate:.1f} submissions/s")
    sampling = {name: asyncio.create_task(memory_mib(psutil.Process(each.pid))) for name, each in here.items()}
    began = time.perf_counter()
    told = await sender.paced(rate * asked.times, asked.seconds)
    seconds = time.perf_counter() - began
    for sampler in sampling.values():
        sampler.cancel()
    samples = {name: await sampler for name, sampler in sampling.items()}
    acknowledged = before + told.acknowledged
    known = await ends.wait_for(acknowledged)
    lost, twice = len(set(acknowledged) - set(known)), sum(1 for each in known.values() if each > 1)
    is_flat = all(growth(each) <= MAX_GROWTH for each in samples.values())
    offered = len(told.acknowledged) + told.refused + told.wrong.total()
    p50, p99 = np.percentile(told.took_s, [50, 99]) * 1000
    say("uploads", f"{offered:,} in {seconds:.0f} s, {offered / seconds / rate:.2f} times the chain's rate")
    say("acknowledged", f"{len(told.acknowledged):,}, in p50 {p50:.0f} ms, p99 {p99:.0f} ms")
    say("refused", f"{told.refused:,} with 429 and Retry-After; otherwise {dict(told.wrong) or 'none'}")
    say("ends", f"none {lost}, two {twice}, of what nobody was told is here {len(set(known) - set(acknowledged))}")
    for name, each in samples.items():
        say(name, f"{max(each):.0f} MiB at most, {growth(each):+.1%} from the second third to the last")
    return is_flat and not (lost or twice or told.wrong) and told.refused > 0


def say(what: str, found: str) -> None:
    print(f"  {what:14} {found}", flush=True)


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--times", type=float, default=4)
    parser.add_argument("--backlog", type=int, default=500, help="how long the line may be; the house's own is 10,000")
    parser.add_argument("--warm", type=int, default=250, help="submissions to see how fast the chain works")
    parser.add_argument("--pack", default="baseline")
    asked = parser.parse_args()
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; everything on this machine; pack {asked.pack}")
    limits = {"RFR_INTAKE__BACKLOG": str(asked.backlog), "RFR_INTAKE__BACKLOG_EVERY_S": "1"}
    chain = ("detection", "embedding", "search", "enrolment", "review")
    images = [path.read_bytes() for path in sorted((TestData().test_data / "lfw_dev").rglob("*.jpg"))[:1_000]]
    async with house(asked.pack, batch_items=32) as settings:
        await prepare(settings, images, 0, LFW_CENTRE)
        known = await tokens(settings, Door.OFFICER)
        with running(settings, *chain) as stages, running(settings, doors=(Door.OFFICER,), name="1", **limits) as doors:
            sender = Sender(doors.url, known[Door.OFFICER], cycle(images))
            is_right = await loaded(settings, {"chain": stages, "reception": doors}, asked, sender)
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(uvloop.run(main()))
