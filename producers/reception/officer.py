"""The officers' door."""

from typing import Any, Final

from producers.officer import OfficerRequest
from producers.reception._door import door, with_videos
from producers.reception._wanted import OfficerVideo
from rfr_stream.reception import Door
from topics import access

_EXAMPLE: Final[dict[str, Any]] = {
    "purpose": "suspect",
    "harm": "serious_harm",
    "case_ref": "C-77/26",
    "legal_basis": "DPA 2018 s.35(5)",
    "necessity": "The recording is the only lead; nobody on the street knew them, and no appeal has helped.",
    "provenance": {"origin": "cctv", "obtained": "Seized from the shop's recorder.", "exhibit_ref": "AB/1"},
    "submitted_by": "officer-31",
}

OPENING: Final = with_videos(
    door(Door.OFFICER, OfficerRequest, principal=access.OFFICER, example=_EXAMPLE),
    Door.OFFICER,
    OfficerVideo,
    example={**_EXAMPLE, "frames": {"at": [0.0, 1.48]}},
)
