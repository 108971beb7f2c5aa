"""The reference subscriber on a real broker: whatever comes, and however often it is killed, each lead is kept once."""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import builders
import pytest
from chain import Chain, running

import topics
from rfr_stream.events import IdentificationConfirmed, LeadAcknowledged
from topics import Record
from topics.bus import Bus
from topics.tail import read_tail

CASE_SYSTEM: Final = Path(__file__).parents[2] / "examples" / "case_system.py"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with running(tmp_path_factory.mktemp("subscriber")) as (chain, _):
        yield chain


@contextlib.contextmanager
def subscriber(chain: Chain, database: Path) -> Iterator["subprocess.Popen[str]"]:
    """The case system's process; killed in the end, as a power cut would."""
    servers = chain.settings.kafka.bootstrap_servers or ""
    command = [sys.executable, str(CASE_SYSTEM), "--bootstrap-servers", servers, "--database", str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: "subprocess.Popen[str]", n: int) -> list[str]:
    """Return the next lines that it says, one for each record."""
    assert process.stdout
    return [process.stdout.readline().strip() for _ in range(n)]


def kept(database: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(database)) as store:
        return [ce_id for (ce_id,) in store.execute("SELECT ce_id FROM leads ORDER BY ce_id")]


async def send(chain: Chain, *records: Record) -> None:
    async with Bus.from_settings(chain.settings, client_id="test") as bus:
        await bus.send(records)


def lead(number: int) -> IdentificationConfirmed:
    return builders.identification_confirmed(builders.candidates_ready(builders.submission(case_ref=f"case-{number}")))


def mutilated(record: Record, old: bytes, new: bytes) -> Record:
    return replace(record, value=(record.value or b"").replace(old, new))


async def test_each_lead_is_kept_once_though_it_is_repeated_and_the_subscriber_killed(
    chain: Chain, tmp_path: Path
) -> None:
    database, leads = tmp_path / "leads.db", [lead(number) for number in range(60)]
    records = [topics.IDENTIFICATIONS.encode(each) for each in leads for _ in range(2)]
    good = records[0]
    bad = (
        mutilated(good, b'"requires_corroboration":true', b'"requires_corroboration":false'),
        mutilated(good, b'"INTELLIGENCE_LEAD"', b'"IDENTIFIED"'),
        topics.IDENTIFICATIONS.encode(lead(99).model_copy(update={"demo": True})),
        replace(good, value=b"not JSON"),
        replace(good, value=b"[]"),
        replace(good, headers=(("ce_type", None),)),  # type: ignore[arg-type] # null is legal in Kafka
        replace(good, headers=()),
    )
    await send(chain, *records[:80], *bad, *records[80:])

    for _ in range(2):
        with subscriber(chain, database) as process:
            await asyncio.to_thread(said, process, 25)  # then it is killed, with some records kept and not committed
    with subscriber(chain, database) as process:
        async with asyncio.timeout(60):
            while len(kept(database)) < len(leads):  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.1)
        await send(chain, topics.IDENTIFICATIONS.encode(lead(1_000)))
        assert await until_said(process, "kept", str(lead(1_000).event_id))

    everything = sorted(str(each.event_id) for each in [*leads, lead(1_000)])
    assert kept(database) == everything
    assert await acknowledged(chain) == everything


async def acknowledged(chain: Chain) -> list[str]:
    """Return the `ce_id`s that the house can read as acknowledged, each once."""
    records = await read_tail(chain.options, topics.ACKNOWLEDGEMENTS.name)
    words = [topics.ACKNOWLEDGEMENTS.decode(kept.record) for kept in records]
    return sorted({str(said.acknowledged) for said in words if isinstance(said, LeadAcknowledged)})


async def until_said(process: "subprocess.Popen[str]", *words: str) -> bool:
    async with asyncio.timeout(30):
        while True:
            (line,) = await asyncio.to_thread(said, process, 1)
            assert line, "it has ended"
            if all(word in line for word in words):
                return True
