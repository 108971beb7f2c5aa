"""Of thousands of answers the likely ones, and of those one for each face."""

import pytest
import torch

from rfr_stream.vision.suppression import likely, one_each

BOX = (10.0, 10.0, 50.0, 60.0)
BESIDE = (100.0, 10.0, 140.0, 60.0)


def landmarks(*firsts: float) -> torch.Tensor:
    """Return five points for each face, the first of them where it is told."""
    points = torch.full((len(firsts), 5, 2), 20.0)
    points[:, 0, 0] = torch.tensor(firsts)
    return points


def test_the_likely_come_best_first_and_no_number_is_likely() -> None:
    assert likely(torch.tensor([0.2, 0.05, float("nan"), 0.9]), 0.1).tolist() == [3, 0]


def test_of_answers_that_overlap_the_best_stays() -> None:
    found = one_each(
        torch.tensor([BOX, (11.0, 11.0, 51.0, 61.0), BESIDE]),
        torch.tensor([0.6, 0.9, 0.7]),
        landmarks(1, 2, 3),
        scale=2,
    )
    assert [face.score for face in found] == pytest.approx([0.9, 0.7])
    assert [face.landmarks.left_eye.x for face in found] == [4, 6]
    assert found[1].box.x1 == 200


@pytest.mark.parametrize(
    "box",
    [
        (float("nan"), 10.0, 50.0, 60.0),
        (10.0, 10.0, float("inf"), 60.0),
        (50.0, 10.0, 10.0, 60.0),
        (10.0, 10.0, 50.0, 10.0),
    ],
)
def test_what_no_box_can_be_is_no_face(box: tuple[float, ...]) -> None:
    (face,) = one_each(torch.tensor([box, BESIDE]), torch.tensor([0.9, 0.5]), landmarks(1, 2), scale=1)
    assert face.landmarks.left_eye.x == 2


def test_landmarks_that_are_no_places_are_no_face() -> None:
    points = landmarks(float("inf"), 2)
    (face,) = one_each(torch.tensor([BOX, BESIDE]), torch.tensor([0.9, 0.5]), points, scale=1)
    assert face.landmarks.left_eye.x == 2
