"""What every page stands on: the desk's ports, who is signed in, and what a page may refuse."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias
from urllib.parse import urlsplit
from uuid import UUID

from fastapi import Depends, Request

from rfr_stream import review
from rfr_stream.desk import Account, Operation
from rfr_stream.errors import NotPermitted
from rfr_stream.events import CandidatesReady, Event
from rfr_stream.policy import Role
from rfr_stream.ports import BlobStore, Case, Ledger, Verifier
from rfr_stream.settings import DeskSettings

if TYPE_CHECKING:
    from rfr_stream.adapters.desk import SqlDesk


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Desk:
    """The ports that pages use. `publish` reaches DECISIONS and, for endorsed appeals, SUBMISSIONS; nothing else."""

    settings: DeskSettings
    ledger: Ledger
    store: "SqlDesk"
    blobs: BlobStore
    verifier: Verifier
    publish: Callable[[Sequence[Event]], Awaitable[None]]
    seal_file: Path | None = None
    """Of the key that disclosures are sealed with."""
    demo: bool = False
    clock: Callable[[], datetime] = utc_now
    max_image_bytes: int = 64 * 2**20
    max_image_pixels: int = 120_000_000

    @property
    def is_https(self) -> bool:
        """Whether browsers reach the desk over TLS; if not, it is on this machine alone."""
        return urlsplit(self.settings.public_url).scheme == "https"

    @property
    def cookie(self) -> str:
        """The session's cookie; under TLS, one that only this host can have set."""
        return "__Host-rfr" if self.is_https else "rfr"

    async def case(self, submission_id: UUID) -> Case:
        """Return a case.

        Raises:
            NotFound: there is none, or it belongs to the other world: demonstration or operation.

        """
        found = await self.ledger.case(submission_id)
        if found is None or found.demo is not self.demo:
            raise NotFound
        return found

    async def log(self, account: Account, operation: Operation, about: object, detail: str) -> None:
        """Write down what is about to be served or done; if that cannot be written, it does not happen."""
        await self.store.log.write(account.account_id, operation, str(about), detail, self.clock())


class NotFound(Exception):
    """There is no such page, or not for this person."""


class NotSignedIn(Exception):
    """Nobody is signed in, or the session has ended."""


class TooEarly(Exception):
    """The step before has not been taken; the text says which."""


def digest_of(secret: str) -> str:
    """Return what is kept of a code or token: its SHA-256."""
    return sha256(secret.encode()).hexdigest()


def desk_of(request: Request) -> Desk:
    """Return the desk that the application was built on."""
    desk: Desk = request.app.state.desk
    return desk


Here: TypeAlias = Annotated[Desk, Depends(desk_of)]


def is_asked_by_itself(request: Request) -> bool:
    """Whether a page asks again by itself, with nobody doing anything: a session does not live on that."""
    return "hx-request" in request.headers


async def signed_in(request: Request, desk: Here) -> Account:
    """Return who is signed in.

    Raises:
        NotSignedIn: nobody is.

    """
    token = request.cookies.get(desk.cookie, "")
    account = await desk.store.accounts.inside(
        digest_of(token),
        desk.clock(),
        idle=timedelta(minutes=desk.settings.idle_minutes),
        longest=timedelta(hours=desk.settings.session_hours),
        used=not is_asked_by_itself(request),
    )
    if account is None:
        raise NotSignedIn
    request.state.account = account
    return account


SignedIn: TypeAlias = Annotated[Account, Depends(signed_in)]


def holding(*roles: Role) -> Callable[[Account], Account]:
    """Return a dependency that lets in whoever holds one of these roles."""

    def check(account: SignedIn) -> Account:
        if account.roles.isdisjoint(roles):
            msg = f"roles: this page is for {' or '.join(roles)}"
            raise NotPermitted(msg)
        return account

    return check


Reviewing: TypeAlias = Annotated[Account, Depends(holding(Role.REVIEWER))]
Submitting: TypeAlias = Annotated[Account, Depends(holding(Role.SUBMITTER))]
Supervising: TypeAlias = Annotated[Account, Depends(holding(Role.SUPERVISOR))]


async def held_case(submission_id: UUID, desk: Here, account: Reviewing) -> Case:
    """Return a case that waits for people and that this reviewer holds, and hold it longer.

    Whoever takes it up anew compares anew: the time that passed in between was not spent on it.

    Raises:
        NotFound: it has ended, or has no list yet.

        NotPermitted: somebody else holds it, they asked for it, or their training has lapsed.

    """
    case = await desk.case(submission_id)
    if case.state not in review.CAN_EXPIRE:
        raise NotFound
    require_not_own(case, account)
    await require_in_date(desk, account)
    now = desk.clock()
    held = await desk.store.queue.holds(submission_id, account.account_id, now)
    until = now + timedelta(minutes=desk.settings.lease_minutes)
    if not await desk.store.queue.claim(submission_id, account.account_id, now, until):
        msg = "submission_id: somebody else holds this case; take another from the queue"
        raise NotPermitted(msg)
    if not held:
        await desk.store.examinations.rest(submission_id, account.account_id)
    return case


HeldCase: TypeAlias = Annotated[Case, Depends(held_case)]


async def worked_case(submission_id: UUID, desk: Here, account: Reviewing) -> Case:
    """Return a case that this reviewer holds, or has decided on.

    Raises:
        NotPermitted: neither, or their training has lapsed.

    """
    await require_in_date(desk, account)
    examined = await desk.store.examinations.examined(submission_id, account.account_id)
    if examined and examined.sent_at:
        return await desk.case(submission_id)
    return await held_case(submission_id, desk, account)


WorkedCase: TypeAlias = Annotated[Case, Depends(worked_case)]


def require_not_own(case: Case, account: Account) -> None:
    """Refuse whoever submitted the image.

    Raises:
        NotPermitted: they did.

    """
    about = case.candidates or case.faces
    if about and about.submission.submitted_by == account.account_id:
        msg = "reviewer_id: whoever submitted the image may not review it"
        raise NotPermitted(msg)


async def require_in_date(desk: Desk, account: Account) -> None:
    """Refuse whoever is not certified, or not any more.

    Raises:
        NotPermitted: they are not registered as a reviewer, or their training has lapsed.

    """
    registered = await desk.ledger.reviewer(account.account_id)
    if registered is None:
        msg = "reviewer_id: a supervisor must certify you before you can review; see your key page"
        raise NotPermitted(msg)
    if registered.competent_until <= desk.clock():
        msg = "reviewer_id: training has lapsed; a supervisor can renew it"
        raise NotPermitted(msg)


def list_of(case: Case) -> CandidatesReady:
    """Return the list of a case.

    Raises:
        NotFound: it has none.

    """
    if case.candidates is None:
        raise NotFound
    return case.candidates
