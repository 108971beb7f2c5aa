"""What two models make of the same probes: the figures, on sets whose answer is known."""

import builders
import pytest
from house import House

from rfr_stream import stages
from rfr_stream.adapters.memory.vision import PlantedFace, plant_file
from rfr_stream.events import GalleryName
from rfr_stream.stages import Looked

ANNA, BERT = PlantedFace("anna"), PlantedFace("bert", x=120)


def listed(*people: str, ms: float = 1.0) -> Looked:
    return Looked(people, ms)


NOTHING = Looked(None)


def test_what_is_gained_and_lost_is_counted_over_all_lists() -> None:
    before = [listed("a", "b"), listed("c"), listed(), listed("e")]
    after = [listed("a", "x", "y"), listed("c"), listed("d"), NOTHING]
    figures = stages.compared(before, after, [None] * 4)
    assert (figures.gained_n, figures.lost_n) == (3, 2)  # x, y, d; b, e


def test_who_comes_first_is_compared_where_either_lists_somebody() -> None:
    before = [listed("a", "b"), listed("b", "a"), listed(), listed("e"), listed()]
    after = [listed("a"), listed("a", "b"), listed("d"), NOTHING, listed()]
    figures = stages.compared(before, after, [None] * 5)
    assert (figures.probes_n, figures.listed_n, figures.same_first_n) == (5, 4, 1)


def test_a_mate_is_missed_unless_listed_and_a_probe_without_a_face_misses_too() -> None:
    before = [listed("a", "b"), listed("b", "a"), listed("z"), listed("e")]
    after = [listed("b"), listed("a"), listed("c"), NOTHING]
    figures = stages.compared(before, after, ["a", "a", "c", None])
    assert figures.mated_n == 3
    assert (figures.before.mates_first_n, figures.before.mates_listed_n) == (1, 2)
    assert (figures.after.mates_first_n, figures.after.mates_listed_n) == (2, 2)
    assert figures.before.fnir == pytest.approx(1 / 3)
    missed = stages.compared([NOTHING], [listed("a")], ["a"])
    assert (missed.before.fnir, missed.after.fnir, missed.before.unsearched_n) == (1, 0, 1)


def test_where_nobody_says_who_is_who_there_is_no_rate() -> None:
    figures = stages.compared([listed("a")], [listed("a")], [None])
    assert (figures.mated_n, figures.before.fnir, figures.after.fnir) == (0, None, None)


def test_search_times_are_those_of_probes_that_were_searched() -> None:
    before = [listed(ms=each) for each in (1.0, 2.0, 30.0)]
    figures = stages.compared(before, [NOTHING] * 3, [None] * 3)
    assert figures.before.median_ms == 2.0
    assert 29 < figures.before.p99_ms <= 30
    assert (figures.after.median_ms, figures.after.p99_ms, figures.after.unsearched_n) == (0, 0, 3)


async def test_a_probe_finds_whom_a_search_would_list_and_leaves_no_trace() -> None:
    here = House()
    await here.enrol(await here.referenced(ANNA, person_id="anna"))
    await here.enrol(await here.referenced(BERT, person_id="bert", hold=builders.hold_record(restricted=True)))
    kept = dict(here.blobs.__dict__)
    files = [plant_file(ANNA), b"no image", plant_file(ANNA, BERT), plant_file(), plant_file(BERT)]
    looked = await stages.look(
        files,
        vision=here.vision,
        gallery=here.gallery,
        references=here.ledger,
        galleries=(GalleryName.CUSTODY,),
        rules=stages.SearchRules(0.5, 3, 2),
        min_score=0.5,
        now=builders.NOW,
    )
    assert [each.people for each in looked] == [("anna",), None, None, None, ()]
    assert here.blobs.__dict__ == kept
