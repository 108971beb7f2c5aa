"""`rfr topics`, `rfr models` and `rfr replay`: for whoever operates the house."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.table import Column, Table
from rich.text import Text

import topics
from producers import replay as replaying
from rfr_stream import policy
from rfr_stream.adapters import opening
from rfr_stream.commands._context import CONSOLE, open_bus, open_ledger, printable, reachable, run, say, settings_of
from rfr_stream.errors import RfrError
from rfr_stream.events import Disposal
from rfr_stream.ports import Conflict, Reference
from rfr_stream.settings import Settings
from rfr_stream.vision import packs, weights
from topics import acls, admin
from topics.tail import Kept

topics_app = typer.Typer(help="The topics of a cluster, against the table.", no_args_is_help=True)
acls_app = typer.Typer(help="Who may do what there, against the table of principals.", no_args_is_help=True)
topics_app.add_typer(acls_app, name="acls")
models_app = typer.Typer(help="Model packs and their weights.", no_args_is_help=True)


@topics_app.command("plan")
def plan(context: typer.Context) -> None:
    """Say what differs between the table and the cluster; change nothing."""
    differences = run(admin.plan(reachable(settings_of(context)).kafka))
    _print_differences(differences)
    raise typer.Exit(1 if differences else 0)


@topics_app.command("apply")
def apply(
    context: typer.Context,
    *,
    add_partitions: Annotated[bool, typer.Option("--add-partitions", help="moves keys to other partitions")] = False,
) -> None:
    """Create what is missing and correct settings; never delete."""
    _print_differences(run(admin.apply(reachable(settings_of(context)).kafka, add_partitions=add_partitions)))


@topics_app.command("export")
def export(folder: Annotated[Path, typer.Argument(help="for the JSON Schemas and the AsyncAPI document")]) -> None:
    """Write the contracts to files."""
    admin.export(folder)
    say(f"Written to {folder}")


@acls_app.command("plan")
def plan_acls(context: typer.Context) -> None:
    """Say what rights differ between the table and the cluster; change nothing."""
    differences = run(acls.plan(reachable(settings_of(context)).kafka))
    _print_differences(differences)
    raise typer.Exit(1 if differences else 0)


@acls_app.command("apply")
def apply_acls(context: typer.Context) -> None:
    """Give the table's principals what it says, and take from them what it does not."""
    _print_differences(run(acls.apply(reachable(settings_of(context)).kafka)))


@acls_app.command("show")
def show_acls() -> None:
    """Print the table in words, as Markdown."""
    say(acls.in_words())


def _print_differences(differences: Sequence[admin.Difference | acls.Difference]) -> None:
    for difference in differences:
        say(str(difference))
    if not differences:
        say("The cluster is as the table says.")


@models_app.command("list")
def list_models(context: typer.Context) -> None:
    """List the packs, their licences and whether their weights are here."""
    for pack in weights.list_packs(settings_of(context).vision.pack_file):
        CONSOLE.print(pack.name, style="bold", end="")
        say(f"  (threshold {pack.threshold:g}, aligner {pack.aligner})")
        states = weights.status(pack, _weights_dir(context))
        for role in packs.ROLES:
            part = pack.part(role)
            say(f"  {role}: {part.architecture} {part.version}, licence {part.licence}")
            say(f"    trained on: {part.training_data}")
            for state in (found for found in states if found.role == role):
                say(f"    {state.weights.name}: {state.fault or 'ready'}")


@models_app.command("verify")
def verify(context: typer.Context, pack: str) -> None:
    """Check every digest of a pack."""
    weights.verify(_pack(context, pack), _weights_dir(context))
    say(f"{pack}: every file is the one that the pack names.")


@models_app.command("pull")
def pull(
    context: typer.Context,
    pack: str,
    role: Annotated[packs.Role, typer.Argument()],
    *,
    file: Annotated[
        Path | None, typer.Option("--from", exists=True, dir_okay=False, help="instead of downloading")
    ] = None,
    trust_sha256: Annotated[str | None, typer.Option(help="vouch for a file whose publisher names no digest")] = None,
) -> None:
    """Bring a pack's weights here, from their publisher or from a file, and check their digest."""
    chosen = _pack(context, pack)
    folder = _weights_dir(context)
    if file:
        say(str(weights.install(chosen, role, file, folder, trust_sha256=trust_sha256)))
    else:
        for path in weights.pull(chosen, role, folder, trust_sha256=trust_sha256):
            say(str(path))


