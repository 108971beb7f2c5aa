"""Which model serves: whoever makes templates asks before they count, and whoever compares them keeps models apart."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

from rfr_stream.errors import Unavailable
from rfr_stream.events import FaceEmbedded, ModelIdentity
from rfr_stream.ports import Served
from rfr_stream.stages.searching import SearchRules

R = TypeVar("R")


def require_serving(served: Sequence[Served], embedder: ModelIdentity) -> None:
    """Refuse to work with another model than the one that serves; where none was ever changed, the settings say.

    Raises:
        Unavailable: another serves; whoever is at work waits, and loses nothing, until it is started with that one.

    """
    if served and served[0].embedder != embedder:
        now = served[0]
        msg = (
            f"RFR_VISION__PACK: the gallery is served by the pack {now.pack} ({now.embedder.name} "
            f"{now.embedder.version}); start this with that pack, or go back (`rfr gallery migrate --back`)"
        )
        raise Unavailable(msg)


async def search_by_model(
    batch: Sequence[FaceEmbedded],
    rules: Mapping[ModelIdentity, SearchRules],
    ours: ModelIdentity,
    search: Callable[[Sequence[FaceEmbedded], ModelIdentity, SearchRules], Awaitable[Sequence[R]]],
) -> list[R]:
    """Search each template among those of its own model, by that model's rules; one of no known model among ours.

    There it is refused. A template that was on its way when the model changed finds the collection that was meant.
    """
    models = [event.template.embedder if event.template.embedder in rules else ours for event in batch]
    found: dict[int, R] = {}
    for model in dict.fromkeys(models):
        mine = [i for i, each in enumerate(models) if each == model]
        found |= zip(mine, await search([batch[i] for i in mine], model, rules[model]), strict=True)
    return [found[i] for i in range(len(batch))]
