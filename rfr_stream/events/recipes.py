"""How a copy of a probe may be made better to search with: a closed list of steps, each with its bounds.

A recipe is data, and only data: what is not on this list cannot be asked for, and nothing on it invents a pixel. The
original stays what it was, is what people compare, and is what every copy can be made from again.
"""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from rfr_stream.events.values import Ref, Sha256, Share, Value

_Pixel: TypeAlias = Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)]


class Deinterlace(Value):
    """Keep one field of an interlaced frame; each line of the other becomes the mean of its neighbours."""

    kind: Literal["deinterlace"] = "deinterlace"
    field: Literal["upper", "lower"] = "upper"


class Crop(Value):
    """Keep a part; edges in pixels of the image as the step before left it, at the original's size."""

    kind: Literal["crop"] = "crop"
    left: _Pixel
    top: _Pixel
    right: _Pixel
    bottom: _Pixel

    @model_validator(mode="after")
    def _holds_something(self) -> Self:
        if not (self.left < self.right and self.top < self.bottom):
            msg = "crop: needs left < right and top < bottom"
            raise ValueError(msg)
        return self


class Rotate(Value):
    """Turn clockwise about the middle; the image grows so that nothing is cut off."""

    kind: Literal["rotate"] = "rotate"
    degrees: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]


class Aspect(Value):
    """Widen (above 1) or narrow, as where a recorder stored pixels that are not square."""

    kind: Literal["aspect"] = "aspect"
    ratio: Annotated[float, Field(ge=0.5, le=2, allow_inf_nan=False)]


class Exposure(Value):
    """Multiply every level by the gain, then lift (gamma above 1) or lower the middle ones."""

    kind: Literal["exposure"] = "exposure"
    gain: Annotated[float, Field(ge=0.25, le=8, allow_inf_nan=False)] = 1.0
    gamma: Annotated[float, Field(ge=0.25, le=4, allow_inf_nan=False)] = 1.0


class Stretch(Value):
    """Spread the grey levels over the whole range, all channels alike; a share at either end may clip."""

    kind: Literal["stretch"] = "stretch"
    clip_share: Annotated[Share, Field(le=0.1)] = 0.01


class Equalise(Value):
    """Spread the grey levels so that each is as frequent as another, all channels alike."""

    kind: Literal["equalise"] = "equalise"


class Sharpen(Value):
    """Add back a share of what a Gaussian blur of this radius takes away (unsharp mask); no deblurring."""

    kind: Literal["sharpen"] = "sharpen"
    radius_px: Annotated[float, Field(ge=0.3, le=8, allow_inf_nan=False)] = 1.5
    amount: Annotated[float, Field(gt=0, le=3, allow_inf_nan=False)] = 1.0


Step: TypeAlias = Annotated[
    Deinterlace | Crop | Rotate | Aspect | Exposure | Stretch | Equalise | Sharpen, Field(discriminator="kind")
]


class Recipe(Value):
    """Steps, in order; each kind once, which also bounds how large a copy can grow."""

    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=8)]

    @model_validator(mode="after")
    def _each_kind_once(self) -> Self:
        kinds = [step.kind for step in self.steps]
        if len(set(kinds)) != len(kinds):
            msg = "steps: each kind of step once"
            raise ValueError(msg)
        return self


class Derivation(Value):
    """What a recipe made, so that whoever follows it again from the original can see that it is the same.

    `scale`: how many pixels of the original one pixel stands for that the recipe began with.
    """

    pixels_sha256: Annotated[Sha256, Field(description="of the RGB bytes, row by row")]
    width_px: Annotated[int, Field(ge=1)]
    height_px: Annotated[int, Field(ge=1)]
    scale: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    tool: Ref
