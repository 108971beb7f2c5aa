"""What else a submission is searched with: copies of the original made by recipes, and other images of its subject."""

from enum import StrEnum
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from rfr_stream.events.face import SubjectFace, SubjectTemplate
from rfr_stream.events.recipes import Derivation, Recipe
from rfr_stream.events.values import BlobRef, Observation, Sha256, Value
from rfr_stream.faces import Box, Point

MAX_RECIPES: Final = 4
MAX_IMAGES: Final = 8
"""Each costs a detection, and each further template says less than the one before."""


class Still(Value):
    """A photograph."""

    kind: Literal["still"] = "still"


class VideoFrame(Value):
    """One frame of a stored video, named so that it can be taken again."""

    kind: Literal["video_frame"] = "video_frame"
    video_sha256: Sha256
    frame_time_s: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    steps: Annotated[
        tuple[Observation, ...],
        Field(max_length=16, description="what was done to the decoded frame, in order, as FFmpeg writes its filters"),
    ] = ()
    tool: Annotated[Observation | None, Field(description="what decoded it and took the steps, with versions")] = None


NAMED_BY: Final = {"kind", "video_sha256", "frame_time_s"}
"""What makes a frame this frame and no other; how it was developed shows in its own digest."""


Media: TypeAlias = Annotated[Still | VideoFrame, Field(discriminator="kind")]


class RecipeVariant(Value):
    """A copy of the original; the same face is meant, wherever the recipe moves it."""

    kind: Literal["recipe"] = "recipe"
    recipe: Recipe

    @property
    def statement(self) -> str:
        """All that it says, the same before and after the wire."""
        return self.recipe.model_dump_json()


class ImageVariant(Value):
    """Another image, in which whoever submits it says that the same person is seen."""

    kind: Literal["image"] = "image"
    image: BlobRef
    subject: Box | Point | None = None
    media: Media = Still()

    @property
    def statement(self) -> str:
        """All that it says, the same before and after the wire; where the bytes lie is not part of it."""
        return " ".join((self.image.sha256, place_of(self.subject), self.media.model_dump_json(include=NAMED_BY)))


Variant: TypeAlias = Annotated[RecipeVariant | ImageVariant, Field(discriminator="kind")]


def _few_and_distinct(variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
    if not variants:
        return variants
    recipes = sum(isinstance(variant, RecipeVariant) for variant in variants)
    if recipes > MAX_RECIPES or len(variants) - recipes > MAX_IMAGES:
        msg = f"at most {MAX_RECIPES} recipes and {MAX_IMAGES} images"
        raise ValueError(msg)
    said = [variant.image.sha256 if isinstance(variant, ImageVariant) else variant.statement for variant in variants]
    if len(set(said)) < len(said):
        msg = "each once: what comes twice would count twice"
        raise ValueError(msg)
    return variants


Variants: TypeAlias = Annotated[
    tuple[Variant, ...],
    Field(max_length=MAX_RECIPES + MAX_IMAGES, description="searched with beside the original"),
    AfterValidator(_few_and_distinct),
]
Recipes: TypeAlias = Annotated[
    tuple[RecipeVariant, ...],
    Field(max_length=MAX_RECIPES, description="copies of the original that are searched with beside it"),
    AfterValidator(_few_and_distinct),
]


def place_of(subject: Box | Point | None) -> str:
    """Return where the face is that is meant, as numbers that survive the wire: 125 comes back as 125.0."""
    return ",".join(str(float(getattr(subject, name))) for name in subject.__slots__) if subject else ""


class Skip(StrEnum):
    """Why a variant was passed over."""

    UNREADABLE = "unreadable"
    NO_FACE = "no_face"
    SUBJECT_UNCLEAR = "subject_unclear"
    UNSUITABLE_QUALITY = "unsuitable_quality"


class Tried(Value):
    """What became of one variant: the subject's face, and later its template; or why it was passed over.

    The face speaks of the original's pixels; that of another image, of that image's.
    """

    number: Annotated[int, Field(ge=1, le=MAX_RECIPES + MAX_IMAGES, description="its place in the submission")]
    derivation: Derivation | None = None
    face: SubjectFace | None = None
    template: SubjectTemplate | None = None
    skipped: Skip | None = None

    @model_validator(mode="after")
    def _has_a_face_or_a_reason(self) -> Self:
        if (self.face is None) is (self.skipped is None):
            msg = "variants: each has a face, or the reason why it was passed over"
            raise ValueError(msg)
        if self.template and self.face is None:
            msg = "variants: no template without a face"
            raise ValueError(msg)
        return self
