"""Which frames of a video are asked for, and what is asked of all of them."""

from typing import Annotated, Final, Self, TypeAlias

from pydantic import ConfigDict, Field, JsonValue, ValidationInfo, field_validator, model_validator

from producers._request import Request
from producers.missing_persons import Entrusted, UnitRequest
from producers.officer import OfficerRequest
from rfr_stream.events import Still, Value, VideoFrame

_LONGEST_S: Final = 366 * 86_400
Seconds: TypeAlias = Annotated[float, Field(ge=0, le=_LONGEST_S, allow_inf_nan=False)]
_ONE_OF: Final[list[JsonValue]] = [{"required": [name]} for name in ("at", "every", "best")]


class Wanted(Value):
    """Which frames: one of the three says it."""

    model_config = ConfigDict(json_schema_extra={"oneOf": _ONE_OF})

    at: Annotated[
        tuple[Seconds, ...], Field(max_length=1_000, description="moments: seconds since the first frame")
    ] = ()
    every: Annotated[Seconds | None, Field(gt=0, description="seconds from one frame to the next")] = None
    best: Annotated[
        int | None, Field(ge=1, le=1_000, description="so many best shots, one of each face that can be followed")
    ] = None

    @model_validator(mode="after")
    def _is_said_once(self) -> Self:
        if [bool(self.at), self.every is not None, self.best is not None].count(True) != 1:
            msg = "say exactly one of `at`, `every` and `best`"
            raise ValueError(msg)
        return self


class OfVideo(Request):
    """What is asked of every frame; each becomes a submission of its own."""

    frames: Wanted

    @field_validator("media")
    @classmethod
    def _is_said_by_each_frame(cls, media: Still | VideoFrame) -> Still | VideoFrame:
        if media.kind != "still":
            msg = "leave it out; each frame brings its own"
            raise ValueError(msg)
        return media

    @field_validator("frames")
    @classmethod
    def _is_one_where_a_face_is_named(cls, frames: Wanted, info: ValidationInfo) -> Wanted:
        if info.data.get("subject") is not None and len(frames.at) != 1:
            msg = "`subject` is about one frame; ask for it alone, by `at`"
            raise ValueError(msg)
        return frames


class OfficerVideo(OfficerRequest, OfVideo):
    """An officer asks about frames of a video."""


class UnitVideo(UnitRequest, OfVideo):
    """The unit asks about frames of a video."""

    @field_validator("enrol")
    @classmethod
    def _is_of_chosen_images(cls, enrol: Entrusted | None) -> Entrusted | None:
        if enrol is not None:
            msg = "leave it out; whoever is in a frame is not known to be whom it is about. Send the frame as an image"
            raise ValueError(msg)
        return enrol
