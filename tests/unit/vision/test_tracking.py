"""One track for each face that can be followed by its place, and the best that was seen of it."""

from dataclasses import replace
from fractions import Fraction

import pytest

from rfr_stream.faces import Box, Face, Landmarks
from rfr_stream.vision.quality import Measures
from rfr_stream.vision.tracking import Sighting, Tracker

STEP = Fraction(1, 5)
FINE = Measures(sharpness=200.0, brightness=127.5, contrast=50.0)


def face(x: float, y: float = 0.0, *, size: float = 100.0, nose: float = 0.5) -> Face:
    points = [(0.3, 0.4), (0.7, 0.4), (nose, 0.6), (0.35, 0.8), (0.65, 0.8)]
    landmarks = Landmarks.from_array([(x + share_x * size, y + share_y * size) for share_x, share_y in points])
    return Face(Box(x, y, x + size, y + size), landmarks, 1.0)


def seen(place: int, where: Face, measures: Measures = FINE) -> Sighting:
    return Sighting(place * STEP, where, measures)


def tracked(*frames: list[Sighting]) -> list[Sighting]:
    tracker = Tracker(STEP)
    for sightings in frames:
        tracker.see(sightings)
    return tracker.best(10)


def test_a_face_that_moves_by_less_than_its_width_is_one() -> None:
    assert len(tracked(*([seen(place, face(90.0 * place))] for place in range(8)))) == 1


def test_a_face_that_leaps_is_another() -> None:
    assert len(tracked([seen(0, face(0))], [seen(1, face(101))])) == 2


def test_a_face_of_another_size_is_another() -> None:
    assert len(tracked([seen(0, face(0, size=100))], [seen(1, face(0, size=40))])) == 2


def test_two_who_pass_each_other_at_a_distance_keep_their_tracks() -> None:
    shots = tracked(
        *([seen(place, face(50.0 * place)), seen(place, face(350 - 50.0 * place, 150))] for place in range(8))
    )
    assert sorted(shot.face.box.y1 for shot in shots) == [0, 150]


def test_the_nearest_pair_is_joined_first() -> None:
    before = [seen(0, face(x), FINE._replace(sharpness=value)) for x, value in ((0, 200.0), (80, 300.0))]
    after = [seen(1, face(x), FINE._replace(sharpness=value)) for x, value in ((60, 250.0), (10, 100.0))]
    # Joined crosswise, the one at 60 would be the best of the track that began at 0.
    assert [shot.face.box.x1 for shot in tracked(before, after)] == [80, 0]


def test_who_is_hidden_for_a_second_is_still_the_same_and_for_longer_is_not() -> None:
    assert len(tracked([seen(0, face(0))], [], [seen(5, face(0))])) == 1
    assert len(tracked([seen(0, face(0))], [], [seen(6, face(0))])) == 2


def test_each_track_gives_its_best_shot_and_the_best_of_all_comes_first() -> None:
    dull, sharp, sharpest = (FINE._replace(sharpness=value) for value in (20.0, 300.0, 900.0))
    shots = tracked(
        [seen(0, face(0), dull), seen(0, face(500), dull)],
        [seen(1, face(0), sharp), seen(1, face(500), sharpest)],
        [seen(2, face(0), dull), seen(2, face(500), dull)],
    )
    assert [(shot.time, shot.face.box.x1) for shot in shots] == [(STEP, 500), (STEP, 0)]


def test_of_equal_shots_the_earliest_is_kept() -> None:
    (shot,) = tracked([seen(3, face(0))], [seen(4, face(0))])
    assert shot.time == 3 * STEP


def test_no_more_shots_than_asked_for() -> None:
    tracker = Tracker(STEP)
    tracker.see([seen(0, face(300.0 * place)) for place in range(5)])
    assert len(tracker.best(2)) == 2


def test_an_empty_clip_has_none() -> None:
    assert tracked([], []) == []


@pytest.mark.parametrize(
    "worse",
    [
        seen(0, face(0), FINE._replace(sharpness=20.0)),
        seen(0, face(0), FINE._replace(brightness=20.0)),
        seen(0, face(0), FINE._replace(brightness=240.0)),
        seen(0, face(0), FINE._replace(contrast=10.0)),
        seen(0, face(0, size=40)),
        seen(0, face(0, nose=0.7)),
        seen(0, replace(face(0), score=0.6)),
    ],
)
def test_one_fault_makes_a_worse_shot(worse: Sighting) -> None:
    assert 0 <= worse.merit < 0.8 * seen(0, face(0)).merit <= 1
