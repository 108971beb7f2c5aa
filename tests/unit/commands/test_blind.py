"""How a case is shown: nothing that tells what the machine thinks of whom."""

from statistics import correlation

import builders
import pytest

from rfr_stream.commands import _blind
from rfr_stream.events import CAVEAT, CandidatesReady

PEOPLE = 10


def list_of(number: int = 0) -> CandidatesReady:
    """Return a list of its own."""
    people = [f"person-{place}" for place in range(1, PEOPLE + 1)]
    return builders.candidates_ready(builders.submission(f"probe-{number}"), people=people)


def test_a_reviewer_sees_the_same_order_every_time() -> None:
    assert _blind.shuffled(list_of(), "r-ash") == _blind.shuffled(list_of(), "r-ash")


def test_two_reviewers_see_different_orders() -> None:
    orders = {tuple(each.person_id for each in _blind.shuffled(list_of(), f"r-{name}")) for name in range(20)}
    assert len(orders) == 20


def test_everybody_of_the_list_is_shown_once() -> None:
    shown = [candidate.person_id for candidate in _blind.shuffled(list_of(), "r-ash")]
    assert sorted(shown) == sorted(f"person-{number}" for number in range(1, PEOPLE + 1))


def test_where_somebody_is_shown_says_nothing_about_their_rank() -> None:
    places: list[int] = []
    ranks: list[int] = []
    for number in range(500):
        for place, candidate in enumerate(_blind.shuffled(list_of(number), "r-ash")):
            places.append(place)
            ranks.append(candidate.rank)
    assert abs(correlation(places, ranks)) < 0.05


def test_no_score_rank_or_threshold_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    found = list_of()
    refs = [found.submission.image, *(candidate.reference for candidate in found.candidates)]
    _blind.print_case(found, "r-ash", places={ref.uri: f"{number}.png" for number, ref in enumerate(refs)})
    shown = capsys.readouterr().out
    assert CAVEAT in shown
    for candidate in found.candidates:
        assert candidate.person_id in shown
        assert f"{candidate.similarity:.2f}"[1:] not in shown
    assert "similar" not in shown
    assert "rank" not in shown
    assert "threshold" not in shown
