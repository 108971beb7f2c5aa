"""What the doors for probes share: a request, checked against policy before the first file is opened."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field, ValidationInfo, field_validator

from producers._admission import images_in
from producers._handed_in import HandedIn
from producers._intake import MAX_IMAGE_BYTES, Arrival, Publish, Report, take_in
from producers.references import Enrolment
from rfr_stream.events import (
    BlobRef,
    Found,
    GalleryName,
    Harm,
    ImageSubmitted,
    ImageVariant,
    Prose,
    Provenance,
    Purpose,
    Recipes,
    Ref,
    Regime,
    Source,
    Still,
    Submission,
    Value,
    Variants,
    VideoFrame,
)
from rfr_stream.faces import Box, Point
from rfr_stream.policy import MIN_NECESSITY_CHARS, MIN_NECESSITY_WORDS, regime_of, searchable, words_of
from rfr_stream.ports import BlobStore


class Request(Value):
    """What is asked of every file of a run; `subject` and `media` only make sense for one file.

    What makes a search lawful has no default: whoever asks has thought of it.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    purpose: Purpose
    harm: Harm
    case_ref: Ref
    legal_basis: Prose
    regime: Annotated[Regime | None, Field(description="must be said where the purpose leaves a choice")] = None
    necessity: Annotated[
        Prose,
        Field(
            min_length=MIN_NECESSITY_CHARS,
            description="why this search is strictly necessary in this case, and what else was tried",
        ),
    ]
    authoriser: Ref | None = None
    provenance: Provenance
    galleries: tuple[GalleryName, ...] = ()
    subject: Box | Point | None = None
    media: Still | VideoFrame = Field(Still(), discriminator="kind")
    age_at_capture: Annotated[int | None, Field(ge=0, le=130, description="years, as far as anybody knows")] = None
    found: Annotated[Found | None, Field(validate_default=True, description="of the deceased alone")] = None
    variants: Recipes = ()  # other images are handed in as images are, never named by where they lie
    demo: bool = False

    @field_validator("necessity")
    @classmethod
    def _is_said_in_words(cls, necessity: str) -> str:
        if len(set(words_of(necessity))) < MIN_NECESSITY_WORDS:
            msg = f"say in words why, with {MIN_NECESSITY_WORDS} different ones or more"
            raise ValueError(msg)
        return necessity

    @field_validator("found")
    @classmethod
    def _is_said_of_the_deceased(cls, found: Found | None, info: ValidationInfo) -> Found | None:
        purpose = info.data.get("purpose")
        if purpose is not None and (purpose is Purpose.DECEASED) is (found is None):
            msg = "say where and when somebody deceased was found, and of nobody else"
            raise ValueError(msg)
        return found

    def form(self) -> "ProbeForm":
        """Return the request as it comes through its door, in the name of whoever answers for it."""
        raise NotImplementedError

    def enrolment(self) -> Enrolment | None:
        """Return how the images are to be held, too, where a door takes that; most do not."""
        return None


@dataclass(frozen=True, slots=True)
class ProbeForm:
    """A request as it came through one door, in somebody's name."""

    request: Request
    source: Source
    submitted_by: str
    others: tuple[ImageVariant, ...] = ()
    """Of the same subject, and kept already."""

    @property
    def statement(self) -> tuple[object, ...]:
        others = tuple(other.statement for other in self.others)
        return (self.request.model_dump_json(), self.source, self.submitted_by, *others)

    @property
    def variants(self) -> Variants:
        return (*self.request.variants, *self.others)

    @property
    def regime(self) -> Regime:
        """The law that the search is made under.

        Raises:
            NotPermitted: it must be said, and was not.

        """
        return regime_of(self.request.purpose, self.request.regime)

    def derive(self, image_sha256: str) -> UUID:
        asked = self.request
        return Submission.derive(
            image_sha256=image_sha256,
            source=self.source,
            purpose=asked.purpose,
            case_ref=asked.case_ref,
            submitted_by=self.submitted_by,
            subject=asked.subject,
            media=asked.media,
            galleries=asked.galleries,
            variants=self.variants,
        )

    def key(self, image_sha256: str) -> str:
        return f"originals/{image_sha256[:2]}/{image_sha256}"

    def event(self, image: BlobRef, at: datetime) -> ImageSubmitted:
        return ImageSubmitted(occurred_at=at, submission=self.submission(image, at), demo=self.request.demo)

    def submission(self, image: BlobRef, at: datetime) -> Submission:
        asked = self.request
        return Submission(
            submission_id=self.derive(image.sha256),
            source=self.source,
            submitted_by=self.submitted_by,
            submitted_at=at,
            image=image,
            regime=self.regime,
            variants=self.variants,
            **{name: getattr(asked, name) for name in Request.model_fields if name not in _OWN},
        )


_OWN = {"demo", "regime", "variants"}
"""What a submission does not say as the request does."""
_ANY_IMAGE = BlobRef(uri="memory://any/any", sha256="0" * 64, media_type="image/png", bytes=0)


def require_permitted(form: ProbeForm) -> None:
    """Let policy judge the request before any image is opened.

    Raises:
        NotPermitted: policy forbids it, whatever the images show.

    """
    searchable(form.submission(_ANY_IMAGE, datetime.now(UTC)))


async def submit(
    files: Iterable[Path | bytes],
    request: Request,
    *,
    blobs: BlobStore,
    publish: Publish,
    journal: HandedIn | None = None,
    max_bytes: int = MAX_IMAGE_BYTES,
) -> AsyncIterator[Report]:
    """Yield how each file fared; a folder stands for what lies in it.

    Raises:
        NotPermitted: policy forbids the request; nothing was opened.

        Unavailable: store, bus or journal are away; run it again later.

    """
    form = request.form()
    require_permitted(form)
    arrivals = (Arrival(file, form) for file in expanded(files))
    async for report in take_in(arrivals, blobs=blobs, publish=publish, journal=journal, max_bytes=max_bytes):
        yield report


def expanded(files: Iterable[Path | bytes]) -> Iterable[Path | bytes]:
    """Yield the files, and in the place of a folder those that lie in it."""
    for file in files:
        if isinstance(file, bytes):
            yield file
        else:
            yield from images_in([file])
