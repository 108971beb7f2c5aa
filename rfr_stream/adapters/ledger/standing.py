"""Probes that stand, and the references that met them, as rows."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, RowMapping, delete, false, or_, select, update

from rfr_stream.adapters._serving import is_newer
from rfr_stream.adapters._standing import AGAIN, Round, original_of
from rfr_stream.adapters.ledger import records
from rfr_stream.adapters.ledger.lookup import among, by_key
from rfr_stream.adapters.ledger.tables import cases, standing_meetings, standing_probes
from rfr_stream.errors import NotPermitted
from rfr_stream.events import FaceEmbedded, ModelIdentity
from rfr_stream.ports import Case, CaseState, Ending, Meeting, StandingProbe

_probes, _met = standing_probes.c, standing_meetings.c


# --- rows -----------------------------------------------------------------------------------------------------------
def probe_row(probe: FaceEmbedded, until: datetime) -> records.Row:
    """Return the row of a probe that begins to stand."""
    return {
        "submission_id": probe.submission.submission_id,
        "embedder": _identity(probe.template.embedder),
        "until": until,
        "probe": probe.model_dump_json(),
    }


def meeting_row(meeting: Meeting, due_at: datetime) -> records.Row:
    """Return the row of a meeting that nobody has looked at."""
    return {
        "submission_id": meeting.submission_id,
        "reference_id": meeting.reference_id,
        "person_id": meeting.person_id,
        "similarity": meeting.similarity,
        "due_at": due_at,
    }


def to_probe(row: RowMapping) -> StandingProbe:
    """Return the standing probe of a row."""
    ended = Ending(row["ended_at"], row["ended_by"], row["reason"]) if row["ended_at"] else None
    return StandingProbe(FaceEmbedded.model_validate_json(row["probe"]), row["until"], row["resolved"], ended)


def _identity(embedder: ModelIdentity) -> str:
    return f"{embedder.name} {embedder.version} {embedder.weights_sha256} {embedder.dimension}"


# --- probes ---------------------------------------------------------------------------------------------------------
def standing(connection: Connection, embedder: ModelIdentity, now: datetime) -> set[UUID]:
    """Return who stands with a template of this embedder."""
    wanted = select(_probes.submission_id).where(_probes.embedder == _identity(embedder), *_stand(now))
    return set(connection.execute(wanted).scalars())


def unlike(connection: Connection, embedder: ModelIdentity, now: datetime) -> list[FaceEmbedded]:
    """Return the probes with a template of another embedder that stand, or would again after a withdrawal."""
    wanted = select(_probes.probe).where(
        _probes.embedder != _identity(embedder), _probes.ended_at.is_(None), _probes.until > now
    )
    return list(map(FaceEmbedded.model_validate_json, connection.execute(wanted).scalars()))


def stand_anew(connection: Connection, probes: Sequence[FaceEmbedded]) -> None:
    """Let the template of a newer model stand in the place of the one before; until when stays as it is."""
    known = {each.submission.submission_id: each for each in probes_of(connection, [_about(each) for each in probes])}
    for probe in probes:
        if is_newer(probe, known[_about(probe)]):
            theirs = update(standing_probes).where(_probes.submission_id == _about(probe), _probes.ended_at.is_(None))
            values = {"embedder": _identity(probe.template.embedder), "probe": probe.model_dump_json()}
            connection.execute(theirs.values(values))


def _about(probe: FaceEmbedded) -> UUID:
    return probe.submission.submission_id


def _stand(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (_probes.ended_at.is_(None), _probes.resolved == false(), _probes.until > now)


def settle(connection: Connection, changed: Iterable[Case]) -> None:
    """Let probes rest whose case is confirmed, and stand again once it is withdrawn; one with a known answer rests.

    Behind a withdrawn renewal another one can be confirmed, so all of a probe's cases are asked.
    """
    known = {original_of(case) for case in changed if case.seeded}
    moved = {original_of(case) for case in changed if case.state in {CaseState.CONFIRMED, CaseState.WITHDRAWN}} - known
    if known:
        mine = among(_probes.submission_id, known, connection.dialect)
        connection.execute(update(standing_probes).where(mine).values(resolved=True))
    if moved:
        renewals = select(_met.renewal).where(_met.submission_id == _probes.submission_id, _met.renewal.is_not(None))
        about = or_(cases.c.submission_id == _probes.submission_id, cases.c.submission_id.in_(renewals))
        confirmed = select(cases.c.submission_id).where(about, cases.c.state == CaseState.CONFIRMED.value).exists()
        mine = among(_probes.submission_id, moved, connection.dialect)
        connection.execute(update(standing_probes).where(mine).values(resolved=confirmed))


def keep(connection: Connection, submission_id: UUID, until: datetime, now: datetime) -> None:
    """Move the date at which a probe lapses.

    Raises:
        NotPermitted: it does not stand.

    """
    mine = update(standing_probes).where(_probes.submission_id == submission_id, *_stand(now))
    if not connection.execute(mine.values(until=until)).rowcount:
        msg = "submission_id: no probe of this submission stands"
        raise NotPermitted(msg)


def end(connection: Connection, submission_id: UUID, ending: Ending) -> FaceEmbedded:
    """End a search, forget who met it and waited, and return its probe.

    Raises:
        NotPermitted: there is none, or it has ended already.

    """
    mine = (_probes.submission_id == submission_id, _probes.ended_at.is_(None))
    values = {"ended_at": ending.at, "ended_by": ending.by, "reason": ending.reason}
    if not connection.execute(update(standing_probes).where(*mine).values(values)).rowcount:
        msg = "submission_id: no search of this submission that could be ended"
        raise NotPermitted(msg)
    connection.execute(delete(standing_meetings).where(_met.submission_id == submission_id, _met.renewal.is_(None)))
    return FaceEmbedded.model_validate_json(
        connection.execute(select(_probes.probe).where(_probes.submission_id == submission_id)).scalar_one()
    )


def overdue(connection: Connection, now: datetime) -> list[UUID]:
    """Return the probes whose date has come."""
    wanted = select(_probes.submission_id).where(_probes.ended_at.is_(None), _probes.until <= now)
    return list(connection.execute(wanted.order_by(_probes.until)).scalars())


# --- meetings -------------------------------------------------------------------------------------------------------
def due(connection: Connection, now: datetime, limit: int) -> list[FaceEmbedded]:
    """Return the probes that stand and have been met by references whose time to be looked at has come."""
    waiting = select(_met.submission_id).where(_met.renewal.is_(None), _met.due_at <= now)
    wanted = select(_probes.probe).where(_probes.submission_id.in_(waiting), *_stand(now)).limit(limit)
    return list(map(FaceEmbedded.model_validate_json, connection.execute(wanted).scalars()))


def met(connection: Connection, ids: Collection[UUID]) -> tuple[dict[UUID, list[Meeting]], dict[UUID, set[UUID]]]:
    """Return of each of these probes the meetings that wait, and its renewals."""
    wanted = select(standing_meetings).where(among(_met.submission_id, ids, connection.dialect))
    waiting: defaultdict[UUID, list[Meeting]] = defaultdict(list)
    renewals: defaultdict[UUID, set[UUID]] = defaultdict(set)
    for row in connection.execute(wanted):
        if row.renewal is None:
            waiting[row.submission_id].append(
                Meeting(row.submission_id, row.reference_id, row.person_id, row.similarity)
            )
        else:
            renewals[row.submission_id].add(row.renewal)
    return waiting, renewals


def note(connection: Connection, submission_id: UUID, come: Round, now: datetime) -> None:
    """Keep what came of one look: who is asked about, who no longer waits, and when to look at the others again."""
    mine = _met.submission_id == submission_id
    dropped = among(_met.reference_id, come.dropped, connection.dialect)
    connection.execute(delete(standing_meetings).where(mine, _met.renewal.is_(None), dropped))
    if come.renewal:
        taken = among(_met.reference_id, come.taken, connection.dialect)
        id_ = come.renewal.submission.submission_id
        connection.execute(update(standing_meetings).where(mine, _met.renewal.is_(None), taken).values(renewal=id_))
    left = update(standing_meetings).where(mine, _met.renewal.is_(None))
    connection.execute(left.values(due_at=now + AGAIN))


def forget(connection: Connection, references: Collection[UUID]) -> None:
    """Forget whom erased references met, where nothing has come of it."""
    gone = among(_met.reference_id, references, connection.dialect)
    connection.execute(delete(standing_meetings).where(gone, _met.renewal.is_(None)))


def probes_of(connection: Connection, ids: Collection[UUID]) -> Sequence[FaceEmbedded]:
    """Return the probes of these submissions."""
    rows = connection.execute(by_key(standing_probes, ids, connection.dialect)).mappings()
    return [FaceEmbedded.model_validate_json(row["probe"]) for row in rows]
