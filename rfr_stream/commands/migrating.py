"""`rfr gallery migrate`: from one model to another without a gap, and back."""

import csv
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import topics
from producers._admission import images_in
from rfr_stream import stages
from rfr_stream.adapters import opening
from rfr_stream.commands._context import COMMAND_LINE, CONSOLE, open_ledger, reachable, run, say, settings_of
from rfr_stream.commands._handing_in import Rate
from rfr_stream.commands.house import is_held
from rfr_stream.desk import Operation
from rfr_stream.errors import RfrError, Unavailable
from rfr_stream.events import GalleryName
from rfr_stream.ports import BlobStore, Extent, Served, Vision
from rfr_stream.settings import Settings
from topics.bus import Bus
from topics.lag import Lag

_PASSES: Final = 5
"""How often a switch looks again for whoever came meanwhile, before it asks for a moment's rest."""
_PROBES_AT_ONCE: Final = 32


class NotSwitched(RfrError):
    """The model was not changed; the message says what is in the way."""


def migrate(  # noqa: PLR0917 - options of the command line
    context: typer.Context,
    to: Annotated[str | None, typer.Option(help="the model pack that is to serve")] = None,
    pack_file: Annotated[
        Path | None, typer.Option(help="TOML that describes the `onnx` pack, of --to or --back")
    ] = None,
    probes: Annotated[
        Path | None, typer.Option(exists=True, help="images, in a folder of the person's name if it is known; or a CSV")
    ] = None,
    gallery: Annotated[GalleryName, typer.Option(help="that --compare searches")] = GalleryName.CUSTODY,
    accept_missing: Annotated[
        int, typer.Option(min=0, help="how many references may be without a template of the new model")
    ] = 0,
    report: Annotated[Path | None, typer.Option(help="CSV of those; none: in the data directory")] = None,
    *,
    compare: Annotated[
        bool, typer.Option("--compare", help="search --probes with both models; change nothing")
    ] = False,
    switch: Annotated[bool, typer.Option("--switch", help="catch up, and let --to serve")] = False,
    back: Annotated[bool, typer.Option("--back", help="catch up, and let the model before serve again")] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="remove every model's templates but the serving one's")
    ] = False,
) -> None:
    """Make templates of every reference with another model beside those that serve, compare, switch, and go back.

    Run it with the settings of the house as it is: RFR_VISION__PACK names the model that serves. It may be stopped and
    run again at any point. With a Qdrant server the house goes on meanwhile; the embedded gallery has one owner, and
    the house must be down.
    """
    _require_one_meaning(to, probes, compare=compare, switch=switch, back=back, finish=finish)
    settings = settings_of(context)
    if not settings.gallery.url and is_held(settings):
        msg = "the embedded gallery belongs to the house that runs here: `rfr down` first (not with a Qdrant server)"
        raise RfrError(msg)
    file = report or settings.data_dir / "gallery-migration.csv"
    if finish:
        run(_finish(settings))
    elif back:
        run(_back(settings, pack_file, file, accept_missing))
    elif compare and probes and to:
        run(_compare(settings, _with_pack(settings, to, pack_file), probes, gallery))
    elif to:
        run(_to(settings, _with_pack(settings, to, pack_file), file, accept_missing if switch else None))


def _require_one_meaning(to: str | None, probes: Path | None, **flags: bool) -> None:
    asked = [name for name, is_set in flags.items() if is_set]
    if len(asked) > 1:
        msg = f"one at a time: {', '.join(f'--{name}' for name in asked)}"
        raise typer.BadParameter(msg)
    if (to is None) is not bool({"back", "finish"} & set(asked)):
        msg = "names the model pack to go to; --back and --finish need none"
        raise typer.BadParameter(msg, param_hint="--to")
    if (probes is None) is flags["compare"]:
        msg = "go together"
        raise typer.BadParameter(msg, param_hint="--compare and --probes")


def _with_pack(settings: Settings, pack: str, pack_file: Path | None) -> Settings:
    """Return the settings with another pack, and its own threshold."""
    vision = settings.vision.model_copy(update={"pack": pack, "pack_file": pack_file or settings.vision.pack_file})
    search = settings.search.model_copy(update={"threshold": None})
    return settings.model_copy(update={"vision": vision, "search": search})


# --- what is open meanwhile -------------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class _Open:
    """The installation, its serving model and the other one."""

    settings: Settings
    ledger: opening.OpenLedger
    blobs: BlobStore
    gallery: opening.OpenGallery
    serving: Served
    coming: Served
    here: Vision
    there: Vision

    @property
    def is_change(self) -> bool:
        return self.coming.embedder != self.serving.embedder

    def migration(self) -> stages.Migration:
        settings = self.settings
        rules = stages.ReferenceRules(
            settings.detection.min_score, settings.vision.max_image_bytes, settings.pipeline.batch_items
        )
        return stages.Migration(
            blobs=self.blobs, vision=self.there, gallery=self.gallery, references=self.ledger, rules=rules
        )


