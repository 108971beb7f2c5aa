"""The demonstration's reviewers: each sees the case alone, in an order of their own, and signs what they conclude."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from mimetypes import guess_extension
from pathlib import Path
from typing import Final, TypeAlias

from producers.console import signing
from rfr_stream import policy
from rfr_stream.adapters import keys, opening
from rfr_stream.commands._blind import print_case, shuffled
from rfr_stream.commands._context import CONSOLE, say
from rfr_stream.desk import order_seed
from rfr_stream.errors import Rejected, RfrError
from rfr_stream.events import BlobRef, CandidatesReady, Component, Examination, Feature, Finding, ReviewDecided, Support
from rfr_stream.ports import Reviewer, Reviewers
from rfr_stream.settings import Settings
from topics.bus import Bus

FIRST_TWO: Final = ("demo-reviewer-a", "demo-reviewer-b")
THIRD: Final = ("demo-reviewer-c",)
NOBODY: Final = "none"

Choose: TypeAlias = Callable[[CandidatesReady, str], Awaitable[str | None]]
"""Returns the person that this reviewer names, or None for none of these."""


@dataclass(frozen=True, slots=True)
class Panel:
    """What the demonstration's reviewers need."""

    choose: Choose
    settings: Settings
    bus: Bus
    reviewers: Reviewers

    async def hear(self, found: CandidatesReady, names: Sequence[str]) -> None:
        """Register reviewers with keys made for the occasion, show each the case, and publish what they sign."""
        signers = {name: keys.generate() for name in names}
        until = datetime.now(UTC) + timedelta(hours=1)
        for name, key in signers.items():
            await self.reviewers.register(Reviewer(name, keys.public_text(key), until))
        for name, key in signers.items():
            words = await self._heard(found, name)
            await self.bus.publish([signing.seal(words, keys.sign_bytes(key, words.signed_bytes))])

    async def _heard(self, found: CandidatesReady, name: str) -> ReviewDecided:
        CONSOLE.rule(f"{name}: look at the probe, then at each candidate")
        print_case(found, name, places=await _laid_out(self.settings, found, name))
        shown_at = datetime.now(UTC)
        judgement = await _judgement(found, name, await self.choose(found, name), shown_at)
        return signing.draft(found, judgement, datetime.now(UTC))


async def ask(found: CandidatesReady, reviewer: str) -> str | None:
    """Let the person at the terminal be this reviewer."""
    order = shuffled(found, reviewer)
    choices = [NOBODY, *(str(number) for number in range(1, len(order) + 1))]
    while True:
        CONSOLE.print(f"You are {reviewer}. Who may this be? [{'/'.join(choices)}] ({NOBODY}): ", end="", markup=False)
        answer = (await _line()).strip() or NOBODY
        if answer in choices:
            return None if answer == NOBODY else order[int(answer) - 1].person_id
        say(f"One of {', '.join(choices)}, please.")


async def choose_first(found: CandidatesReady, reviewer: str) -> str | None:
    """Decide as a reviewer who looks at nothing; only a demonstration has such."""
    named = found.candidates[0].person_id if found.candidates else None
    say(f"{reviewer} is scripted, and names {named}.")
    return named


async def _judgement(
    found: CandidatesReady, reviewer: str, person_id: str | None, shown_at: datetime
) -> signing.Judgement:
    if person_id is None:
        examined = _examination(found, reviewer, shown_at)
        return signing.Judgement(reviewer_id=reviewer, support=Support.MODERATE_DIFFERENT, examination=examined)
    seen = {Component.EYEBROWS: Finding.SIMILAR, Component.MOUTH: Finding.SIMILAR}
    features = tuple(Feature(component=each, finding=seen.get(each, Finding.NOT_VISIBLE)) for each in Component)
    # A scripted reviewer is held to it too; sleep goes by another clock, hence a little more.
    await asyncio.sleep(max(0.0, policy.MIN_COMPARED_S + 0.1 - _since(shown_at)))
    return signing.Judgement(
        reviewer_id=reviewer,
        support=Support.MODERATE_SAME,
        person_id=person_id,
        features=features,
        examination=_examination(found, reviewer, shown_at),
    )


def _examination(found: CandidatesReady, reviewer: str, shown_at: datetime) -> Examination:
    return Examination(
        analysed_at=shown_at,
        shown_at=shown_at,
        order_seed=order_seed(found, reviewer),
        compared_s=_since(shown_at),
    )


def _since(moment: datetime) -> float:
    return (datetime.now(UTC) - moment).total_seconds()


async def _laid_out(settings: Settings, found: CandidatesReady, reviewer: str) -> dict[str, str]:
    """Copy the list's images under short names, and return where each lies by its reference."""
    folder = settings.data_dir / reviewer
    folder.mkdir()
    shown = {"probe": found.submission.image}
    shown |= {str(number): each.reference for number, each in enumerate(shuffled(found, reviewer), start=1)}
    async with opening.blobs(settings) as blobs:
        files = await blobs.get(list(shown.values()))
    return {
        ref.uri: str(_written(folder / name, ref, file)) for (name, ref), file in zip(shown.items(), files, strict=True)
    }


def _written(path: Path, ref: BlobRef, file: bytes | Rejected) -> Path:
    if isinstance(file, Rejected):
        raise file
    path = path.with_suffix(guess_extension(ref.media_type) or "")
    path.write_bytes(file)
    return path


async def _line() -> str:
    """Return the next line of the terminal. No thread waits for it, so that Ctrl-C ends the demonstration at once.

    Raises:
        RfrError: there will be none (Ctrl-D).

    """
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
    if not (line := sys.stdin.readline()):
        msg = "the terminal was closed before both had decided; nothing was released"
        raise RfrError(msg)
    return line
