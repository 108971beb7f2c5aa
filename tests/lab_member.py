"""A stage in a process of its own, for the tests that kill it: `python lab_member.py '{...}'`, a `lab.Job`."""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import lab
import uvloop

from consumers._envelope import Result
from consumers._runtime import serve, subscribe
from rfr_stream.events import ReviewDecided
from rfr_stream.settings import KafkaSettings, Settings
from topics.bus import Bus


async def main(job: lab.Job) -> None:
    """Serve the stage until told to end."""
    topic = lab.topic_named(job.noun)
    bus = Bus(KafkaSettings(), bootstrap_servers=job.servers, client_id="member")

    async def slowly(events: Sequence[ReviewDecided]) -> Sequence[Result]:
        await asyncio.sleep(job.work_s)
        return await lab.answer(events)

    async def one(event: ReviewDecided) -> Result:
        return (await slowly([event]))[0]

    where = lab.Lab(job.servers, job.folder, topic)
    if job.by_subscription:
        settings = Settings(data_dir=job.folder, instance=job.instance)
        subscribe(bus, topic, where.group, one, settings=settings, membership=lab.BRIEF)
        await serve(bus).run()
    else:
        labs = [where] + ([lab.Lab(job.servers, job.folder, lab.topic_named(job.beside))] if job.beside else [])
        pipelines = [each.pipeline(bus, slowly, instance=job.instance, batch_items=job.batch_items) for each in labs]
        await serve(bus, tasks=pipelines).run()


if __name__ == "__main__":
    uvloop.run(main(lab.Job.model_validate_json(sys.argv[1])))
