"""What every gallery checks before it touches anything, how it names collections and how it orders hits."""

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Final, Protocol
from uuid import UUID

import numpy as np

from rfr_stream.errors import Malformed, NotPermitted
from rfr_stream.events import GalleryName, ModelIdentity, canonical
from rfr_stream.ports import Hit, Templates

NORM_TOLERANCE: Final = 1e-3
"""Rounding of float32 and of stored templates stays far below; a template that was never normalised does not."""


def require_embedder(opened_for: Collection[ModelIdentity], embedder: ModelIdentity) -> None:
    """Refuse another embedder than those the gallery was opened for.

    Raises:
        NotPermitted: templates of two models are never compared.

    """
    if embedder not in opened_for:
        names = ", ".join(f"{each.name} {each.version}" for each in opened_for)
        msg = f"embedder: this gallery was opened for {names}; templates of two models are never compared"
        raise NotPermitted(msg)


def require_templates(templates: Templates, dimension: int) -> Templates:
    """Return float32 [N, D], C order, each row finite and of L2 norm 1.

    Raises:
        Malformed: another shape, not a number, or not of norm 1; the message names the first row at fault.

    """
    if templates.ndim != 2 or templates.shape[1] != dimension:  # noqa: PLR2004 - rows and columns
        msg = f"templates: must be float32 [N, {dimension}]"
        raise Malformed(msg)
    rows = np.ascontiguousarray(templates, dtype=np.float32)
    norms = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    wrong = ~(np.abs(norms - 1.0) <= NORM_TOLERANCE)  # the comparison fails for what is not a number, too
    if wrong.any():
        msg = f"templates: row {int(wrong.argmax())} is not finite and of L2 norm 1"
        raise Malformed(msg)
    return rows


def latest(ids: Sequence[UUID], templates: Templates) -> tuple[list[UUID], Templates]:
    """Return each id once, with the last template given for it.

    Raises:
        ValueError: not one template for each id.

    """
    if len(ids) != len(templates):
        msg = f"{len(ids)} ids for {len(templates)} templates"
        raise ValueError(msg)
    row_of = {reference_id: row for row, reference_id in enumerate(ids)}
    return list(row_of), templates[list(row_of.values())]


def require_question(limit: int, threshold: float) -> float:
    """Return the threshold as float32 has it, the precision of a similarity, so that inclusive means inclusive.

    Raises:
        ValueError: limit below 1, or a threshold that is no cosine.

    """
    if limit < 1 or not -1.0 <= threshold <= 1.0:
        msg = "limit must be at least 1, and threshold between -1 and 1"
        raise ValueError(msg)
    return float(np.float32(threshold))


def just_below(threshold: float) -> float | None:
    """Return what to ask of Qdrant, whose own threshold is exclusive; None: everything."""
    return float(np.nextafter(np.float32(threshold), np.float32(-2))) if threshold > -1.0 else None


class Scored(Protocol):
    """A point that Qdrant found."""

    @property
    def score(self) -> float: ...


def cuts_a_tie(points: Sequence[Scored], *, limit: int, asked: int) -> bool:
    """Whether more than was asked for may be as near as the last place; the engine cuts a tie as it likes."""
    return len(points) == asked and points[-1].score == points[limit - 1].score


def best_first(found: Iterable[tuple[UUID, float]], *, limit: int, threshold: float) -> list[Hit]:
    """Return at most `limit` hits of similarity >= threshold, best first, ties by id."""
    clipped = ((reference_id, max(-1.0, min(1.0, score))) for reference_id, score in found)
    hits = [Hit(reference_id, similarity) for reference_id, similarity in clipped if similarity >= threshold]
    hits.sort(key=lambda hit: (-hit.similarity, hit.reference_id.int))
    return hits[:limit]


def collection_prefix(gallery: GalleryName) -> str:
    """Return how the names of all collections of one gallery begin, and no others."""
    return f"rfr-{gallery}--"


def begins_after(after: UUID | None) -> UUID | None:
    """Return the id at which Qdrant is to go on, which it includes."""
    return None if after is None else UUID(int=after.int + 1)


def collection_name(gallery: GalleryName, embedder: ModelIdentity) -> str:
    """Return a name for this gallery and embedder that files, URLs and Qdrant all take.

    The readable part is for people; the digest of the whole identity keeps apart what it would blur.
    """
    readable = re.sub(r"[^a-z0-9.]+", "-", f"{embedder.name}-{embedder.version}".lower()).strip("-.")[:64]
    digest = hashlib.sha256(canonical(embedder.model_dump(mode="json"))).hexdigest()
    weights = embedder.weights_sha256[:12]
    return f"{collection_prefix(gallery)}{readable}-{embedder.dimension}d-{weights}-{digest[:12]}"
