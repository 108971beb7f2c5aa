"""Who is held and why, what became of their cases, and by which doors images came."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, delete, select, union, update

from rfr_stream.adapters.ledger import records, standing
from rfr_stream.adapters.ledger.database import Database
from rfr_stream.adapters.ledger.lookup import among
from rfr_stream.adapters.ledger.tables import conflicts as conflict_table
from rfr_stream.adapters.ledger.tables import disposals, entrusted_images, erased_references, held_references
from rfr_stream.adapters.ledger.writing import add_new, insert_for, patiently, present, upsert
from rfr_stream.events import CaseDisposed, GalleryName, Source, derive_id
from rfr_stream.ports import Conflict, Reference

BESIDE: Final = UUID("bccf8187-3069-40e6-b4fd-4657e0b5637b")
"""The name of the lock under which is noted what references met, conflicts and probes, and under which they go."""


class SqlReferences:
    """The `References` of a ledger."""

    database: Database

    @patiently
    async def hold(self, references: Sequence[Reference]) -> None:
        ids = {reference.reference_id for reference in references}
        people = {reference.person_id for reference in references}

        def replace_older(connection: Connection) -> None:
            self.database.lock(connection, {*ids, *map(_person_lock, people)})
            gone = present(connection, erased_references, ids)
            # The latest of one id is the one that stands: a statement cannot update a row twice.
            latest = {r.reference_id: r for r in sorted(references, key=lambda r: r.recorded_at)}
            said = _disposed(connection, people)
            known = [replace(r, disposed=said[r.person_id]) for r in latest.values() if r.reference_id not in gone]
            rows = [records.reference_row(r) for r in known]
            since = held_references.c.recorded_at
            upsert(connection, held_references, rows, last=("subject",), count=("rewritten",), since=since)

        await self.database.write(replace_older)

    @patiently
    async def held(self, ids: Sequence[UUID]) -> dict[UUID, Reference]:
        rows = await self.database.rows(held_references, ids)
        return {row["reference_id"]: records.to_reference(row) for row in rows}

    @patiently
    async def page(
        self, *, person: str | None = None, after: UUID | None = None, limit: int = 1_000
    ) -> list[Reference]:
        wanted = select(held_references).order_by(held_references.c.reference_id).limit(limit)
        if person is not None:
            wanted = wanted.where(held_references.c.person_id == person)
        if after is not None:
            wanted = wanted.where(held_references.c.reference_id > after)
        rows = await self.database.read(lambda connection: connection.execute(wanted).mappings().all())
        return list(map(records.to_reference, rows))

    @patiently
    async def doors(self, images: Sequence[str]) -> dict[str, set[Source]]:
        held, given = held_references.c, entrusted_images.c
        in_custody = select(held.image_sha256).where(held.gallery == GalleryName.CUSTODY.value)
        wanted = union(
            select(held.image_sha256, held.door).where(held.image_sha256.in_(set(images)), held.door.is_not(None)),
            select(given.image_sha256, given.door).where(
                given.image_sha256.in_(set(images)), ~in_custody.where(held.image_sha256 == given.image_sha256).exists()
            ),
        )
        found = defaultdict[str, set[Source]](set)
        for image, door in await self.database.read(lambda connection: connection.execute(wanted).all()):
            found[image].add(Source(door))
        return found

    @patiently
    async def entrust(self, images: Mapping[str, Source]) -> None:
        if images:
            await self.database.write(partial(write_doors, images))

    @patiently
    async def erased(self, ids: Sequence[UUID]) -> set[UUID]:
        return {row["reference_id"] for row in await self.database.rows(erased_references, ids)}

    @patiently
    async def dispose(self, said: Sequence[CaseDisposed]) -> None:
        people = sorted({each.person_id for each in said})

        def remember(connection: Connection) -> None:
            self.database.lock(connection, map(_person_lock, people))
            latest = {each.case_id: each for each in sorted(said, key=lambda each: each.occurred_at)}
            rows = [records.disposal_row(each) for each in latest.values()]
            upsert(connection, disposals, rows, since=disposals.c.recorded_at)
            for person, disposed in _disposed(connection, people).items():
                theirs = update(held_references).where(held_references.c.person_id == person)
                connection.execute(theirs.values(disposed=records.disposed_text(disposed)))

        await self.database.write(remember)

    @patiently
    async def report(self, conflicts: Sequence[Conflict]) -> list[Conflict]:
        pairs = {(each.reference_id, each.other_id): each for each in conflicts}
        ids = set(chain.from_iterable(pairs))

        def remember(connection: Connection) -> list[Conflict]:
            self.database.lock(connection, [BESIDE])
            gone = present(connection, erased_references, ids)
            rows = [records.conflict_row(each) for pair, each in pairs.items() if gone.isdisjoint(pair)]
            new = insert_for(connection, conflict_table).on_conflict_do_nothing().returning(conflict_table)
            return list(map(records.to_conflict, connection.execute(new, rows).mappings())) if rows else []

        return await self.database.write(remember) if pairs else []

    @patiently
    async def conflicts(self, *, limit: int = 100) -> list[Conflict]:
        nearest = conflict_table.c.similarity.desc(), conflict_table.c.reference_id
        wanted = select(conflict_table).order_by(*nearest).limit(limit)
        rows = await self.database.read(lambda connection: connection.execute(wanted).mappings().all())
        return list(map(records.to_conflict, rows))

    @patiently
    async def erase(self, ids: Sequence[UUID]) -> None:
        def forget(connection: Connection) -> None:
            self.database.lock(connection, {*ids, BESIDE})
            add_new(connection, erased_references, [{"reference_id": id_} for id_ in ids])
            gone = among(held_references.c.reference_id, ids, connection.dialect)
            connection.execute(delete(held_references).where(gone))
            for column in (conflict_table.c.reference_id, conflict_table.c.other_id):
                connection.execute(delete(conflict_table).where(among(column, ids, connection.dialect)))
            standing.forget(connection, ids)

        await self.database.write(forget)


def _person_lock(person_id: str) -> UUID:
    """Return the name of the lock under which a person's references and cases are brought together."""
    return derive_id("person", person_id)


def _disposed(connection: Connection, people: Collection[str]) -> defaultdict[str, tuple[CaseDisposed, ...]]:
    """Return what is known of these people's cases, in one order whatever came first."""
    wanted = (
        select(disposals.c.person_id, disposals.c.event)
        .where(disposals.c.person_id.in_(people))
        .order_by(disposals.c.case_id)
    )
    found = defaultdict[str, tuple[CaseDisposed, ...]](tuple)
    for person, event in connection.execute(wanted):
        found[person] += (CaseDisposed.model_validate_json(event),)
    return found


def write_doors(images: Mapping[str, Source], connection: Connection) -> None:
    """Put on record by which door images came, though nobody is held by them."""
    rows = [{"image_sha256": image, "door": door.value} for image, door in images.items()]
    add_new(connection, entrusted_images, rows)
