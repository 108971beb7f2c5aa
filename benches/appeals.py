"""What the public sends in after an appeal on television: what is grouped, that none is lost, and that nobody waits.

1. Copies of LFW and WIDER photographs (saved again, resized, cropped), and different photographs: what is grouped.
2. A burst of signed uploads at the public's door, while officers hand in at theirs: from an officer's upload to FACES,
   with the burst and without; and every acknowledged contribution in the ledger. Once with the public's door and stage
   in a process of their own, as in operation, and once with everything in one, as `rfr up` has it.
3. The same while endorsed pictures come on SUBMISSIONS as fast as a hundred officers could endorse.

    python benches/appeals.py [--pictures 300] [--burst 10000] [--officers 60]

Exit code 1 where a picture is lost, a different one grouped, or an officer's median upload takes twice as long.
"""

import argparse
import asyncio
import io
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import httpx
import numpy as np
from _data import TestData
from _doors import asking, running, tokens
from aiokafka import AIOKafkaConsumer
from PIL import Image

import topics
from producers.reception._signed import lines
from rfr_stream.adapters._grouping import MAX_BITS, Founders, copies
from rfr_stream.events import BlobRef, ImageSubmitted, Purpose, Source, Submission
from rfr_stream.ports import Contribution
from rfr_stream.reception import Door, digest_of, signature_of
from rfr_stream.settings import Settings, VisionSettings
from rfr_stream.vision.fingerprint import fingerprint
from topics import admin
from topics.bus import Bus
from topics.embedded import EmbeddedKafka

PORTALS_AT_ONCE: Final = 16
ENDORSED_A_SECOND: Final = 10
"""A hundred officers who decide one picture every ten seconds each."""
SLOWER: Final = 2.0
PATH: Final = "/appeal/images"

# --- what is grouped --------------------------------------------------------------------------------------------------
Change = Callable[[Image.Image], Image.Image]


def changes() -> Mapping[str, Change]:
    """Return what people do to a picture before they send it in."""
    at = random.Random(1)  # noqa: S311 - reproducible
    return {
        "saved again": lambda image: saved(image, 40),
        "half the size": lambda image: saved(image.reduce(2), 70),
        "a third, poorly": lambda image: saved(image.reduce(3), 30),
        **{f"cropped by {share:.0%}": cropping(share, at) for share in (0.05, 0.10, 0.15, 0.20, 0.30)},
    }


