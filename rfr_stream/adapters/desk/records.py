"""Everything on record about one case, read at one moment."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, RowMapping, Table, and_, or_, select

from rfr_stream.adapters.desk.access import to_entry
from rfr_stream.adapters.desk.examinations import to_alert, to_examined
from rfr_stream.adapters.ledger.database import Database
from rfr_stream.adapters.ledger.ledger import with_decisions
from rfr_stream.adapters.ledger.lookup import among
from rfr_stream.adapters.ledger.records import to_outgoing
from rfr_stream.adapters.ledger.tables import (
    access_log,
    acknowledgements,
    alerts,
    analyses,
    cases,
    examinations,
    outbox,
    reviewers,
    seeds,
)
from rfr_stream.desk import GENESIS, Analysis, Operation, in_order
from rfr_stream.disclosure import (
    Acknowledged,
    Analysed,
    Disclosure,
    Line,
    Search,
    Shown,
    Signer,
    Told,
    limits_of,
    signed_in,
)
from rfr_stream.ports import Case, Duty

T = TypeVar("T")


class Records:
    """What is disclosed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def about(self, about: str, *, desk_url: str, log_until: int | None = None) -> Disclosure | None:
        """Return what is on record about a case, or about one submission; None: nothing is.

        Args:
            about: the case's reference, or the submission's id.

            desk_url: where people sign.

            log_until: the last line of the log to be quoted: somebody may have looked since, and only the log grows
                by that. None: the newest.

        """
        return await self._database.read(lambda connection: _read(connection, about, desk_url, log_until))


def _read(connection: Connection, about: str, desk_url: str, log_until: int | None) -> Disclosure | None:
    found = _cases(connection, about)
    if not found:
        return None
    searches = _searches(connection, found)
    names = {about, *(str(case.submission_id) for case in found)}
    return Disclosure(
        about=about,
        desk_url=desk_url,
        searches=searches,
        signers=_signers(connection, searches),
        log=_log(connection, names, log_until),
        limits=limits_of(searches),
    )


def _cases(connection: Connection, about: str) -> list[Case]:
    """Return the cases in the order in which they were opened, but for those with a known answer."""
    planted = select(seeds.c.submission_id).where(seeds.c.submission_id == cases.c.submission_id)
    meant: ColumnElement[bool] = cases.c.case_ref == about
    if (submission_id := _as_id(about)) is not None:
        meant = or_(meant, cases.c.submission_id == submission_id)
    wanted = select(cases).where(meant, ~cases.c.seeded, ~planted.exists())
    rows = connection.execute(wanted.order_by(cases.c.opened_at, cases.c.submission_id)).mappings().all()
    return list(with_decisions(connection, rows).values())


def _as_id(about: str) -> UUID | None:
    try:
        return UUID(about)
    except ValueError:
        return None


def _searches(connection: Connection, found: Sequence[Case]) -> tuple[Search, ...]:
    ids = [case.submission_id for case in found]

    def rows_of(table: Table, to_value: Callable[[RowMapping], T]) -> Mapping[UUID, tuple[T, ...]]:
        return _by_case(connection, table, ids, to_value)

    by_id = {case.submission_id: case for case in found}
    analysed = rows_of(analyses, _to_analysed)
    shown = rows_of(examinations, lambda row: _to_shown(row, by_id[row["submission_id"]]))
    told = rows_of(outbox, _to_told)
    received = rows_of(acknowledgements, _to_acknowledged)
    raised = rows_of(alerts, to_alert)
    return tuple(
        Search(
            case=case,
            analyses=analysed[case.submission_id],
            shown=tuple(each for each in shown[case.submission_id] if each.examined.shown_at),
            told=told[case.submission_id],
            acknowledged=received[case.submission_id],
            alerts=raised[case.submission_id],
        )
        for case in found
    )


def _by_case(
    connection: Connection, table: Table, ids: Sequence[UUID], to_value: Callable[[RowMapping], T]
) -> Mapping[UUID, tuple[T, ...]]:
    """Return the values of a table's rows about these submissions, in the order of its key."""
    wanted = select(table).where(among(table.c.submission_id, ids, connection.dialect))
    values: defaultdict[UUID, tuple[T, ...]] = defaultdict(tuple)
    for row in connection.execute(wanted.order_by(*table.primary_key)).mappings():
        values[row["submission_id"]] += (to_value(row),)
    return values


def _to_analysed(row: RowMapping) -> Analysed:
    return Analysed(
        reviewer_id=row["account_id"],
        version=row["version"],
        at=row["at"],
        analysis=Analysis.model_validate_json(row["body"]),
    )


def _to_shown(row: RowMapping, case: Case) -> Shown:
    examined = to_examined(row)
    if examined.draft and examined.draft.event_id in {each.event_id for each in case.decisions}:
        examined = replace(examined, draft=None)
    order = in_order(case.candidates, examined.order_seed) if case.candidates and examined.order_seed else ()
    return Shown(reviewer_id=row["account_id"], order=tuple(each.person_id for each in order), examined=examined)


def _to_told(row: RowMapping) -> Told:
    promised = to_outgoing(row)
    return Told(
        event_id=row["event_id"],
        type=row["type"],
        event=promised.event,
        refusal=row["refusal"],
        refusal_message=row["refusal_message"],
        # What is sent again meanwhile was published all the same.
        published=row["published"] or row["published_at"] is not None,
        published_at=row["published_at"],
    )


def _to_acknowledged(row: RowMapping) -> Acknowledged:
    return Acknowledged(acknowledged=row["acknowledged"], subscriber=row["subscriber"], at=row["at"])


def _signers(connection: Connection, searches: Sequence[Search]) -> tuple[Signer, ...]:
    names = {said.signer for search in searches for _, said in signed_in(search)}
    wanted = select(reviewers).where(reviewers.c.reviewer_id.in_(sorted(names))).order_by(reviewers.c.reviewer_id)
    return tuple(
        Signer(reviewer_id=row["reviewer_id"], duty=Duty(row["duty"]), public_key=row["public_key"])
        for row in connection.execute(wanted).mappings()
    )


def _log(connection: Connection, names: set[str], until: int | None) -> tuple[Line, ...]:
    """Return the log's lines about these, but for bundles: one that quotes its own could not be made again."""
    before = access_log.alias()
    bundle = and_(access_log.c.operation == Operation.DISCLOSURE.value, access_log.c.detail.startswith("bundle "))
    wanted = (
        select(access_log, before.c.digest.label("before"))
        .outerjoin(before, before.c.sequence == access_log.c.sequence - 1)
        .where(access_log.c.about.in_(sorted(names)), ~bundle)
        .order_by(access_log.c.sequence)
    )
    if until is not None:
        wanted = wanted.where(access_log.c.sequence <= until)
    rows = connection.execute(wanted).mappings()
    return tuple(Line(entry=to_entry(row), before=row["before"] or GENESIS) for row in rows)
