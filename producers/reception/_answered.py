"""What was answered to signed requests lately: one that comes again is not done again."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

WINDOW: Final = timedelta(minutes=5)
"""How far a signature's time may lie beside our clock, in either direction."""


@dataclass(slots=True)
class Answered:
    """The answer to each signature, for as long as it could come again.

    Each process has its own: elsewhere the request is done again, which does no harm, since all ids are derived.
    """

    _answers: dict[str, tuple[datetime, object]] = field(default_factory=dict, repr=False)

    def known(self, signature: str) -> object | None:
        """Return the answer, if it was given before."""
        return self._answers.get(signature, (None, None))[1]

    def remember(self, signature: str, answer: object, now: datetime) -> None:
        """Keep an answer; forget those whose requests would be refused by now."""
        self._answers[signature] = (now, answer)
        for old, (at, _) in list(self._answers.items()):
            if now - at <= 2 * WINDOW:
                break
            del self._answers[old]
