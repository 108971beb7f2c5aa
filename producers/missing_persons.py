"""The door of the unit for missing and deceased people: somebody who cannot say who they are, or is being looked for.

An image may be searched with and, in the same step, held for later searches. What the unit gives us to hold leads to
the missing and the deceased alone, and never to where suspects are sought: nobody says at this door which gallery.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from producers._listing import Moment
from producers._request import ProbeForm, Request, submit
from producers.references import Enrolment, holdable
from rfr_stream.errors import NotPermitted
from rfr_stream.events import GalleryName, HoldRecord, Prose, Purpose, Ref, Source, Value

__all__ = ["Entrusted", "UnitRequest", "submit"]

_SOURCE_OF: Final = {Purpose.MISSING: Source.MISSING_PERSON, Purpose.DECEASED: Source.DECEASED_PERSON}
_GALLERY_OF: Final = {Purpose.MISSING: GalleryName.MISSING, Purpose.DECEASED: GalleryName.DECEASED}


class Entrusted(Value):
    """Whom an image shows, and why it may be held; the rest of its hold record is what is asked anyway."""

    person_id: Annotated[Ref, Field(description="whom it shows; of somebody nameless, the unit's own reference")]
    basis: Annotated[Prose, Field(description="why it is lawfully held")]
    source: Annotated[Ref, Field(description="the system that it comes from")]
    captured_at: Moment
    review_due: Annotated[Moment, Field(description="when holding it must be looked at again")]


class UnitRequest(Request):
    """The unit asks; nobody is suspected of anything."""

    purpose: Literal[Purpose.MISSING, Purpose.DECEASED]
    submitted_by: Ref
    enrol: Annotated[Entrusted | None, Field(description="hold the image, too: later searches may find it")] = None

    def form(self) -> ProbeForm:
        return ProbeForm(self, _SOURCE_OF[self.purpose], self.submitted_by)

    def enrolment(self) -> Enrolment | None:
        """Return how the image is to be held, where that is asked.

        Raises:
            NotPermitted: no search could ever find it.

        """
        if self.enrol is None:
            return None
        form = self.form()
        hold = HoldRecord(
            legal_basis=self.enrol.basis,
            source=self.enrol.source,
            captured_at=self.enrol.captured_at,
            review_due=self.enrol.review_due,
            age_at_capture=self.age_at_capture,
            case_ref=self.case_ref,
            door=form.source,
            regime=form.regime,
            found=self.found,
        )
        enrolment = Enrolment(
            person_id=self.enrol.person_id,
            gallery=_GALLERY_OF[self.purpose],
            hold=hold,
            subject=self.subject,
            submitted_by=self.submitted_by,
            demo=self.demo,
        )
        try:
            return holdable(enrolment)
        except NotPermitted as void:
            msg = f"enrol: {str(void).partition(': ')[2]}"
            raise NotPermitted(msg) from None
