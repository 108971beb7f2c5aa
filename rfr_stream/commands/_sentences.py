"""What went wrong, as sentences for whoever sits at the terminal: the option or variable at fault, and the fix."""

from collections.abc import Iterator
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rfr_stream.errors import RfrError
from rfr_stream.settings import Settings
from topics.bus import SendFailed

OPTIONS: Final = {
    "about": "CASE",
    "case_ref": "--case",
    "legal_basis": "--basis",
    "submitted_by": "--by",
    "endorsed_by": "--by",
    "erased_by": "--by",
    "decided_by": "--by",
    "exceptional_reason": "--keep-because",
    "ordered_by": "--by",
    "person_id": "--person",
    "reviewer_id": "--reviewer",
    "similarities": "--similar",
    "dissimilarities": "--dissimilar",
    "media": "--video-sha256, --frame-time-s",
    "provenance": "--origin, --obtained, --exhibit",
    "age_at_capture": "--age",
    "found": "--found-where, --found-at",
    "steps": "--recipe-file",
    "variants": "--recipe, --recipe-file",
}
"""Fields of the contracts whose options are called otherwise."""

EXPECTED: Final = (RfrError, SendFailed, ValidationError, OSError)
"""What a command may end with; anything else is a bug, and shows where."""


def sentences(error: BaseException) -> Iterator[str]:
    """Yield at least one sentence about an expected error."""
    match error:
        case ValidationError():
            of_settings = error.title == Settings.__name__
            for fault in error.errors(include_url=False, include_input=False):
                yield f"{_variable(fault) if of_settings else _option(fault)}: {_plainly(fault)}"
        case SendFailed():
            yield "the cluster did not acknowledge what was sent; the same command again is safe"
        case OSError(filename=str(name), strerror=str(reason)):
            yield f"{name}: {reason}"
        case _:
            yield str(error)


def _variable(fault: ErrorDetails) -> str:
    return "RFR_" + "__".join(str(part).upper() for part in fault["loc"])


def _option(fault: ErrorDetails) -> str:
    field = str(next((part for part in fault["loc"] if part != "hold"), "value"))
    return OPTIONS.get(field, f"--{field.replace('_', '-')}")


def _plainly(fault: ErrorDetails) -> str:
    if fault["type"] == "string_pattern_mismatch":
        return "a reference, no name: letters, digits and . _ : / @ + - only, beginning with a letter or digit"
    return fault["msg"]
