"""What can go wrong, sorted by what the runtime must do about it.

    Rejected       the message's fault     -> dead letter and an outcome; the offset moves
    Unavailable    a dependency's fault    -> wait; the same message again, in order
    anything else  our fault               -> log once, stop the stage; the offset stays

An error's message names the field and the fix, and never quotes a value that could identify a person.
"""

from collections.abc import Callable
from typing import ClassVar, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class RfrError(Exception):
    """Anything this project raises on purpose."""

    def __str__(self) -> str:
        """Return the message, or the class's docstring where none was given."""
        return super().__str__() or (type(self).__doc__ or type(self).__name__).splitlines()[0]


class Rejected(RfrError):
    """The message itself is at fault; trying again cannot help."""

    reason: ClassVar[str] = "rejected"
    """Stable code that goes into dead-letter headers, metrics and reports."""
    is_ours_in_a_row: ClassVar[bool] = True
    """Whether very many, one after the other, mean that a deployment of ours is bad, and the stage must stop."""


class Malformed(Rejected):
    """The value is not what its contract says."""

    reason = "malformed"


class BadImage(Rejected):
    """The bytes are not an image that may be opened."""

    reason = "bad_image"


class BadVideo(Rejected):
    """The file is not a video that may be opened, or is damaged where it is needed."""

    reason = "bad_video"


class MissingBlob(Rejected):
    """The blob that the event refers to does not exist, or is not the one that was referred to."""

    reason = "missing_blob"


class NotPermitted(Rejected):
    """Policy forbids it."""

    reason = "not_permitted"


class Undelivered(Rejected):
    """Whoever was to be told did not take it, however often it was tried; it is their server, and not ours."""

    reason = "undelivered"
    is_ours_in_a_row = False


class Poisonous(Rejected):
    """The message has killed its process three times; it was set aside unopened."""

    reason = "poisonous"


class Unavailable(RfrError):
    """A dependency is away; the same message is tried again once it is back."""


def settle(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "T | Rejected":
    """Return the function's result, or the `Rejected` it raised: one item's fault must not touch its batch."""
    try:
        return function(*args, **kwargs)
    except Rejected as fault:
        return fault
