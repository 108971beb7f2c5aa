"""Holds a stage to the model that serves: at its start, and with each batch before anything of it counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from rfr_stream import stages
from rfr_stream.ports import Models, Served, Vision


@dataclass(frozen=True, slots=True)
class Serving:
    """Asks the ledger which model serves; entered before the first message, so that another one refuses to start."""

    models: Models
    vision: Vision

    async def __aenter__(self) -> Self:
        """Refuse to start with another model than the one that serves."""
        await self.now()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go of nothing."""

    async def now(self) -> Sequence[Served]:
        """Return the model that serves and those that did.

        Raises:
            Unavailable: it is not ours; the batch waits for a process that has it.

        """
        served = await self.models.served()
        stages.require_serving(served, self.vision.embedder.identity)
        return served
