"""Copies of one picture agree, and different pictures do not."""

from io import BytesIO

import builders
import numpy as np
import pictures
import pytest
from PIL import Image

from rfr_stream.adapters._grouping import Founders, copies, grouped
from rfr_stream.faces import ImageHwc
from rfr_stream.ports import Contribution
from rfr_stream.vision.fingerprint import WINDOWS, fingerprint


def contribution(name: str, pixels: ImageHwc | None) -> Contribution:
    event = builders.appeal_image_received(name)
    return Contribution(
        contribution_id=event.contribution_id,
        appeal_ref=event.appeal_ref,
        portal=event.portal,
        image=event.image,
        received_at=event.occurred_at,
        fingerprint=None if pixels is None else fingerprint(pixels),
    )


def opened(file: bytes) -> ImageHwc:
    return np.asarray(Image.open(BytesIO(file)).convert("RGB"))


ORIGINAL = contribution("original", np.asarray(pictures.picture("one")))


def test_a_fingerprint_is_a_hash_of_the_frame_and_of_each_window() -> None:
    assert ORIGINAL.fingerprint is not None
    assert ORIGINAL.fingerprint.shape == (len(WINDOWS), 32)
    assert ORIGINAL.fingerprint.dtype == np.uint8
    assert WINDOWS[0] == (0, 0, 1, 1)


@pytest.mark.parametrize("change", pictures.COPIES)
@pytest.mark.parametrize("copy_first", [False, True], ids=["original first", "copy first"])
def test_a_copy_joins_its_original_whichever_came_first(change: str, *, copy_first: bool) -> None:
    copy = contribution("copy", opened(pictures.COPIES[change](pictures.picture("one"))))
    pair = [copy, ORIGINAL] if copy_first else [ORIGINAL, copy]
    groups = grouped(pair, {}).groups
    assert set(groups.values()) == {pair[0].contribution_id}


def test_different_pictures_found_groups_of_their_own() -> None:
    others = [contribution(name, np.asarray(pictures.picture(name))) for name in ("two", "three", "four")]
    done = grouped([ORIGINAL, *others], {})
    assert len(set(done.groups.values())) == len(done.founding) == 4


def test_what_could_not_be_opened_belongs_to_no_group() -> None:
    broken = contribution("broken", None)
    assert grouped([broken, ORIGINAL], {}).groups == {ORIGINAL.contribution_id: ORIGINAL.contribution_id}
    assert ORIGINAL.fingerprint is not None
    assert copies([broken], Founders([ORIGINAL.contribution_id], [ORIGINAL.fingerprint])) == {}


def test_what_is_known_to_be_a_copy_founds_nothing() -> None:
    elsewhere = builders.appeal_image_received("elsewhere").contribution_id
    done = grouped([ORIGINAL], {ORIGINAL.contribution_id: elsewhere})
    assert (done.groups, done.founding) == ({ORIGINAL.contribution_id: elsewhere}, {})


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5_000, 2), (16, 16)])
def test_the_smallest_and_the_narrowest_picture_has_one(size: tuple[int, int]) -> None:
    assert fingerprint(np.zeros((*size, 3), np.uint8)).shape == (len(WINDOWS), 32)
