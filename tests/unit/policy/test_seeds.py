"""When a known answer has its turn: at the share that policy sets, and never where somebody could count it out."""

from functools import cache
from itertools import pairwise
from uuid import UUID, uuid5

import builders
import pytest

from rfr_stream.policy import seeds_due

SEEDS = [uuid5(builders.submission().submission_id, str(n)) for n in range(60)]


@cache
def turns(share: float, real_n: int) -> list[int]:
    """Return after how many real cases each seed came, where they come one by one."""
    sown: list[UUID] = []
    came = []
    for n in range(real_n + 1):
        due = seeds_due(set(SEEDS) - set(sown), sown_n=len(sown), real_n=n, share=share)
        sown += due
        came += [n] * len(due)
    return came


class TestTheShare:
    @pytest.mark.parametrize(("share", "real_n", "expected"), [(0.05, 760, 40), (0.2, 172, 43), (0.5, 50, 50)])
    def test_it_is_met_exactly_at_the_end_of_each_run(self, share: float, real_n: int, expected: int) -> None:
        assert len(turns(share, real_n)) == expected

    def test_it_is_met_all_along_to_within_one(self) -> None:
        came = turns(0.05, 760)

        for n in range(761):
            assert abs(sum(place <= n for place in came) - n / 19) <= 1

    def test_all_at_once_come_as_many_as_one_by_one(self) -> None:
        assert len(seeds_due(SEEDS, sown_n=0, real_n=760, share=0.05)) == len(turns(0.05, 760))

    def test_no_share_is_no_seed(self) -> None:
        assert seeds_due(SEEDS, sown_n=0, real_n=1_000_000, share=0.0) == []

    def test_none_is_taken_back_where_there_were_more_before(self) -> None:
        assert seeds_due(SEEDS, sown_n=50, real_n=19, share=0.05) == []

    def test_there_may_be_fewer_than_wanted(self) -> None:
        assert seeds_due(SEEDS[:2], sown_n=0, real_n=760, share=0.05) == sorted(SEEDS[:2])


def test_whoever_counts_cases_does_not_know_which_is_a_seed() -> None:
    came = turns(0.05, 760)

    places = [n - run * 19 for run, n in enumerate(came)]
    gaps = {after - before for before, after in pairwise(came)}

    assert all(0 < place <= 19 for place in places)
    assert len(set(places)) > 15, "they come at every place of a run"
    assert len(gaps) > 15
