"""What the public sent in, as rows: contributions, and the groups of copies that they are in."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import numpy as np
from sqlalchemy import Connection, RowMapping, func, insert, select

from rfr_stream.adapters._grouping import Founders, grouped
from rfr_stream.adapters.ledger.lookup import by_key
from rfr_stream.adapters.ledger.records import Row
from rfr_stream.adapters.ledger.tables import appeal_groups, contributions
from rfr_stream.events import BlobRef, derive_id
from rfr_stream.ports import Contribution, Fingerprint

Appeal: TypeAlias = tuple[str, bool]
"""Its reference, and whether it is a demonstration's: the two never share a group."""

_HASH_BYTES = 32


def by_appeal(said: Sequence[Contribution]) -> dict[Appeal, list[Contribution]]:
    """Return the contributions to each appeal."""
    found: defaultdict[Appeal, list[Contribution]] = defaultdict(list)
    for each in said:
        found[each.appeal_ref, each.demo].append(each)
    return dict(sorted(found.items()))


def lock_of(appeal: Appeal) -> UUID:
    """Return the name of the lock under which an appeal's groups are founded."""
    return derive_id("appeal", *appeal)


def founders(connection: Connection, appeal: Appeal, *, after: int = 0) -> Founders:
    """Return the first pictures of an appeal's groups that were founded after this one."""
    wanted = (
        select(appeal_groups.c.group_id, appeal_groups.c.fingerprint, appeal_groups.c.sequence)
        .where(*_of(appeal), appeal_groups.c.sequence > after)
        .order_by(appeal_groups.c.sequence)
    )
    rows = connection.execute(wanted).all()
    fingerprints = [_to_fingerprint(row.fingerprint) for row in rows]
    return Founders([row.group_id for row in rows], fingerprints, rows[-1].sequence if rows else after)


def keep(connection: Connection, appeal: Appeal, said: Sequence[Contribution], copied: Mapping[UUID, UUID]) -> None:
    """Write the contributions to one appeal, and the groups that they found."""
    known = groups_of(connection, [each.contribution_id for each in said])
    new = list({each.contribution_id: each for each in said if each.contribution_id not in known}.values())
    done = grouped(new, copied)
    if not new:
        return
    began = _began(connection, appeal) or min(each.received_at for each in new)
    founding = [_group_row(id_, appeal, began, fingerprint) for id_, fingerprint in done.founding.items()]
    if founding:
        connection.execute(insert(appeal_groups), founding)
    connection.execute(insert(contributions), [_row(each, done.groups.get(each.contribution_id)) for each in new])


def groups_of(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, UUID | None]:
    """Return the group of each contribution that is known."""
    rows = connection.execute(by_key(contributions, ids, connection.dialect)).mappings()
    return {row["contribution_id"]: row["group_id"] for row in rows}


def to_contribution(row: RowMapping) -> Contribution:
    """Return the contribution of a row; its fingerprint is its group's affair."""
    fields = {name: row[name] for name in ("contribution_id", "appeal_ref", "portal", "received_at", "pixels", "flaw")}
    return Contribution(**fields, image=BlobRef.model_validate_json(row["image"]), demo=row["demo"])


def _of(appeal: Appeal) -> Sequence[Any]:
    ref, demo = appeal
    return (appeal_groups.c.appeal_ref == ref, appeal_groups.c.demo == demo)


def _began(connection: Connection, appeal: Appeal) -> datetime | None:
    began: datetime | None = connection.execute(
        select(func.min(appeal_groups.c.appeal_began_at)).where(*_of(appeal))
    ).scalar_one()
    return began


def _row(said: Contribution, group_id: UUID | None) -> Row:
    fields = ("contribution_id", "appeal_ref", "portal", "received_at", "pixels", "flaw", "demo")
    row: Row = {name: getattr(said, name) for name in fields}
    return {**row, "image": said.image.model_dump_json(), "group_id": group_id}


def _group_row(group_id: UUID, appeal: Appeal, began: datetime, fingerprint: Fingerprint) -> Row:
    ref, demo = appeal
    return {
        "group_id": group_id,
        "appeal_ref": ref,
        "appeal_began_at": began,
        "fingerprint": fingerprint.tobytes(),
        "demo": demo,
    }


def _to_fingerprint(stored: bytes) -> Fingerprint:
    return np.frombuffer(stored, np.uint8).reshape(-1, _HASH_BYTES)
