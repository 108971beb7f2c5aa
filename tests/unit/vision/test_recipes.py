"""Recipes: the same picture and the same steps are the same pixels, and every pixel knows where it came from."""

from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from rfr_stream.errors import BadImage
from rfr_stream.events import (
    Aspect,
    Crop,
    Deinterlace,
    Equalise,
    Exposure,
    Recipe,
    Rotate,
    Sharpen,
    Step,
    Stretch,
)
from rfr_stream.faces import ImageHwc, Point
from rfr_stream.vision.recipes import TOOL, Followed, follow

STEPS: dict[str, Step] = {
    "upper": Deinterlace(),
    "lower": Deinterlace(field="lower"),
    "crop": Crop(left=10, top=5, right=50, bottom=40),
    "rotate": Rotate(degrees=30),
    "quarter": Rotate(degrees=90),
    "aspect": Aspect(ratio=1.5),
    "exposure": Exposure(gain=2, gamma=1.5),
    "stretch": Stretch(),
    "equalise": Equalise(),
    "sharpen": Sharpen(),
}
every_step = pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)


def noise(height: int = 48, width: int = 64) -> ImageHwc:
    return np.random.default_rng(7).integers(40, 180, (height, width, 3), np.uint8)


def followed(*steps: Step, picture: ImageHwc | None = None, scale: float = 1.0) -> Followed:
    return follow(Recipe(steps=steps), noise() if picture is None else picture, scale)


# --- the same again -------------------------------------------------------------------------------------------------
@every_step
def test_the_same_recipe_makes_the_same_pixels_of_the_same_picture(step: Step) -> None:
    first, again = followed(step), followed(step)
    assert first.derivation == again.derivation
    assert first.derivation.pixels_sha256 == sha256(first.pixels.tobytes()).hexdigest()
    assert first.derivation.pixels_sha256 != followed(step, picture=noise()[::-1]).derivation.pixels_sha256


def test_steps_of_whole_numbers_make_the_same_pixels_on_every_machine_and_in_every_run() -> None:
    steps = (STEPS["crop"], STEPS["upper"], STEPS["quarter"], STEPS["exposure"])
    expected = "a59998ba10259282d344b256629b6319e49ac4c24c9101add369e66b75cd8b96"
    assert followed(*steps).derivation.pixels_sha256 == expected


def test_a_copy_says_how_large_it_is_and_what_made_it() -> None:
    made = followed(STEPS["crop"], scale=2.0).derivation
    assert (made.width_px, made.height_px, made.scale, made.tool) == (20, 18, 2.0, TOOL)


@every_step
def test_the_picture_itself_is_left_as_it_was(step: Step) -> None:
    picture = noise()
    picture.flags.writeable = False
    followed(step, picture=picture)
    np.testing.assert_array_equal(picture, noise())


def test_the_order_of_the_steps_counts() -> None:
    darker, steps = Exposure(gain=0.5), [STEPS["equalise"], Exposure(gain=0.5)]
    assert followed(*steps).derivation != followed(darker, STEPS["equalise"]).derivation


# --- where each pixel came from -------------------------------------------------------------------------------------
def spot(x: int, y: int) -> ImageHwc:
    picture = np.full((96, 128, 3), 20, np.uint8)
    picture[y - 4 : y + 4, x - 4 : x + 4] = 220
    return picture


@every_step
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_spot_is_where_the_copy_says_that_it_came_from(step: Step, scale: float) -> None:
    larger = Crop(left=10 * scale, top=5 * scale, right=120 * scale, bottom=90 * scale)
    made = followed(larger if isinstance(step, Crop) else step, picture=spot(80, 60), scale=scale)
    rows, columns = np.nonzero(made.pixels[..., 0] > 150)
    there = Point(columns.mean() + 0.5, rows.mean() + 0.5).moved(made.to_original)
    assert (there.x, there.y) == pytest.approx((80 * scale, 60 * scale), abs=1.0 * scale)


@settings(max_examples=30)
@given(st.permutations([STEPS["rotate"], STEPS["aspect"], Crop(left=10, top=10, right=190, bottom=130)]))
def test_several_steps_lead_back_through_each_other(steps: list[Step]) -> None:
    made = followed(*steps, picture=spot(80, 60))
    rows, columns = np.nonzero(made.pixels[..., 0] > 120)
    there = Point(columns.mean() + 0.5, rows.mean() + 0.5).moved(made.to_original)
    assert (there.x, there.y) == pytest.approx((80, 60), abs=1.5)


# --- what each step does --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("field", "kept"), [("upper", 0), ("lower", 1)])
@pytest.mark.parametrize("height", [6, 7])
def test_of_an_interlaced_frame_one_field_is_kept_and_the_other_leaves_no_trace(
    field: str, kept: int, height: int
) -> None:
    frame = np.zeros((height, 4, 3), np.uint8)
    frame[kept::2] = 100
    frame[1 - kept :: 2] = 255
    step = Deinterlace.model_validate({"field": field})
    np.testing.assert_array_equal(followed(step, picture=frame).pixels, np.full_like(frame, 100))


