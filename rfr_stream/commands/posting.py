"""`rfr post`: many images of missing and deceased people by one list."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from producers import posting
from producers._intake import Report
from rfr_stream.adapters import opening
from rfr_stream.commands._context import settings_of
from rfr_stream.commands._handing_in import hand_in, rejects_of
from rfr_stream.policy import Stated
from rfr_stream.settings import Settings


def post(
    context: typer.Context,
    manifest: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="CSV or JSON Lines, an image a line; see docs/intake.md")
    ],
    rejects: Annotated[
        Path | None, typer.Option(dir_okay=False, help="where rejects and fixes go; else MANIFEST.rejects.jsonl")
    ] = None,
) -> None:
    """Search with images of missing and deceased people, enrol them, or both in one step, as a manifest lists them.

    Run it again after an interruption, and nothing is doubled.
    """
    settings = settings_of(context)
    hand_in(settings, posting.count(manifest), partial(_posted, settings, manifest), rejects or rejects_of(manifest))


async def _posted(settings: Settings, manifest: Path, **ports: Any) -> AsyncIterator[Report]:  # noqa: ANN401 - a door's
    async with opening.ledger(settings) as ledger:
        statements = opening.reception(ledger)

        async def own_words(submitted_by: str, words: Stated) -> None:
            await statements.require_own_words(submitted_by, words, datetime.now(UTC))

        async for report in posting.post(manifest, own_words=own_words, demo=settings.demo, **ports):
            yield report
