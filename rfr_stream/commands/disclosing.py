"""`rfr disclose` and `rfr verify`: for whoever must hand over the record of a case, and whoever gets it."""

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import typer

from rfr_stream.adapters import bundles, keys, opening
from rfr_stream.commands._context import open_ledger, run, say, settings_of
from rfr_stream.errors import RfrError
from rfr_stream.events import CAVEAT
from rfr_stream.settings import Settings


def disclose(  # noqa: PLR0917 - options of the command line
    context: typer.Context,
    case: Annotated[str, typer.Argument(help="a case's reference; or a submission's id, for that one alone")],
    to: Annotated[str, typer.Option(help="who gets it: a reference, no name")],
    reason: Annotated[str, typer.Option(help="why; it goes into the access log, with the recipient")],
    by: Annotated[str, typer.Option(help="who discloses: a reference, no name")],
    out: Annotated[Path | None, typer.Option(help="none: disclosure-CASE.zip here")] = None,
    log_until: Annotated[
        int | None, typer.Option(help="quote the log up to this line, to make an earlier bundle again")
    ] = None,
) -> None:
    """Write everything on record about a case into one sealed file, and log who gets it."""
    file = out or Path(f"disclosure-{case.replace('/', '-')}.zip")
    if file.exists():
        msg = f"{file}: is there already; --out names another file"
        raise RfrError(msg)
    asked = bundles.Asked(about=case, to=to, reason=reason, by=by, log_until=log_until)
    settings = settings_of(context)
    data = run(_bundle(settings, asked))
    file.touch(mode=0o600, exist_ok=False)
    file.write_bytes(data)
    say(f"{file}\nSHA-256    {sha256(data).hexdigest()}\nSealed by  {_public_half(settings)}\n{CAVEAT}")


async def _bundle(settings: Settings, asked: bundles.Asked) -> bytes:
    async with open_ledger(settings) as ledger:
        return await bundles.bundle(
            asked,
            desk=opening.desk(ledger),
            key=keys.of_house(settings.seal_file),
            desk_url=settings.desk.public_url,
            now=datetime.now(UTC),
        )


def _public_half(settings: Settings) -> str:
    return keys.public_text(keys.of_house(settings.seal_file))


def verify(
    bundle: Annotated[Path, typer.Argument(help="what `rfr disclose` wrote")],
    key: Annotated[str | None, typer.Option(help="the public key of the house that must have sealed it")] = None,
) -> None:
    """Check that a disclosure holds together, and say who sealed it; the first fault is named first."""
    checked = bundles.check(bundle.read_bytes(), public_key=keys.checked_public_text(key) if key else None)
    for fault in checked.faults:
        say(f"fault: {fault}")
    if checked.sealed_by:
        whose = "as given" if key == checked.sealed_by else "--key holds it to one that came by another way"
        say(f"Sealed by {checked.sealed_by} ({whose}).")
    if checked.faults or checked.found is None:
        raise typer.Exit(1)
    say(f"It holds together: {checked.found.about}, searches: {len(checked.found.searches)}.\n{CAVEAT}")
