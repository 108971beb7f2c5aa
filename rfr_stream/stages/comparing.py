"""What two models make of the same probes: figures for people to judge by, and no verdict."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter

import numpy as np

from rfr_stream.events import GalleryName
from rfr_stream.ports import Gallery, References, Vision
from rfr_stream.stages._batch import Settled, in_batch, one_by_one, paired
from rfr_stream.stages._faces import Subject, bring_upright, find_faces
from rfr_stream.stages.searching import SearchRules, people_found


@dataclass(frozen=True, slots=True)
class Looked:
    """What one model made of a probe: the people on its list, best first, and how long the search took.

    `people` None: there was nothing to search with, such as no face or more than one.
    """

    people: tuple[str, ...] | None
    search_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Side:
    """What one model made of all probes."""

    unsearched_n: int
    mates_first_n: int
    mates_listed_n: int
    fnir: float | None
    """The share of mated probes on whose list their person is missing; None where nobody says who is who."""
    median_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models, the one that serves first. `listed_n`: probes for which either lists somebody."""

    probes_n: int
    mated_n: int
    listed_n: int
    same_first_n: int
    gained_n: int
    """Candidates, over all probes, that the second model alone lists."""
    lost_n: int
    before: Side
    after: Side


async def look(
    files: Sequence[bytes],
    *,
    vision: Vision,
    gallery: Gallery,
    references: References,
    galleries: tuple[GalleryName, ...],
    rules: SearchRules,
    min_score: float,
    now: datetime,
) -> list[Looked]:
    """Search probes with one model, each by itself, as the search stage would; nothing of them is kept."""
    pictures = await vision.codec.decode(files)
    found = await in_batch(lambda each: find_faces(vision.detector, min_score, each), pictures)
    alone = one_by_one(lambda row: Subject(row[0], row[1][0]) if len(row[1]) == 1 else None, paired(pictures, found))
    subjects = [each for each in alone if isinstance(each, Subject)]
    chips = await bring_upright(vision.aligner, subjects) if subjects else []
    templates = iter(await vision.embedder.embed([chip.pixels for chip in chips]) if chips else ())
    looked = []
    for each in alone:
        if each is None or isinstance(each, Settled):
            looked.append(Looked(None))
            continue
        began = perf_counter()
        (people,) = await people_found(
            next(templates)[np.newaxis],
            galleries,
            gallery=gallery,
            references=references,
            embedder=vision.embedder.identity,
            rules=rules,
            now=now,
        )
        looked.append(Looked(tuple(people), (perf_counter() - began) * 1e3))
    return looked


def compared(before: Sequence[Looked], after: Sequence[Looked], mates: Sequence[str | None]) -> Comparison:
    """Compare what two models made of the same probes; `mates`: whom each shows, where somebody says so."""
    pairs = [(one.people or (), other.people or ()) for one, other in zip(before, after, strict=True)]
    listed = [(one, other) for one, other in pairs if one or other]
    return Comparison(
        probes_n=len(pairs),
        mated_n=sum(mate is not None for mate in mates),
        listed_n=len(listed),
        same_first_n=sum(one[:1] == other[:1] for one, other in listed),
        gained_n=sum(len(set(other) - set(one)) for one, other in pairs),
        lost_n=sum(len(set(one) - set(other)) for one, other in pairs),
        before=_side(before, mates),
        after=_side(after, mates),
    )


def _side(looked: Sequence[Looked], mates: Sequence[str | None]) -> Side:
    mated = [(each.people or (), mate) for each, mate in zip(looked, mates, strict=True) if mate is not None]
    listed_n = sum(mate in people for people, mate in mated)
    took = [each.search_ms for each in looked if each.people is not None]
    return Side(
        unsearched_n=sum(each.people is None for each in looked),
        mates_first_n=sum(people[:1] == (mate,) for people, mate in mated),
        mates_listed_n=listed_n,
        fnir=1 - listed_n / len(mated) if mated else None,
        median_ms=statistics.median(took) if took else 0.0,
        p99_ms=float(np.percentile(took, 99)) if took else 0.0,
    )
