"""How soon is somebody asked whether a new reference shows one of those who are still sought?

    python benches/standing.py [--probes 1000] [--references 10000] [--rounds 15]

On real parts, all on this machine: a Kafka, SQLite, the embedded gallery, files; the models are fakes. In turns:

1. An ordinary submission's search, from its template on the topic to its list on the topic.
2. A standing search, from the reference being searchable to the list that people are asked about; the time for which
   a reference waits for others (`RFR_STANDING__GATHER_S`) is part of it, and told apart.

And what looking out costs enrolment: one batch with so many probes standing, against the same batch with none.
Exit code 1 where a standing search takes longer than 5 s.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Final
from uuid import uuid4

import numpy as np
import uvloop

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # a bench is a script: nobody else says where builders are
import builders
from lookout import Lookout, at_work, template_of

from rfr_stream import review, stages
from rfr_stream.adapters.memory.vision import DIMENSION, THRESHOLD, FakeEmbedder, PlantedFace
from rfr_stream.events import FaceEmbedded, GalleryName
from rfr_stream.ports import Change, Reference, Templates
from topics.embedded import EmbeddedKafka

TARGET_S: Final = 5.0
BATCH: Final = 32


def directions(n: int, seed: int) -> Templates:
    """Return float32 [n, 128], L2 norm 1: of nobody who is like anybody else."""
    noise = np.random.default_rng(seed).standard_normal((n, DIMENSION)).astype(np.float32)
    found: Templates = noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return found


async def let_stand(here: Lookout, probes: Sequence[FaceEmbedded]) -> None:
    """Let these stand whose own searches found nobody."""
    now = datetime.now(UTC)
    await here.ledger.stand(probes, now + timedelta(days=90))
    blanks = [builders.candidates_ready(probe.submission, people=()) for probe in probes]
    changes = [
        Change(blank.submission.submission_id, blank.event_id, review.candidates_ready(blank, now)) for blank in blanks
    ]
    await here.ledger.apply(changes)


async def ordinary_s(here: Lookout, number: int) -> float:
    """Return how long an ordinary search takes."""
    probe = await here.probe(directions(1, 10_000 + number)[0], f"ordinary-{number}")
    began = time.perf_counter()
    await here.bus.publish([probe])
    heard, _ = await here.list_of(probe.submission)
    return heard - began


async def standing_s(here: Lookout, number: int) -> float:
    """Return how long it takes from a reference being searchable to the list that shows it."""
    face = PlantedFace(f"somebody-{number}")
    probe = await here.probe(await template_of(face), f"standing-{number}")
    await let_stand(here, [probe])
    before = await here.gallery.size(GalleryName.DECEASED, embedder=FakeEmbedder.identity)
    await here.enrol(**{f"person-{number}": face})
    searchable = await here.searchable(before + 1)
    heard, found = await here.renewal_of(probe.submission.submission_id)
    if [each.person_id for each in found.candidates] != [f"person-{number}"]:
        sys.exit("a standing search showed somebody else: what was timed is not one")
    return heard - searchable


async def look_out_s(here: Lookout, rounds: int) -> float:
    """Return how long it takes to look out for a batch of references that meet nobody."""
    lookout = stages.Lookout(here.blobs, here.ledger)
    rules = stages.StandingRules(THRESHOLD, timedelta(seconds=1))
    held = [builders.reference(f"batch-{n}", reference_id=uuid4(), gallery=GalleryName.DECEASED) for n in range(BATCH)]
    await _look(lookout, held, rules)  # reads the templates, as the first batch of a process does
    took = [await _look(lookout, held, rules) for _ in range(rounds)]
    return median(took)


async def _look(lookout: stages.Lookout, held: Sequence[Reference], rules: stages.StandingRules) -> float:
    templates, now = directions(len(held), 7), datetime.now(UTC)
    began = time.perf_counter()
    await lookout.meet(held, templates, embedder=FakeEmbedder.identity, rules=rules, now=now)
    return time.perf_counter() - began


async def bench(probes_n: int, references_n: int, rounds: int) -> bool:
    """Print what was measured; return whether the target is met."""
    with tempfile.TemporaryDirectory(prefix="rfr-bench-") as folder:
        async with EmbeddedKafka(Path(folder)) as kafka, at_work(kafka.bootstrap_servers, Path(folder)) as here:
            ids = [uuid4() for _ in range(references_n)]
            await here.gallery.enrol(
                GalleryName.DECEASED, ids, directions(references_n, 1), embedder=FakeEmbedder.identity
            )
            none_s = await look_out_s(here, rounds)
            probes = [await here.probe(row, f"sought-{n}") for n, row in enumerate(directions(probes_n, 2))]
            await let_stand(here, probes)
            many_s = await look_out_s(here, rounds)
            await ordinary_s(here, -1), await standing_s(here, -1)  # the first of each opens connections and files
            pairs = [(await ordinary_s(here, n), await standing_s(here, n)) for n in range(rounds)]
            gather_s = here.settings.standing.gather_s
    print(
        f"looking out for {BATCH} references         {none_s * 1e3:.1f} ms with none standing, "
        f"{many_s * 1e3:.1f} ms with {probes_n}"
    )
    return report(pairs, gather_s)


def report(pairs: Sequence[tuple[float, float]], gather_s: float) -> bool:
    """Print the ratios."""
    ordinary, standing = (sorted(column) for column in zip(*pairs, strict=True))
    print(f"ordinary search, template to list       median {median(ordinary):.3f} s, slowest {ordinary[-1]:.3f} s")
    print(f"standing search, searchable to list     median {median(standing):.3f} s, slowest {standing[-1]:.3f} s")
    print(f"  of which a reference waits for others {gather_s:.3f} s")
    rest = median(standing) - gather_s
    print(f"  the rest is {rest / median(ordinary):.1f} x an ordinary search")
    met = bool(standing[-1] <= TARGET_S)
    print(f"target: the slowest within {TARGET_S:g} s: {'met' if met else 'MISSED'}")
    return met


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probes", type=int, default=1_000)
    parser.add_argument("--references", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        met = runner.run(bench(asked.probes, asked.references, asked.rounds))
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
