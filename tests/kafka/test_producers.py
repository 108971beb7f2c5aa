"""The ways in on a real broker: every file arrives, whatever kills the process that hands it in."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import builders
import pytest

import topics
from producers import officer
from producers._handed_in import HandedIn
from producers._intake import CHUNK_FILES, Report, Verdict
from producers.officer import OfficerRequest
from rfr_stream.adapters.files import FileBlobs
from rfr_stream.events import ImageSubmitted, Submission
from rfr_stream.settings import KafkaSettings
from topics import admin
from topics.bus import Bus
from topics.embedded import EmbeddedKafka
from topics.tail import read_tail

FILES = 6 * CHUNK_FILES

SUBMITTER = """
import asyncio, sys
from pathlib import Path
from test_producers import hand_in

async def main() -> None:
    async for report in hand_in(Path(sys.argv[1]), sys.argv[2], sys.argv[3]):
        print(report.derived_id, flush=True)
        await asyncio.sleep(0.02)  # slow enough to be killed long before the end

asyncio.run(main())
"""


async def hand_in(data_dir: Path, case_ref: str, bootstrap_servers: str) -> AsyncIterator[Report]:
    """Yield the reports of handing in everything in the folder `in`, as the command line would."""
    request = OfficerRequest(submitted_by="officer-1", **builders.asked(case_ref=case_ref))
    bus = Bus(KafkaSettings(), bootstrap_servers=bootstrap_servers, client_id="test-producers")
    async with FileBlobs(data_dir / "blobs") as blobs, bus:
        with HandedIn(data_dir / "journal.sqlite") as journal:
            run = officer.submit([data_dir / "in"], request, blobs=blobs, publish=bus.publish, journal=journal)
            async for report in run:
                yield report


@pytest.fixture
async def address(broker: EmbeddedKafka) -> str:
    await admin.apply(KafkaSettings(bootstrap_servers=broker.bootstrap_servers))
    return broker.bootstrap_servers


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for number in range(FILES):
        image = b"\x89PNG\r\n\x1a\n" + b"%d" % number + bytes(20_000)
        (tmp_path / "in" / f"{number:04}.png").write_bytes(image)
    return tmp_path


def hand_in_and_be_killed(data_dir: Path, case_ref: str, address: str) -> list[str]:
    """Return the ids that a process of its own had acknowledged when it was killed, in its second chunk."""
    command = [sys.executable, "-c", SUBMITTER, str(data_dir), case_ref, address]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}  # noqa: TID251 - passed on
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parent, text=True, env=env) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline().strip() for _ in range(CHUNK_FILES + 1)]
        process.kill()
    return acknowledged


async def arrived(address: str, case_ref: str) -> list[Submission]:
    bus = Bus(KafkaSettings(), bootstrap_servers=address, client_id="test-producers")
    kept = await read_tail(bus.options, topics.SUBMISSIONS.name)
    events = [cast(ImageSubmitted, topics.SUBMISSIONS.decode(each.record)) for each in kept]
    return [event.submission for event in events if event.submission.case_ref == case_ref]


async def test_every_file_arrives_once_and_its_blob_is_there(address: str, data_dir: Path) -> None:
    reports = [report async for report in hand_in(data_dir, "case-once", address)]
    again = [report.outcome async for report in hand_in(data_dir, "case-once", address)]
    submissions = await arrived(address, "case-once")
    assert len(submissions) == FILES
    assert {submission.submission_id for submission in submissions} == {report.derived_id for report in reports}
    assert again == [Verdict.SKIPPED] * FILES
    async with FileBlobs(data_dir / "blobs") as blobs:
        assert all(isinstance(got, bytes) for got in await blobs.get([each.image for each in submissions]))


async def test_a_run_that_is_killed_goes_on_where_it_stopped(address: str, data_dir: Path) -> None:
    acknowledged = hand_in_and_be_killed(data_dir, "case-killed", address)
    first = {str(submission.submission_id) for submission in await arrived(address, "case-killed")}
    assert set(acknowledged) <= first, "acknowledged before it was durable"
    assert len(first) < FILES, "the kill came too late to prove anything"
    reports = [report async for report in hand_in(data_dir, "case-killed", address)]
    ids = [submission.submission_id for submission in await arrived(address, "case-killed")]
    assert set(ids) == {report.derived_id for report in reports}
    assert len(set(ids)) == FILES
    assert len(ids) - FILES <= CHUNK_FILES, "more than the chunk that was under way came twice"
