"""The door of the unit for missing and deceased people."""

from typing import Any, Final

from producers.missing_persons import UnitRequest
from producers.reception._door import door, with_videos
from producers.reception._wanted import UnitVideo
from rfr_stream.reception import Door
from topics import access

_EXAMPLE: Final[dict[str, Any]] = {
    "purpose": "deceased",
    "harm": "other",
    "case_ref": "CO-2026-0088",
    "legal_basis": "identification of a deceased person",
    "regime": "uk_gdpr",
    "necessity": "No documents, nobody reported missing who fits, and fingerprints gave nothing.",
    "provenance": {"origin": "mortuary", "obtained": "Taken by the photographer.", "exhibit_ref": "MT/4"},
    "age_at_capture": 60,
    "found": {"where": "Foreshore below the old pier", "when": "2026-01-24T06:40:00Z"},
    "submitted_by": "unit-3",
}
_HELD: Final[dict[str, Any]] = {
    "person_id": "body-2026-0088",
    "basis": "held until somebody says who this was",
    "source": "mortuary-register",
    "captured_at": "2026-01-24T08:10:00Z",
    "review_due": "2036-01-24T00:00:00Z",
}

OPENING: Final = with_videos(
    door(Door.UNIT, UnitRequest, principal=access.MISSING_PERSONS, example={**_EXAMPLE, "enrol": _HELD}),
    Door.UNIT,
    UnitVideo,
    example={**_EXAMPLE, "frames": {"every": 2}},
)