@asynccontextmanager
async def _opened(settings: Settings, coming: Settings, *, both: bool = False) -> AsyncIterator[_Open]:
    """Open everything; of the models, load the coming one, or both."""
    now = datetime.now(UTC)
    here = opening.vision(settings, load=("detector", "embedder") if both else ())
    there = opening.vision(coming)
    async with (
        open_ledger(settings) as ledger,
        opening.blobs(settings) as blobs,
        opening.gallery(settings, here) as gallery,
    ):
        stages.require_serving(await ledger.served(), here.embedder.identity)
        await gallery.open_for(there.embedder.identity)
        async with here, there:
            models = _as_served(settings, here, now), _as_served(coming, there, now)
            yield _Open(settings, ledger, blobs, gallery, *models, here, there)


def _as_served(settings: Settings, vision: Vision, now: datetime) -> Served:
    threshold = settings.search.threshold or vision.threshold
    return Served(settings.vision.pack, vision.embedder.identity, threshold, now)


# --- to and back ------------------------------------------------------------------------------------------------------
async def _to(settings: Settings, coming: Settings, report: Path, accept_missing: int | None) -> None:
    async with _opened(settings, coming) as open_:
        await _name_who_serves(open_)
        if accept_missing is None:
            await _pass(open_, open_.migration(), report)
        else:
            await _switch(open_, report, accept_missing)


async def _name_who_serves(open_: _Open) -> None:
    """Put the serving model on record, so that from here on no stage starts with another.

    Named again, it asks about those who came to stand with a template of the model before.
    """
    served = await open_.ledger.served()
    model = served[0] if served else open_.serving
    while not await open_.ledger.serve(model, model, seen=await open_.ledger.extent()):
        pass


async def _back(settings: Settings, pack_file: Path | None, report: Path, accept_missing: int) -> None:
    async with open_ledger(settings) as ledger:
        served = await ledger.served()
    if len(served) < 2:  # noqa: PLR2004 - the model that serves, and one before it
        msg = "no model served before this one, or its templates were removed"
        raise NotSwitched(msg)
    before = served[1]
    async with _opened(settings, _with_pack(settings, before.pack, pack_file)) as open_:
        if open_.coming.embedder != before.embedder:
            msg = f"--pack-file: the pack {before.pack} is not the model that served before ({before.embedder.name})"
            raise NotSwitched(msg)
        migration = open_.migration()
        say(f"{await _missing(open_, migration)} references have no template of the model that served before.")
        await _switch(replace(open_, coming=replace(open_.coming, threshold=before.threshold)), report, accept_missing)


async def _missing(open_: _Open, migration: stages.Migration) -> int:
    missing, page = 0, await open_.ledger.page()
    while page:
        missing += len(await migration.missing_among(page))
        page = await open_.ledger.page(after=page[-1].reference_id)
    return missing


async def _switch(open_: _Open, report: Path, accept_missing: int) -> None:
    """Pass until nobody came or went meanwhile, and change the record in the same breath."""
    if not open_.is_change:
        msg = f"the pack {open_.coming.pack} serves already"
        raise NotSwitched(msg)
    require_no_crops_on_their_way(open_.here, open_.there, await crops_on_their_way(open_.settings))
    migration = open_.migration()
    for _ in range(_PASSES):
        seen = await _pass(open_, migration, report)
        if len(migration.lacking) > accept_missing:
            msg = (
                f"{len(migration.lacking)} references would be lost to every search; --accept-missing says how many may"
            )
            raise NotSwitched(msg)
        coming = replace(open_.coming, since=datetime.now(UTC))
        if await open_.ledger.serve(coming, open_.serving, seen=seen):
            await _log(open_.ledger, f"model changed: {open_.serving.pack} to {coming.pack}")
            say(f"The pack {coming.pack} serves now: start every stage with RFR_VISION__PACK={coming.pack}.")
            return
    msg = "references keep coming and going: stop the enrolment stage for this moment; nothing that waits is lost"
    raise NotSwitched(msg)


def require_no_crops_on_their_way(before: Vision, after: Vision, waiting: int | None) -> None:
    """Refuse to leave faces behind that were cut for another model's aligner, and would be refused by the new one.

    Raises:
        NotSwitched: some wait for the embedding stage.

    """
    if before.aligner.name == after.aligner.name:
        return
    if waiting:
        msg = f"{waiting} faces, cut for {before.aligner.name}, wait for embedding: stop detection until none does"
        raise NotSwitched(msg)
    if waiting is None:
        say(f"No cluster runs here: faces that wait for embedding, cut for {before.aligner.name}, will be refused.")


async def crops_on_their_way(settings: Settings) -> int | None:
    """Return how many faces the embedding stage has not taken yet; None where no cluster is named, and none runs here.

    Raises:
        Unavailable: the cluster does not answer.

    """
    (group,) = topics.FACES.groups
    try:
        options = Bus.from_settings(reachable(settings), client_id="rfr-cli").options
    except Unavailable:
        return None
    async with Lag(options) as lag:
        return await lag.messages(topics.FACES, group)


