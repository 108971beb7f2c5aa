"""The journal finds the message that kills, and no other."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from consumers._journal import DEADLY, Journal


@dataclass(frozen=True)
class At:
    """A message's place."""

    partition: int
    offset: int


def places(*offsets: int, partition: int = 0) -> list[At]:
    return [At(partition, offset) for offset in offsets]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def reopened(folder: Path) -> Journal:
    """Return the journal as the next process finds it after a kill: nobody has closed anything."""
    return Journal.open(folder, "rfr-test-0")


def test_without_a_death_nobody_is_suspected(folder: Path) -> None:
    journal = reopened(folder)
    journal.put_back(journal.take(places(1, 2)), finished=True)
    assert list(reopened(folder).apart(places(1, 2, 3))) == [(places(1, 2, 3), False)]


def test_what_was_in_hand_at_a_death_runs_alone_and_the_rest_together(folder: Path) -> None:
    reopened(folder).take(places(3, 4))
    assert list(reopened(folder).apart(places(1, 2, 3, 4, 5))) == [
        (places(1, 2), False),
        (places(3), True),
        (places(4), True),
        (places(5), False),
    ]


def test_another_partition_is_not_suspected_for_the_same_offset(folder: Path) -> None:
    reopened(folder).take(places(3))
    others = places(3, partition=1)
    assert list(reopened(folder).apart(others)) == [(others, False)]


def test_the_third_death_is_one_too_many_and_only_the_culprit_is_deadly(folder: Path) -> None:
    reopened(folder).take(places(1, 2, 3))
    for _ in range(DEADLY - 1):
        journal = reopened(folder)
        assert not journal.is_deadly(At(0, 2))
        journal.put_back(journal.take(places(1)), finished=True)
        journal.take(places(2))
    journal = reopened(folder)
    assert [journal.is_deadly(place) for place in places(1, 2, 3)] == [False, True, False]


def test_who_finishes_alone_is_cleared_for_good(folder: Path) -> None:
    reopened(folder).take(places(1))
    journal = reopened(folder)
    journal.put_back(journal.take(places(1)), finished=True)
    assert list(reopened(folder).apart(places(1))) == [(places(1), False)]


def test_who_only_waits_for_a_dependency_is_in_nobodys_hands(folder: Path) -> None:
    for _ in range(DEADLY + 1):
        journal = reopened(folder)
        journal.put_back(journal.take(places(1)), finished=False)
    assert not reopened(folder).is_deadly(At(0, 1))


def test_a_clean_stop_leaves_nothing_in_hand_and_a_bug_does(folder: Path) -> None:
    for clean, suspected in ((True, False), (False, True)):
        journal = reopened(folder)
        journal.take(places(7))
        journal.close(clean=clean)
        ((_, alone),) = reopened(folder).apart(places(7))
        assert alone is suspected


def test_batches_in_hand_at_the_same_time_are_kept_apart(folder: Path) -> None:
    journal = reopened(folder)
    first, second = places(1, 2), places(3, 4)
    taken = journal.take(first)
    journal.take(second)
    journal.put_back(taken, finished=True)
    assert list(reopened(folder).apart(places(1, 2, 3))) == [(places(1, 2), False), (places(3), True)]


def test_a_shorter_state_over_a_longer_one_is_read_as_the_shorter(folder: Path) -> None:
    journal = reopened(folder)
    taken = journal.take(places(*range(0, 2_000, 2)))
    journal.put_back(taken, finished=True)
    assert not reopened(folder).deaths


def test_a_torn_file_is_an_empty_one(folder: Path) -> None:
    reopened(folder).take(places(1))
    (folder / "rfr-test-0.json").write_text('{"in_hand": [[0, 1')
    assert not reopened(folder).deaths


def test_the_file_is_for_its_owner_alone(folder: Path) -> None:
    reopened(folder)
    assert (folder / "rfr-test-0.json").stat().st_mode & 0o077 == 0
