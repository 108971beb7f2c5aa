"""The one face that a submission is about: where it is, how good it is, and its template."""

from typing import Annotated

from pydantic import Field

from rfr_stream.events.values import BlobRef, ModelIdentity, Ref, Share, Value
from rfr_stream.faces import Box, Landmarks


class Quality(Value):
    """Measures of the subject's face; each is higher for a better probe unless it says otherwise."""

    interocular_px: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    sharpness: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="variance of the chip's Laplacian, grey levels squared")
    ]
    brightness: Annotated[float, Field(ge=0, le=255, allow_inf_nan=False, description="mean grey level of the chip")]
    contrast: Annotated[
        float, Field(ge=0, le=128, allow_inf_nan=False, description="standard deviation of the chip's grey levels")
    ]
    roll_deg: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False, description="0 is upright")]
    yaw_ratio: Annotated[float, Field(allow_inf_nan=False, description="0 is frontal")]


class SubjectFace(Value):
    """The one face a submission is about."""

    box: Box
    landmarks: Landmarks
    score: Share
    quality: Quality
    crop: BlobRef
    aligner: Annotated[
        Ref, Field(description="how the crop was brought upright; an embedder takes the chips of one aligner")
    ]
    detector: ModelIdentity
    masks: Annotated[
        tuple[Box, ...], Field(max_length=256, description="where other people are, so that nobody is shown them")
    ] = ()


class SubjectTemplate(Value):
    """Where the template lies, and which embedder made it."""

    template: BlobRef
    embedder: ModelIdentity
