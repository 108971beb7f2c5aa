"""What a probe was searched with beside the original, on paper: each step of each recipe, and what came of it."""

from typing import Final

from rfr_stream.adapters.paper import _words as say
from rfr_stream.adapters.paper._layout import Code, Story, facts, grid, section, words
from rfr_stream.events import (
    Candidate,
    CandidatesReady,
    ImageVariant,
    RecipeVariant,
    Step,
    SubjectFace,
    SubjectTemplate,
    Tried,
    Variant,
    VideoFrame,
)

_COLUMNS: Final = {"No.": 5, "What": 32, "What came of it": 25, "SHA-256 of image or pixels, crop, template": 38}
_SAID = (
    "Copies are made from the original by the steps below, none of which invents a pixel; other images are said by "
    "whoever submitted them to show the same person. Reviewers were shown the original and nothing else."
)


def variants(found: CandidatesReady) -> Story:
    """Print what was searched beside the original, if anything was."""
    if not found.variants:
        return
    yield from section("What was searched beside the original", room_mm=60)
    yield words(_SAID)
    pairs = zip(found.submission.variants, found.variants, strict=True)
    yield grid(
        _COLUMNS, [(str(tried.number), _what(asked), _fate(tried), _digests(asked, tried)) for asked, tried in pairs]
    )
    yield facts(
        {
            "Rule of the one search": found.fusion or "one face alone was searched",
            "Face found in": f"variant {found.face_in}; the original shows none" if found.face_in else "the original",
        }
    )


def found_by(candidate: Candidate) -> str:
    """Say which images find this person by themselves."""
    return ", ".join("original" if number == 0 else str(number) for number in candidate.found_by)


def _what(asked: Variant) -> str:
    if isinstance(asked, RecipeVariant):
        return "Copy: " + "; ".join(map(_step, asked.recipe.steps))
    meant = f"; face meant {say.place(asked.subject)}" if asked.subject else ""
    frame = f"; frame of a video, at {asked.media.frame_time_s:g} s" if isinstance(asked.media, VideoFrame) else ""
    return f"Image: {asked.image.media_type}, {asked.image.bytes:,} bytes{frame}{meant}"


def _step(step: Step) -> str:
    said = step.model_dump(exclude={"kind"})
    numbers = ", ".join(
        f"{name.replace('_', ' ')} {value:g}" if isinstance(value, float) else str(value)
        for name, value in said.items()
    )
    return f"{step.kind} ({numbers})" if numbers else step.kind


def _fate(tried: Tried) -> str:
    if tried.face is None:
        return f"Passed over: {say.listed([tried.skipped or 'unknown'])}"
    measured = tried.face.quality
    made = (
        f"; {tried.derivation.width_px} x {tried.derivation.height_px} px by {tried.derivation.tool}"
        if tried.derivation
        else ""
    )
    return (
        f"Face {say.place(tried.face.box)}, score {tried.face.score:.3f}, eyes {measured.interocular_px:.1f} px apart, "
        f"sharpness {measured.sharpness:.1f}, brightness {measured.brightness:.1f}{made}"
    )


def _digests(asked: Variant, tried: Tried) -> Code:
    image = asked.image.sha256 if isinstance(asked, ImageVariant) else None
    made = tried.derivation.pixels_sha256 if tried.derivation else image
    crop, template = _crop(tried.face), _template(tried.template)
    return Code("\n".join(digest or "-" for digest in (made, crop, template)))


def _crop(face: SubjectFace | None) -> str | None:
    return face.crop.sha256 if face else None


def _template(template: SubjectTemplate | None) -> str | None:
    return template.template.sha256 if template else None
