"""What a change of the serving model means, before anything is stored: pure, one truth for every ledger."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rfr_stream.events import FaceEmbedded, ImageSubmitted, SubjectChoice
from rfr_stream.ports import Served

_BY: Final = "model-change"
"""Who says which face is meant: the one that was embedded before."""


def in_order(coming: Served, leaving: Served, before: Sequence[Served]) -> tuple[Served, ...]:
    """Return the models as they are on record after a change: the one that serves, then those that did."""
    first = {each.embedder: each for each in (*reversed(before), leaving, coming)}
    changed = dict.fromkeys((coming.embedder, leaving.embedder, *(each.embedder for each in before)))
    return tuple(first[embedder] for embedder in changed)


def asked_anew(probe: FaceEmbedded, now: datetime) -> ImageSubmitted:
    """Return the question that made this probe, about the same face, for another model to make a template of."""
    in_original = not probe.face_in
    choice = SubjectChoice(subject=probe.face.box.centre, chosen_by=_BY) if in_original else None
    return ImageSubmitted(occurred_at=now, demo=probe.demo, submission=probe.submission, choice=choice)


def is_newer(probe: FaceEmbedded, known: FaceEmbedded) -> bool:
    """Whether a probe's template is another model's, and made later: then it stands in the place of the one before."""
    return probe.template.embedder != known.template.embedder and probe.occurred_at > known.occurred_at
