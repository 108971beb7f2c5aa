"""All stages in one process, on one connection: the embedded default, and the smallest house there is."""

from collections.abc import Collection
from typing import Final

from faststream import FastStream

from consumers import appeals, callbacks, detection, embedding, enrolment, review, search
from consumers._runtime import Resource, Task, serve
from consumers._serving import Serving
from rfr_stream.adapters import opening
from rfr_stream.errors import RfrError
from rfr_stream.settings import Settings
from rfr_stream.vision.packs import Role
from topics import access
from topics.bus import Bus

_PRINCIPALS: Final = {
    "appeals": access.APPEAL,
    "detection": access.DETECTION,
    "embedding": access.EMBEDDING,
    "search": access.SEARCH,
    "enrolment": access.ENROLMENT,
    "review": access.REVIEW,
    "callbacks": access.CALLBACK,
}
STAGES: Final = tuple(_PRINCIPALS)


def require_known(stages: Collection[str]) -> None:
    """Refuse names that no stage has.

    Raises:
        RfrError: there is no stage of this name.

    """
    if unknown := sorted(set(stages) - set(STAGES)):
        msg = f"no such stage: {', '.join(unknown)}; there are {', '.join(STAGES)}"
        raise RfrError(msg)


def create_app(settings: Settings | None = None, only: Collection[str] = STAGES) -> FastStream:
    """Build one application of these stages; those that need the same adapter share it.

    Raises:
        RfrError: there is no stage of this name.

    """
    settings = settings or Settings()
    require_known(only)
    rights = [right for stage in only for right in _PRINCIPALS[stage].rights]
    bus = Bus.from_settings(settings, client_id="rfr", rights=rights)
    blobs, ledger = opening.blobs(settings), opening.ledger(settings)
    vision = opening.vision(settings, load=_models(only))
    resources: list[Resource] = [blobs, ledger, vision]
    if _COMPARES & set(only):
        resources.insert(2, Serving(ledger, vision))  # before weights are loaded in vain
    tasks: list[Task] = []
    if "appeals" in only:
        tasks.append(appeals.mount(bus, settings, blobs=blobs, vision=vision, appeals=ledger))
    if "detection" in only:
        tasks.append(detection.mount(bus, settings, blobs=blobs, vision=vision))
    if "embedding" in only:
        tasks.append(embedding.mount(bus, settings, blobs=blobs, vision=vision, models=ledger))
    if {"search", "enrolment"} & set(only):
        gallery = opening.gallery(settings, vision)
        resources.append(gallery)
        known = {"references": ledger, "standing": ledger, "models": ledger}
        if "search" in only:
            tasks.append(search.mount(bus, settings, blobs=blobs, vision=vision, gallery=gallery, **known))
        if "enrolment" in only:
            tasks += enrolment.mount(bus, settings, blobs=blobs, vision=vision, gallery=gallery, **known)
    if "review" in only:
        tasks += review.mount(bus, settings, ledger=ledger, verifier=opening.verifier(settings))
    if "callbacks" in only:
        receivers = opening.callbacks(settings)
        resources.append(receivers)
        tasks.append(callbacks.mount(bus, settings, senders=opening.reception(ledger), callbacks=receivers))
    return serve(bus, *resources, tasks=tasks, metrics_port=settings.metrics_port)


_NEEDS: Final[dict[str, tuple[Role, ...]]] = {
    "detection": ("detector",),
    "embedding": ("embedder",),
    "enrolment": ("detector", "embedder"),
}
"""The models that a stage runs; the others run none."""
_COMPARES: Final = frozenset({"embedding", "search", "enrolment"})
"""Stages that must agree on the model that serves."""


def _models(only: Collection[str]) -> set[Role]:
    return {role for stage in only for role in _NEEDS.get(stage, ())}
