"""The variants of a probe: copies that recipes make of it, and other images of its subject, each brought to a face.

One at a time, so that twelve pictures never lie in memory beside each other. A variant can only add: what is wrong
with it goes on record, and ends nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from rfr_stream.events import (
    BlobRef,
    Derivation,
    ImageSubmitted,
    RecipeVariant,
    Skip,
    SubjectFace,
    Tried,
    Variant,
)
from rfr_stream.faces import Affine, Box, Face, ImageHwc, Point, scaling, subject_of
from rfr_stream.ports import Aligner, BlobStore, Chip, Codec, Copy, Detector, Picture
from rfr_stream.stages._faces import Measured, Opening, ProbeRules, derived_blob, described, find_faces, is_blank

_Seen: TypeAlias = tuple[ImageHwc, Affine, Derivation | None]
"""Pixels, where they lie in the image that their face will speak of, and of a copy, what proves it."""


@dataclass(frozen=True, slots=True)
class Probe:
    """An original that was opened, and the face of its subject, where one was found."""

    event: ImageSubmitted
    picture: Picture
    face: SubjectFace | None

    @property
    def submission_id(self) -> UUID:
        return self.event.submission.submission_id

    def wanted_in(self, variant: Variant) -> Box | Point | None:
        """Return which face is meant: of a copy, the one that stands where the original's does."""
        if isinstance(variant, RecipeVariant):
            return self.face.box if self.face else self.event.subject
        return variant.subject


@dataclass(frozen=True, slots=True)
class Trials:
    """Tries the variants of one probe after another."""

    blobs: BlobStore
    codec: Codec
    detector: Detector
    aligner: Aligner
    rules: ProbeRules

    async def of(self, probe: Probe) -> tuple[Tried, ...]:
        """Return what became of each variant, in order."""
        variants = enumerate(probe.event.submission.variants, start=1)
        return tuple([await self._tried(probe, number, variant) for number, variant in variants])

    async def _tried(self, probe: Probe, number: int, variant: Variant) -> Tried:
        seen = await self._seen(probe.picture, variant)
        if seen is None:
            return Tried(number=number, skipped=Skip.UNREADABLE)
        pixels, affine, derivation = seen
        (found,) = await find_faces(self.detector, self.rules.min_score, [Picture(pixels)])
        there = [face.moved(affine) for face in found]
        meant = self._meant(there, probe.wanted_in(variant))
        if isinstance(meant, Skip):
            return Tried(number=number, derivation=derivation, skipped=meant)
        (chip,) = await self.aligner.align([pixels], [found[there.index(meant)].landmarks])
        if is_blank(chip):
            return Tried(number=number, derivation=derivation, skipped=Skip.UNSUITABLE_QUALITY)
        # Where the original shows no face, and this one stands for it, its bystanders are the original's.
        others = [face.box for face in there if face is not meant] if derivation and not probe.face else []
        measured = Measured(meant, chip, await self._kept(probe, number, chip), others)
        return Tried(number=number, derivation=derivation, face=described(measured, self.detector, self.aligner))

    async def _seen(self, original: Picture, variant: Variant) -> _Seen | None:
        if isinstance(variant, RecipeVariant):
            (copy,) = await self.codec.follow([(variant.recipe, original)])
            return (copy.pixels, copy.to_original, copy.derivation) if isinstance(copy, Copy) else None
        (picture,) = await Opening(self.blobs, self.codec, self.rules.max_image_bytes).pictures([variant.image])
        return (picture.pixels, scaling(picture.scale), None) if isinstance(picture, Picture) else None

    def _meant(self, faces: Sequence[Face], wanted: Box | Point | None) -> Face | Skip:
        meant = subject_of(faces, wanted)
        if not faces:
            return Skip.NO_FACE
        if meant is None:
            return Skip.SUBJECT_UNCLEAR
        too_small = meant.landmarks.interocular_px < self.rules.min_interocular_px
        return Skip.UNSUITABLE_QUALITY if too_small else meant

    async def _kept(self, probe: Probe, number: int, chip: Chip) -> BlobRef:
        (file,) = await self.codec.encode([chip.pixels])
        named = derived_blob("crops", self.codec.media_type, probe.submission_id, file, variant=number)
        (crop,) = await self.blobs.put([named])
        return crop
