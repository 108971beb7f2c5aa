"""The door of the unit for missing and deceased people: somebody who cannot say who they are, or is being looked for.

References of the missing and the deceased come in through `references.py`, like all others.
"""

from typing import Final, Literal

from producers._request import ProbeForm, Request, submit
from rfr_stream.events import Purpose, Ref, Source

__all__ = ["UnitRequest", "submit"]

_SOURCE_OF: Final = {Purpose.MISSING: Source.MISSING_PERSON, Purpose.DECEASED: Source.DECEASED_PERSON}


class UnitRequest(Request):
    """The unit asks; nobody is suspected of anything."""

    purpose: Literal[Purpose.MISSING, Purpose.DECEASED]
    submitted_by: Ref

    def form(self) -> ProbeForm:
        return ProbeForm(self, _SOURCE_OF[self.purpose], self.submitted_by)
