"""`rfr`: the front door."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from rfr_stream.commands import deciding, demo, house, intake, operations
from rfr_stream.commands._context import ERRORS, with_cluster
from rfr_stream.errors import RfrError
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
    data_dir: Annotated[Path | None, typer.Option(help="of the embedded broker, ledger, gallery and blobs")] = None,
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


app.command()(house.up)
app.command()(house.down)
app.command()(demo.demo)
app.command()(intake.submit)
app.command()(intake.enrol)
app.command()(intake.erase)
app.add_typer(deciding.reviewers, name="reviewers")
app.command()(deciding.cases)
app.command()(deciding.show)
app.command()(deciding.decide)
app.command()(deciding.status)
app.command()(deciding.watch)
app.add_typer(operations.topics_app, name="topics")
app.add_typer(operations.models_app, name="models")
app.command()(operations.replay)


def main() -> None:
    """Run; an error of ours is a sentence and exit code 1, never a stack trace."""
    try:
        app()
    except RfrError as error:
        ERRORS.print(f"[bold red]{type(error).__name__}:[/] {error}", highlight=False)
        sys.exit(1)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False):
            ERRORS.print(f"[bold red]{'.'.join(map(str, fault['loc']))}:[/] {fault['msg']}", highlight=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
