"""Images, one by one: each is authorised, logged, and shown without metadata and with bystanders masked."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter
from fastapi.responses import Response

from producers.console._desk import Desk, Here, NotFound, Reviewing, TooEarly, WorkedCase, list_of
from rfr_stream import policy
from rfr_stream.desk import Operation, in_order
from rfr_stream.errors import Rejected
from rfr_stream.events import BlobRef, Candidate
from rfr_stream.faces import Box
from rfr_stream.vision.decode import Limits
from rfr_stream.vision.derivative import derivative

router = APIRouter()

_IMAGE: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"image/png": {}, "image/jpeg": {}}}}


@router.get("/cases/{submission_id}/frame", response_class=Response, responses=_IMAGE)
async def frame(case: WorkedCase, desk: Here, account: Reviewing) -> Response:
    """Show the whole frame, so that somebody can say who is meant; from then on the others are masked."""
    if case.faces is None:
        raise NotFound
    await desk.log(account, Operation.CONSULTATION, case.submission_id, "whole frame")
    return await _shown(desk, case.faces.submission.image)


@router.get("/cases/{submission_id}/probe", response_class=Response, responses=_IMAGE)
async def probe(case: WorkedCase, desk: Here, account: Reviewing) -> Response:
    """Show the probe."""
    found = list_of(case)
    await desk.log(account, Operation.CONSULTATION, case.submission_id, "probe")
    return await _shown(desk, found.submission.image, masks=found.face.masks)


@router.get("/cases/{submission_id}/candidates/{place}", response_class=Response, responses=_IMAGE)
async def candidate(case: WorkedCase, place: int, desk: Here, account: Reviewing) -> Response:
    """Show the candidate at this place of the reviewer's own order, once the comparison has begun."""
    found = list_of(case)
    examined = await desk.store.examinations.examined(case.submission_id, account.account_id)
    if examined is None or examined.order_seed is None:
        msg = "Analyse the probe first; candidates are shown once that is on record."
        raise TooEarly(msg)
    shown = _at(in_order(found, examined.order_seed), place)
    await _require_held(desk, shown)
    await desk.log(account, Operation.CONSULTATION, case.submission_id, f"candidate {place}: {shown.reference_id}")
    return await _shown(desk, shown.reference)


def _at(candidates: Sequence[Candidate], place: int) -> Candidate:
    if not 1 <= place <= len(candidates):
        raise NotFound
    return candidates[place - 1]


async def _require_held(desk: Desk, shown: Candidate) -> None:
    """Refuse an image that may not be used any more: lists outlive hold records.

    Raises:
        NotFound: its hold record is gone, restricted or overdue.

    """
    reference = (await desk.ledger.held([shown.reference_id])).get(shown.reference_id)
    if reference is None or policy.ineligibility(reference, desk.clock()):
        raise NotFound


async def _shown(desk: Desk, image: BlobRef, *, masks: Sequence[Box] = ()) -> Response:
    (file,) = await desk.blobs.get([image])
    if isinstance(file, Rejected):
        raise NotFound
    limits = Limits(desk.max_image_bytes, desk.max_image_pixels)
    shown = await asyncio.to_thread(derivative, file, limits, masks=masks)
    return Response(shown.data, media_type=shown.media_type)
