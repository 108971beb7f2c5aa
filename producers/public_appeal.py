"""The public's door: an image that somebody sent in, endorsed by an officer.

Nothing about the contributor is accepted here, not even by accident: the request is closed, and names of files stay
on the machine they came from. Who sent what is the portal's own record.
"""

from producers._request import ProbeForm, Request, submit
from rfr_stream.events import Ref, Source

__all__ = ["AppealRequest", "submit"]


class AppealRequest(Request):
    """An officer asks about what the public sent in, and answers for it."""

    endorsed_by: Ref

    def form(self) -> ProbeForm:
        return ProbeForm(self, Source.PUBLIC_APPEAL, self.endorsed_by)
