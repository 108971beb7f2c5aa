"""Which embedder's templates are searched: the one thing that every stage beside the gallery must agree on."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from rfr_stream.events import ModelIdentity


@dataclass(frozen=True, slots=True)
class Served:
    """A model that serves, or did and is kept: its pack's name, its embedder, and its threshold."""

    pack: str
    embedder: ModelIdentity
    threshold: float
    """With which templates of it that are still on their way are searched, once it serves no longer."""
    since: datetime


@dataclass(frozen=True, slots=True)
class Extent:
    """How many references are held, how many were erased, and how often those that are held were written again.

    As long as none of it changes, nobody came, nobody went, and nobody was corrected: whoever is enrolled adds to the
    first, whoever is erased adds to the second, for good, and whoever is enrolled again adds to the third.
    """

    held: int
    erased: int
    rewritten: int


class Models(Protocol):
    """The record of which model serves."""

    async def served(self) -> Sequence[Served]:
        """Return the model that serves, and behind it those whose collections are kept, the last to serve first.

        Empty while no model was ever changed: then the settings alone say which.
        """

    async def extent(self) -> Extent:
        """Return how many references there are and were."""

    async def serve(self, coming: Served, leaving: Served, *, seen: Extent) -> bool:
        """Let a model serve instead of another from here on, unless somebody came, went or was corrected since `seen`.

        One transaction, which no enrolment overlaps: whether it happened. Whoever is still sought with a template of
        another model is promised to SUBMISSIONS once more, so that the new model makes one; a model that serves already
        may be named twice, for those who came since with a template of the one before.
        """

    async def retire(self) -> None:
        """Keep no model but the one that serves."""