def test_lines_between_are_the_mean_of_their_neighbours() -> None:
    frame = np.zeros((5, 1, 3), np.uint8)
    frame[0::2] = np.array([10, 21, 40])[:, None, None]
    assert followed(Deinterlace(), picture=frame).pixels[:, 0, 0].tolist() == [10, 16, 21, 31, 40]


def test_a_single_line_has_no_other_field() -> None:
    line = noise(1, 8)
    np.testing.assert_array_equal(followed(Deinterlace(field="lower"), picture=line).pixels, line)
    np.testing.assert_array_equal(followed(Deinterlace(), picture=line).pixels, line)


def test_a_turn_is_clockwise_and_cuts_nothing_off() -> None:
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[0, 0] = 255
    turned = followed(Rotate(degrees=90), picture=picture).pixels
    assert turned.shape == (3, 2, 3)
    assert turned[0, 1].tolist() == [255, 255, 255]


def test_exposure_multiplies_then_lifts() -> None:
    grey = np.full((2, 2, 3), 51, np.uint8)
    assert followed(Exposure(gain=2), picture=grey).pixels[0, 0, 0] == 102
    assert followed(Exposure(gain=2, gamma=2), picture=grey).pixels[0, 0, 0] == round(255 * 0.4**0.5)
    assert followed(Exposure(gain=8), picture=grey).pixels[0, 0, 0] == 255


def test_a_stretch_fills_the_range_and_keeps_hues() -> None:
    picture = np.repeat(np.arange(100, 120, dtype=np.uint8), 3).reshape(4, 5, 3)
    stretched = followed(Stretch(clip_share=0), picture=picture).pixels
    assert stretched.min() == 0
    assert stretched.max() >= 254
    assert (stretched[..., 0] == stretched[..., 2]).all()


@pytest.mark.parametrize("step", [Stretch(), Equalise()])
def test_of_one_level_nothing_is_made(step: Step) -> None:
    flat = np.full((4, 4, 3), 90, np.uint8)
    assert len(np.unique(followed(step, picture=flat).pixels)) == 1


def test_equalised_levels_are_each_as_frequent_as_another() -> None:
    dark = np.repeat(np.random.default_rng(1).integers(0, 20, (64, 64, 1)).astype(np.uint8), 3, axis=2)
    levels = followed(Equalise(), picture=dark).pixels[..., 0]
    assert levels.mean() == pytest.approx(127, abs=10)
    assert np.unique(levels).size == np.unique(dark).size


def test_sharpening_steepens_an_edge_and_leaves_flat_ground() -> None:
    edge = np.full((20, 20, 3), 100, np.uint8)
    edge[:, 10:] = 150
    sharp = followed(Sharpen(radius_px=1.5, amount=1), picture=edge).pixels
    assert sharp.min() < 100
    assert sharp.max() > 150
    assert sharp[5, 1, 0] == 100


@pytest.mark.parametrize("crop", [(100, 0, 110, 10), (0, 60, 10, 70)])
def test_a_crop_that_leaves_nothing_is_refused(crop: tuple[float, ...]) -> None:
    left, top, right, bottom = crop
    with pytest.raises(BadImage, match="outside the image"):
        followed(Crop(left=left, top=top, right=right, bottom=bottom))


# --- what cannot be asked for ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["inpaint", "super_resolution", "deblur", "restore_face", "colourise", "generate", ""])
def test_what_invents_pixels_cannot_be_asked_for(kind: str) -> None:
    with pytest.raises(ValidationError, match="kind"):
        Recipe.model_validate({"steps": [{"kind": kind}]})


def test_the_list_of_steps_is_closed() -> None:
    schema = TypeAdapter(Step).json_schema()
    assert set(schema["discriminator"]["mapping"]) == {
        "deinterlace",
        "crop",
        "rotate",
        "aspect",
        "exposure",
        "stretch",
        "equalise",
        "sharpen",
    }


@pytest.mark.parametrize(
    "step",
    [
        {"kind": "exposure", "gain": 9},
        {"kind": "exposure", "gamma": 0},
        {"kind": "rotate", "degrees": 181},
        {"kind": "aspect", "ratio": 2.5},
        {"kind": "crop", "left": 5, "top": 0, "right": 5, "bottom": 9},
        {"kind": "crop", "left": -1, "top": 0, "right": 5, "bottom": 9},
        {"kind": "sharpen", "amount": 4},
        {"kind": "stretch", "clip_share": 0.2},
        {"kind": "rotate", "degrees": float("nan")},
        {"kind": "sharpen", "strength": 1},
    ],
    ids=str,
)
def test_every_step_has_its_bounds(step: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate({"steps": [step]})


def test_a_recipe_takes_each_kind_once_and_at_least_one() -> None:
    with pytest.raises(ValidationError, match="each kind"):
        Recipe(steps=(Exposure(gain=2), Exposure(gain=3)))
    with pytest.raises(ValidationError, match="steps"):
        Recipe(steps=())
