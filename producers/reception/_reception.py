"""What every door stands on: the reception's ports, which client knocks, and how many are inside."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Protocol, TypeAlias

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from producers._admission import Scanner
from producers._intake import Publish
from producers.reception._answered import Answered
from producers.reception._decoding import Decoding
from producers.reception._refusals import RETRY_AFTER_S, Refused
from rfr_stream.ports import BlobStore, Ledger
from rfr_stream.reception import Client, Door, is_name, is_token_of, named_in
from rfr_stream.settings import IntakeSettings

if TYPE_CHECKING:
    from rfr_stream.adapters.reception import SqlReception


_VIDEOS: Final = "videos"


class Backlog(Protocol):
    """How many submissions wait for the pipeline."""

    def messages(self) -> int:
        """Return how many waited when somebody last looked; `Unavailable` where the bus did not say."""


@dataclass(frozen=True)
class Reception:
    """The ports that doors use. `publish` reaches SUBMISSIONS and APPEALS; nothing here can write anything else."""

    settings: IntakeSettings
    ledger: Ledger
    store: "SqlReception"
    blobs: BlobStore
    publish: Publish
    backlog: Backlog
    key: bytes
    """What tokens are made with."""
    decoding: Decoding
    spool: Path
    """Where uploads lie while they come in."""
    scanner: Scanner | None = None
    demo: bool = False
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    max_image_bytes: int = 64 * 2**20
    max_image_pixels: int = 120_000_000
    inside: Counter[str] = field(default_factory=Counter)
    answered: Answered = field(default_factory=Answered)
    """Of requests that were signed."""

    @contextmanager
    def place_at(self, door: Door) -> Iterator[None]:
        """Hold a place at a door.

        Raises:
            Refused: there is none, or behind the doors too much waits already.

            Unavailable: the bus does not say what waits.

        """
        if self.inside[door] >= self._places(door) or self._is_too_much(door):
            raise _later()
        self.inside[door] += 1
        try:
            yield
        finally:
            self.inside[door] -= 1

    @contextmanager
    def place_for_a_video(self, door: Door) -> Iterator[None]:
        """Hold a place at a door, and one of the few for videos.

        Raises:
            Refused: one of them is not free.

            Unavailable: the bus does not say what waits.

        """
        if self.inside[_VIDEOS] >= self.settings.videos:
            raise _later()
        self.inside[_VIDEOS] += 1
        try:
            with self.place_at(door):
                yield
        finally:
            self.inside[_VIDEOS] -= 1

    def _places(self, door: Door) -> int:
        return self.settings.appeal_uploads if door is Door.APPEAL else self.settings.uploads

    def _is_too_much(self, door: Door) -> bool:
        """Whether too much waits behind a door; what the public sent in waits for people, on a topic of its own."""
        return door is not Door.APPEAL and self.backlog.messages() > self.settings.backlog


def _later() -> Refused:
    status = HTTPStatus.TOO_MANY_REQUESTS
    return Refused(status, "request", "send the same again later", retry_after=str(RETRY_AFTER_S))


def reception_of(request: Request) -> Reception:
    """Return the reception that the application was built on."""
    here: Reception = request.app.state.reception
    return here


Here: TypeAlias = Annotated[Reception, Depends(reception_of)]

_BEARER: Final = HTTPBearer(auto_error=False, description="the token that `rfr clients add` printed")


async def client_of(here: Here, shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> Client:
    """Return which client this is.

    Raises:
        Refused: none that may come in.

    """
    token = shown.credentials if shown else ""
    name = named_in(token)
    known = await here.store.client(name) if is_name(name) else None
    # One that is not known is compared all the same, so that nobody finds out by the clock who is.
    is_in = is_token_of(known or Client("nobody", Door.OFFICER), token, here.key)
    if known is None or not is_in or known.door not in here.settings.doors:
        fix = "a client's token; `rfr clients add` makes one"
        raise Refused(HTTPStatus.UNAUTHORIZED, "Authorization", fix, www_authenticate="Bearer")
    return known


Known: TypeAlias = Annotated[Client, Depends(client_of)]


def client_at(door: Door) -> Callable[[Client], Client]:
    """Return a dependency that lets in this door's own clients."""

    def check(client: Known) -> Client:
        if client.door is not door:
            raise Refused(HTTPStatus.FORBIDDEN, "Authorization", "this client has another door")
        return client

    return check