def saved(image: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Image.open(out).convert("RGB")


def cropping(share: float, at: random.Random) -> Change:
    def crop(image: Image.Image) -> Image.Image:
        width, height = (round(side * (1 - share)) for side in image.size)
        left, top = at.randint(0, image.width - width), at.randint(0, image.height - height)
        return saved(image.crop((left, top, left + width, top + height)), 75)

    return crop


def contribution(image: Image.Image, number: int) -> Contribution:
    nowhere = BlobRef(uri="memory://rfr/none", sha256="0" * 64, media_type="image/jpeg", bytes=1)
    seen = fingerprint(np.asarray(image))
    return Contribution(UUID(int=number), "appeal", "portal", nowhere, datetime.now(UTC), fingerprint=seen)


def grouping(files: Sequence[Path]) -> bool:
    """Print what is grouped; return whether no two different pictures are."""
    pictures = [Image.open(file).convert("RGB") for file in files]
    originals = [contribution(image, n) for n, image in enumerate(pictures)]
    print(f"Copies that join their original, of {len(files)} photographs, at {MAX_BITS} bits or less of 256:")
    for name, change in changes().items():
        joined = sum(is_joined(originals[n], change(image)) for n, image in enumerate(pictures))
        print(f"  {name:16} {joined / len(files):7.1%}")
    wrong = sum(len(copies(originals[n + 1 :], founders(originals[n : n + 1]))) for n in range(len(originals)))
    pairs = len(files) * (len(files) - 1) // 2
    print(f"Different photographs in one group: {wrong} of {pairs:,} pairs")
    return wrong == 0


def founders(said: Sequence[Contribution]) -> Founders:
    return Founders(
        [each.contribution_id for each in said], [each.fingerprint for each in said if each.fingerprint is not None]
    )


def is_joined(original: Contribution, copy: Image.Image) -> bool:
    return bool(copies([contribution(copy, 10**9)], founders([original])))


# --- the house --------------------------------------------------------------------------------------------------------
@asynccontextmanager
async def house(*, apart: bool) -> AsyncIterator[tuple[Settings, str, str]]:
    """Yield the settings of a house with null models, and where officers and portals hand in."""
    with tempfile.TemporaryDirectory(prefix="rfr-bench-") as folder:
        async with EmbeddedKafka(Path(folder)) as kafka:
            settings = Settings(data_dir=Path(folder), vision=VisionSettings(pack="null"))
            cluster = settings.kafka.model_copy(update={"bootstrap_servers": kafka.bootstrap_servers})
            await admin.apply(cluster)
            settings = settings.model_copy(update={"kafka": cluster})
            if not apart:
                with running(settings, "detection", "appeals", doors=tuple(Door)) as both:
                    yield settings, both.url, both.url
                return
            with (
                running(settings, "detection", doors=(Door.OFFICER,)) as police,
                running(settings, "appeals", doors=(Door.APPEAL,), name="public") as public,
            ):
                yield settings, police.url, public.url


# --- officers ---------------------------------------------------------------------------------------------------------
async def officers(settings: Settings, url: str, token: str, files: Sequence[bytes]) -> list[float]:
    """Hand in one image after another; return the seconds from each upload's begin to its face on FACES."""
    began: dict[str, float] = {}
    took: list[float] = []
    consumer = AIOKafkaConsumer(topics.FACES.name, bootstrap_servers=settings.kafka.bootstrap_servers)
    async with consumer, httpx.AsyncClient(base_url=url, timeout=60) as client:
        await consumer.seek_to_end()
        for file in files:
            start = time.perf_counter()
            headers = {"authorization": f"Bearer {token}"}
            answer = await client.post("/officer/submissions", files=asking(file), headers=headers)
            answer.raise_for_status()
            began[answer.json()["submissions"][0]["submission_id"]] = start
            while began:
                record = await asyncio.wait_for(consumer.getone(), 120)
                if record.key and (at := began.pop(record.key.decode(), None)):
                    took.append(time.perf_counter() - at)
    return took


# --- the public -------------------------------------------------------------------------------------------------------
async def burst(url: str, token: str, files: Sequence[bytes], count: int) -> set[str]:
    """Pass on so many pictures as fast as the door takes them; return what it has acknowledged."""
    acknowledged: set[str] = set()
    numbers = iter(range(count))

    async def portal(client: httpx.AsyncClient) -> None:
        for number in numbers:
            acknowledged.update(await until_taken(client, token, files[number % len(files)]))

    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        await asyncio.gather(*(portal(client) for _ in range(PORTALS_AT_ONCE)))
    return acknowledged


async def burst_from_elsewhere(url: str, token: str, count: int) -> set[str]:
    """Let a process of its own do that: what sends must not slow down what is measured."""
    command = [sys.executable, __file__, "--send", url, token, str(count)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, limit=2**27)
    said, _ = await process.communicate()
    return set(json.loads(said))


async def until_taken(client: httpx.AsyncClient, token: str, file: bytes) -> list[str]:
    while True:
        answer = await pass_on(client, token, file)
        if answer.status_code not in {429, 503}:
            answer.raise_for_status()
            taken: list[str] = answer.json()["contributions"]
            return taken
        await asyncio.sleep(random.uniform(0.2, 1))  # noqa: S311 - no secret


async def pass_on(client: httpx.AsyncClient, token: str, file: bytes) -> httpx.Response:
    said = f'{{"appeal_ref": "OP-TV/26", "portal_ref": "{uuid4()}"}}'
    parts: list[tuple[str, Any]] = [("request", (None, said, "application/json")), ("image", ("x", file, "image/jpeg"))]
    request = client.build_request("POST", PATH, files=parts)
    at, digest = str(int(time.time())), digest_of(sha256(request.read()).digest())
    signature = signature_of(token, lines(PATH, at, digest))
    request.headers.update(
        {
            "RFR-Client": Door.APPEAL,
            "RFR-Timestamp": at,
            "Content-Digest": digest,
            "RFR-Signature": signature,
        }
    )
    return await client.send(request)


async def in_ledger(settings: Settings, count: int) -> int:
    """Wait until as many contributions are in the ledger, or no more come; return how many are."""
    known, since = -1, time.monotonic()
    while known < count and time.monotonic() - since < 120:
        with closing(sqlite3.connect(settings.data_dir / "ledger.db")) as database:
            (now,) = database.execute("SELECT count(*) FROM contributions").fetchone()
        known, since = now, since if now == known else time.monotonic()
        await asyncio.sleep(1)
    return known


async def endorsed(settings: Settings, image: BlobRef) -> None:
    """Publish endorsed pictures for as long as this runs."""
    async with Bus.from_settings(settings, client_id="bench") as bus:
        number = 0
        while True:
            number += 1
            await bus.publish([as_endorsed(image, number)])
            await asyncio.sleep(1 / ENDORSED_A_SECOND)


def as_endorsed(image: BlobRef, number: int) -> ImageSubmitted:
    now, case = datetime.now(UTC), f"OP-TV/{number}"
    said = {"source": Source.PUBLIC_APPEAL, "purpose": Purpose.SUSPECT, "case_ref": case, "submitted_by": "officer-2"}
    id_ = Submission.derive(image_sha256=image.sha256, **said)  # type: ignore[arg-type]
    words = {"legal_basis": "investigation", "submitted_at": now, "image": image}
    submission = Submission.model_validate({"submission_id": id_, **said, **words})
    return ImageSubmitted(occurred_at=now, submission=submission)


# --- all of it --------------------------------------------------------------------------------------------------------
def report(name: str, took: Sequence[float], against: Sequence[float]) -> float:
    """Print how long officers waited; return the ratio of the medians."""
    ratio = float(np.median(took) / np.median(against))
    p50, p95 = np.percentile(took, [50, 95]) * 1000
    print(f"  {name:28} p50 {p50:7.0f} ms   p95 {p95:7.0f} ms   ratio {ratio:.2f}", flush=True)
    return ratio


async def bursts(files: Sequence[bytes], *, burst_n: int, officers_n: int, apart: bool) -> bool:
    unlike = iter(range(10**9))

    def fresh(count: int) -> list[bytes]:
        """Return so many files that nobody has handed in yet: a picture, and a number behind its end."""
        return [files[n % len(files)] + str(next(unlike)).encode() for n in range(count)]

    async with house(apart=apart) as (settings, url, public_url):
        known = await tokens(settings, Door.OFFICER, Door.APPEAL)
        await officers(settings, url, known[Door.OFFICER], fresh(5))
        where = "the public's door and stage in a process of their own" if apart else "all in one process"
        print(f"From an officer's upload to FACES, {officers_n} one after the other; {where}:")
        calm = await officers(settings, url, known[Door.OFFICER], fresh(officers_n))
        report("nothing else", calm, calm)
        began = time.perf_counter()
        sending = asyncio.create_task(burst_from_elsewhere(public_url, known[Door.APPEAL], burst_n))
        during = await officers(settings, url, known[Door.OFFICER], fresh(officers_n))
        was_during = not sending.done()
        ratio = report("during the burst", during, calm)
        acknowledged = await sending
        sent_s = time.perf_counter() - began
        kept = await in_ledger(settings, len(acknowledged))
        took_s = time.perf_counter() - began
        print(f"  burst: {len(acknowledged):,} acknowledged in {sent_s:.0f} s, grouped after {took_s:.0f} s")
        print(f"  lost: {len(acknowledged) - kept}; the burst lasted longer than the measurement: {was_during}")
        image = await an_image(settings)
        endorsing = asyncio.create_task(endorsed(settings, image))
        shared = await officers(settings, url, known[Door.OFFICER], fresh(officers_n))
        endorsing.cancel()
        shared_ratio = report(f"{ENDORSED_A_SECOND} endorsed a second", shared, calm)
    return kept == len(acknowledged) == burst_n and max(ratio, shared_ratio) <= SLOWER


async def an_image(settings: Settings) -> BlobRef:
    with closing(sqlite3.connect(settings.data_dir / "ledger.db")) as database:
        (image,) = database.execute("SELECT image FROM contributions LIMIT 1").fetchone()
    return BlobRef.model_validate_json(image)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--burst", type=int, default=10_000)
    parser.add_argument("--officers", type=int, default=60)
    parser.add_argument("--send", nargs=3, metavar=("URL", "TOKEN", "COUNT"), help="only send a burst")
    asked = parser.parse_args()
    data = TestData()
    if asked.send:
        url, token, count = asked.send
        files = [file.read_bytes() for file in data.lfw_pairs().files]
        print(json.dumps(sorted(asyncio.run(burst(url, token, files, int(count))))))
        return 0
    lfw, wider = list(data.lfw_pairs().files), [file for file, _ in data.wider()]
    third = asked.pictures // 3
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; everything on this machine")
    is_right = grouping([*lfw[: 2 * third], *wider[:third]]) if asked.pictures else True
    files = [file.read_bytes() for file in lfw]
    shapes = (True, False) if asked.burst else ()
    passages = [bursts(files, burst_n=asked.burst, officers_n=asked.officers, apart=each) for each in shapes]
    is_quick = all([asyncio.run(passage) for passage in passages])  # noqa: C419 - each, also after a slow one
    return 0 if is_right and is_quick else 1


if __name__ == "__main__":
    sys.exit(main())