gallery_app = typer.Typer(help="The gallery.", no_args_is_help=True)


@gallery_app.command("compact")
def compact(context: typer.Context) -> None:
    """Remove the bytes of erased references from the files of gallery and ledger; the house must be down."""
    settings = settings_of(context)
    if settings.gallery.url:
        msg = "RFR_GALLERY__URL: a Qdrant server rewrites a segment by itself, once enough of its vectors are erased"
        raise RfrError(msg)
    if not settings.gallery_dir.is_dir():
        msg = f"{settings.data_dir}: holds no gallery"
        raise RfrError(msg)
    run(_compact(settings))
    files = "gallery; PostgreSQL vacuums the ledger itself" if settings.ledger.url else "gallery and ledger"
    say(f"Nothing of erased references is left in the files of {files}.")


@gallery_app.command("unsearched")
def unsearched(context: typer.Context, limit: Annotated[int, typer.Option(min=1, max=100_000)] = 1_000) -> None:
    """List what is held and not searched, and why: whatever is to be deleted or looked at again stands here."""
    found = run(_unsearched(settings_of(context), limit))
    CONSOLE.print(_table_of(found))
    say(f"{len(found)} held and not searched." + (" There may be more: --limit." if len(found) == limit else ""))


def _table_of(held: Iterable[tuple[Reference, str | None]]) -> Table:
    """Draw references, each with the reason why it is not searched, if there is one."""
    others = ("person", "gallery", "review due", "not searched", "what is to become of it")
    table = Table(Column("reference", no_wrap=True), *(Column(name, overflow="fold") for name in others))
    for each, why in held:
        due = f"{each.review_due:%Y-%m-%d}" if each.review_due else ""
        table.add_row(str(each.reference_id), Text(each.person_id), each.gallery, due, why or "", _effect(why))
    return table


def _effect(why: str | None) -> str:
    if why is None:
        return ""
    return policy.EFFECTS[Disposal(why)].value if why in set(Disposal) else "correct or renew its hold record"


async def _unsearched(settings: Settings, limit: int) -> list[tuple[Reference, str]]:
    now, found, page = datetime.now(UTC), list[tuple[Reference, str]](), list[Reference]()
    async with open_ledger(settings) as ledger:
        while len(found) < limit and (page := await ledger.page(after=page[-1].reference_id if page else None)):
            found += [(each, why) for each in page if (why := policy.ineligibility(each, now))]
    return found[:limit]


@gallery_app.command("list")
def list_held(
    context: typer.Context,
    person: Annotated[str, typer.Option(help="whose images: a reference, no name")],
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 1_000,
) -> None:
    """List by which references images of a person are held, until when, and whether they are searched."""
    found = run(_held_of(settings_of(context), person, limit))
    CONSOLE.print(_table_of(found))
    more = " There may be more: --limit." if len(found) == limit else ""
    say(f"{len(found)} held, {sum(why is not None for _, why in found)} of them not searched.{more}")


async def _held_of(settings: Settings, person: str, limit: int) -> list[tuple[Reference, str | None]]:
    now = datetime.now(UTC)
    async with open_ledger(settings) as ledger:
        return [(each, policy.ineligibility(each, now)) for each in await ledger.page(person=person, limit=limit)]


@gallery_app.command("conflicts")
def conflicts(context: typer.Context, limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100) -> None:
    """List where one face, or the very same image, is held under two persons, the nearest first.

    Nothing was merged and nobody was kept out: look at both records, and erase or correct the one that is wrong.
    """
    found, held = run(_conflicts(settings_of(context), limit))
    CONSOLE.print(conflicts_table(found, held))
    say(f"{len(found)} to be looked at." + (" There may be more: --limit." if len(found) == limit else ""))


