"""`rfr`: the front door."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rfr_stream.commands import (
    accounts,
    clients,
    deciding,
    demo,
    disclosing,
    dropping,
    enrolling,
    footage,
    house,
    intake,
    known_answers,
    migrating,
    operations,
    posting,
    recalling,
    standing,
)
from rfr_stream.commands._context import ERRORS, printable, with_cluster
from rfr_stream.commands._sentences import EXPECTED, sentences
from rfr_stream.settings import Settings

app = typer.Typer(
    help="Governed retrospective facial recognition: machines propose, two people decide.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def options(
    context: typer.Context,
    data_dir: Annotated[
        Path | None, typer.Option(help="of the embedded broker, ledger, gallery and blobs; if none is given: .rfr")
    ] = None,
    bootstrap_servers: Annotated[
        str | None, typer.Option(help="an existing cluster; TLS and SASL: RFR_KAFKA__SECURITY_PROTOCOL and its kin")
    ] = None,
) -> None:
    """Everything else is set by the environment: `RFR_*`, see rfr_stream/settings.py."""
    settings = Settings()
    if data_dir:
        settings = settings.model_copy(update={"data_dir": data_dir})
    if bootstrap_servers:
        settings = with_cluster(settings, bootstrap_servers)
    context.obj = settings
    # A command says what went wrong in a sentence of its own; `up` and `demo` say where their logs go.
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)


app.command()(house.up)
app.command()(house.down)
app.command()(demo.demo)
app.command()(footage.frames)
app.command()(intake.submit)
app.command()(posting.post)
app.command()(dropping.drop)
app.command()(enrolling.enrol)
app.command()(enrolling.dispose)
app.command()(enrolling.erase)
app.add_typer(accounts.accounts, name="accounts")
app.add_typer(clients.clients, name="clients")
app.add_typer(deciding.reviewers, name="reviewers")
app.add_typer(known_answers.seeds, name="seeds")
app.command()(deciding.cases)
app.command()(deciding.status)
app.command()(deciding.watch)
app.command()(recalling.leads)
app.command()(recalling.withdraw)
app.add_typer(recalling.subscribers, name="subscribers")
app.add_typer(standing.standing, name="standing")
app.command()(disclosing.disclose)
app.command()(disclosing.verify)
app.add_typer(operations.topics_app, name="topics")
app.add_typer(operations.models_app, name="models")
operations.gallery_app.command("migrate")(migrating.migrate)
app.add_typer(operations.gallery_app, name="gallery")
app.command()(operations.replay)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, or these arguments; an expected error is a sentence and exit code 1, no stack trace."""
    try:
        app(arguments)
    except EXPECTED as error:
        for sentence in sentences(error):
            ERRORS.print(f"[bold red]{type(error).__name__}:[/]", end=" ")
            ERRORS.print(printable(sentence), highlight=False, markup=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
