"""What the public sent in, before anybody is searched for."""

from typing import Annotated
from uuid import UUID

from pydantic import StringConstraints

from rfr_stream.events.values import BlobRef, Event, Ref, derive_event_id, derive_id

AppealRef = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$", min_length=1, max_length=64)]
"""The case that the public was asked about. Narrower than other references: no address of a person fits into it."""


class AppealImageReceived(Event):
    """A portal passed on a picture that somebody sent in to an appeal.

    Nothing here says who that was, and nothing may: of the portal's own reference only what is derived from it, and
    from the picture, is left.
    """

    ce_type = "rfr.appeal-image-received.v1"

    contribution_id: UUID
    appeal_ref: AppealRef
    portal: Ref
    image: BlobRef

    @staticmethod
    def derive(portal: str, portal_ref: UUID, image_sha256: str) -> UUID:
        """Return the id of this picture in this message to this portal: sent again, it is the same contribution."""
        return derive_id("contribution", portal, portal_ref, image_sha256)

    @property
    def event_id(self) -> UUID:
        return derive_event_id(self.ce_type, self.contribution_id)

    @property
    def key(self) -> str:
        return str(self.contribution_id)