async def _pass(open_: _Open, migration: stages.Migration, report: Path) -> Extent:
    """Bring what is missing, and say of whom that cannot be done; return what was held when it began."""
    seen = await open_.ledger.extent()
    columns = (TextColumn("references"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=CONSOLE, transient=True) as progress:
        task = progress.add_task("", total=seen.held)
        async for looked_n in migration.catch_up():
            progress.advance(task, looked_n)
    await migration.sweep()
    _write(report, migration.lacking)
    sizes = [await open_.gallery.size(name, embedder=open_.coming.embedder) for name in GalleryName]
    say(f"{sum(sizes)} templates of the pack {open_.coming.pack}; {len(migration.lacking)} references without one.")
    if migration.lacking:
        say(f"Which, and why: {report}")
    return seen


def _write(report: Path, lacking: Sequence[stages.Lacking]) -> None:
    with report.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("reference", "gallery", "reason"))
        rows.writerows((each.reference_id, each.gallery, each.reason) for each in lacking)


async def _finish(settings: Settings) -> None:
    vision = opening.vision(settings, load=())
    embedder = vision.embedder.identity
    async with open_ledger(settings) as ledger, opening.gallery(settings, vision) as gallery:
        served = await ledger.served()
        stages.require_serving(served, embedder)
        if not served:
            msg = "no model was ever named here (--to), so that nothing says which templates are to stay"
            raise NotSwitched(msg)
        await _log(ledger, f"templates of other models than {served[0].pack} removed")
        await ledger.retire()  # first: no search may find a collection that is half gone
        await gallery.keep_only(embedder)
    say(f"Only the templates of the pack {served[0].pack} are left; there is no way but a new migration.")


async def _log(ledger: opening.OpenLedger, what: str) -> None:
    await opening.desk(ledger).log.write(COMMAND_LINE, Operation.ALTERATION, "gallery", what, datetime.now(UTC))


# --- comparing --------------------------------------------------------------------------------------------------------
async def _compare(settings: Settings, coming: Settings, probes: Path, name: GalleryName) -> None:
    found = list(_probes(probes))
    async with _opened(settings, coming, both=True) as open_:
        paths = [path for path, _ in found]
        before = await _look(open_, paths, name, open_.serving)
        after = await _look(open_, paths, name, open_.coming)
    figures = stages.compared(before, after, [mate for _, mate in found])
    CONSOLE.print(comparison_table(figures, open_.serving, open_.coming))
    say(f"{figures.probes_n} probes, of {figures.mated_n} it is known whom they show.")
    say(f"Of {figures.listed_n} for which either lists somebody, {figures.same_first_n} have the same person first.")
    say(f"{figures.gained_n} candidates gained and {figures.lost_n} lost, each model at its own threshold.")


def _probes(probes: Path) -> list[tuple[Path, str | None]]:
    """Return the images, and whom each shows, where the manifest or the folder it lies in says so."""
    if probes.is_dir():
        return [(path, path.parent.name if path.parent != probes else None) for path in images_in([probes])]
    with probes.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if "path" not in (rows.fieldnames or ()):
            msg = "a CSV with the columns path and person"
            raise typer.BadParameter(msg, param_hint="--probes")
        return [(probes.parent / row["path"], row.get("person") or None) for row in rows]


async def _look(open_: _Open, probes: Sequence[Path], name: GalleryName, model: Served) -> list[stages.Looked]:
    settings, vision = open_.settings, open_.here if model is open_.serving else open_.there
    rules = stages.SearchRules(model.threshold, settings.search.list_length, settings.search.head_room)
    looked: list[stages.Looked] = []
    for start in range(0, len(probes), _PROBES_AT_ONCE):
        files = [path.read_bytes() for path in probes[start : start + _PROBES_AT_ONCE]]
        looked += await stages.look(
            files,
            vision=vision,
            gallery=open_.gallery,
            references=open_.ledger,
            galleries=(name,),
            rules=rules,
            min_score=settings.detection.min_score,
            now=datetime.now(UTC),
        )
    return looked


def comparison_table(figures: stages.Comparison, before: Served, after: Served) -> Table:
    """Draw what differs between two models."""
    table = Table("", f"{before.pack} (serves)", after.pack)
    sides = figures.before, figures.after
    table.add_row("threshold", *(f"{each.threshold:g}" for each in (before, after)))
    table.add_row("probes that could not be searched", *(str(each.unsearched_n) for each in sides))
    table.add_row("mates first on the list", *(str(each.mates_first_n) for each in sides))
    table.add_row("mates on the list", *(str(each.mates_listed_n) for each in sides))
    table.add_row("FNIR", *("unknown" if each.fnir is None else f"{each.fnir:.4f}" for each in sides))
    table.add_row("search, median", *(f"{each.median_ms:.2f} ms" for each in sides))
    table.add_row("search, p99", *(f"{each.p99_ms:.2f} ms" for each in sides))
    return table
