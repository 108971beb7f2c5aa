"""The officers' door: an image that the police hold, in an investigation."""

from producers._request import ProbeForm, Request, submit
from rfr_stream.events import Ref, Source

__all__ = ["OfficerRequest", "submit"]


class OfficerRequest(Request):
    """An officer asks."""

    submitted_by: Ref

    def form(self) -> ProbeForm:
        return ProbeForm(self, Source.OFFICER, self.submitted_by)