def conflicts_table(found: Sequence[Conflict], held: Mapping[UUID, Reference]) -> Table:
    """Draw conflicts, each with its two persons."""
    mine, others = (Column(name, overflow="fold") for name in ("reference", "other reference"))
    table = Table("gallery", "alike", "similarity", "person", mine, "other person", others)
    for conflict in found:
        pair = (conflict.reference_id, conflict.other_id)
        sides = [cell for id_ in pair for cell in (held[id_].person_id if id_ in held else "erased", str(id_))]
        alike = conflict.likeness.replace("_", " ")
        table.add_row(conflict.gallery, alike, f"{conflict.similarity:.3f}", *map(Text, sides))
    return table


async def _conflicts(settings: Settings, limit: int) -> tuple[list[Conflict], dict[UUID, Reference]]:
    async with open_ledger(settings) as ledger:
        found = await ledger.conflicts(limit=limit)
        return found, await ledger.held([id_ for each in found for id_ in (each.reference_id, each.other_id)])


async def _compact(settings: Settings) -> None:
    from rfr_stream.adapters.qdrant.edge import EdgeGallery

    embedder = opening.vision(settings, load=()).embedder.identity
    async with EdgeGallery(settings.gallery_dir, embedder=embedder) as gallery:
        await gallery.compact()
    if settings.ledger.url is None:
        # Its log of writes keeps what was erased until the last to close the database puts it away, and whoever was
        # killed has not.
        async with opening.ledger(settings):
            pass


def _pack(context: typer.Context, name: str) -> packs.Pack:
    return packs.pack(name, settings_of(context).vision.pack_file)


def _weights_dir(context: typer.Context) -> Path:
    return settings_of(context).weights_dir


def replay(  # noqa: PLR0917 - options of the command line
    context: typer.Context,
    topic: Annotated[str, typer.Argument(help="the topic's name, or its noun: submissions, faces ...")],
    group: Annotated[str, typer.Argument(help="the consumer group whose dead letters these are: rfr-detection ...")],
    reason: Annotated[str | None, typer.Option(help="only these: malformed, bad_image, missing_blob ...")] = None,
    key: Annotated[str | None, typer.Option(help="only of this key")] = None,
    since: Annotated[datetime | None, typer.Option(help="failed at or after (UTC)")] = None,
    until: Annotated[datetime | None, typer.Option(help="failed at or before (UTC)")] = None,
    per_second: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    *,
    go: Annotated[bool, typer.Option("--go", help="put them back; without it, only say which")] = False,
) -> None:
    """Put dead letters back on their topic after a fix; a dry run unless told to go."""
    wanted = replaying.Wanted(reason=reason, key=key, since=_utc(since), until=_utc(until))
    letters = run(_replay(settings_of(context), _topic(topic), group, wanted, per_second=per_second if go else None))
    CONSOLE.print(letters_table([letter.record for letter in letters]))
    say(f"{len(letters)} put back." if go else f"{len(letters)} would be put back; --go does it.")


def letters_table(letters: Sequence[topics.Record]) -> Table:
    """Draw dead letters, whose keys and headers anybody may have written."""
    table = Table("key", "reason", "error", "attempt", "failed at")
    for record in letters:
        key = (record.key or b"").decode(errors="replace")
        facts = (record.fault(fact) for fact in ("reason", "error", "attempt", "failed-at"))
        table.add_row(*(Text(printable(cell)) for cell in (key, *facts)))
    return table


async def _replay(
    settings: Settings, topic: topics.Topic, group: str, wanted: replaying.Wanted, *, per_second: int | None
) -> list[Kept]:
    async with open_bus(settings) as bus:
        letters = await replaying.find(bus.options, topic, group, wanted)
        if per_second:
            await replaying.replay(bus, topic, letters, per_second=per_second)
        return letters


def _topic(name: str) -> topics.Topic:
    for topic in topics.ALL:
        if name in {topic.name, topic.noun}:
            return topic
    msg = f"no such topic: {name}; there are {', '.join(topic.noun for topic in topics.ALL)}"
    raise RfrError(msg)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment else None
