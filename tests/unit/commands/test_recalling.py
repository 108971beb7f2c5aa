"""What the command line makes of its options about leads, and what it says of leads."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import builders
import pytest
import typer
from builders import NOW
from rich.console import Console
from typer.testing import CliRunner

from rfr_stream.commands._narrowing import narrowed
from rfr_stream.commands.recalling import leads_table, withdraw
from rfr_stream.desk import EVERY_LEAD, Lead, LeadFilter, ModelFilter, Recipient
from rfr_stream.events import GalleryName

ONE, OTHER = UUID(int=1), UUID(int=2)
LEAD = Lead(builders.identification_confirmed(), 0.35, withdrawal=None, ineligible=None, recipients=())


def asked(*arguments: str) -> LeadFilter:
    """Return the filter that a command is handed for these arguments."""
    app, handed = typer.Typer(), list[LeadFilter]()

    @app.command()
    @narrowed
    def command(*, only: LeadFilter) -> None:
        handed.append(only)

    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return handed[0]


def test_nothing_asked_is_every_lead() -> None:
    assert asked() == EVERY_LEAD


def test_every_option_narrows_one_field() -> None:
    sha = builders.sha256("weights")
    assert asked(
        *(str(ONE), str(OTHER)),
        *("--model", "embedder", "--model-version", "2", "--model-sha256", sha),
        *("--detector", "detector", "--detector-version", "3", "--detector-sha256", sha),
        *("--above", "0.3", "--below", "0.4", "--gallery", "custody", "--reviewer", "r-ash"),
        *("--since", "2026-03-01", "--until", "2026-03-02T12:00:00"),
        *("--case", "case-1", "--person", "person-1", "--reference", str(ONE), "--ineligible", "--outstanding"),
    ) == LeadFilter(
        submissions=frozenset({ONE, OTHER}),
        embedder=ModelFilter("embedder", "2", sha),
        detector=ModelFilter("detector", "3", sha),
        threshold_from=0.3,
        threshold_below=0.4,
        gallery=GalleryName.CUSTODY,
        reviewer_id="r-ash",
        confirmed_from=datetime(2026, 3, 1, tzinfo=UTC),
        confirmed_before=datetime(2026, 3, 2, 12, tzinfo=UTC),
        case_ref="case-1",
        person_id="person-1",
        reference_id=ONE,
        ineligible=True,
        outstanding=True,
    )


@pytest.mark.parametrize("arguments", [(), ("--go",)])
def test_nobody_withdraws_every_lead_by_saying_nothing(arguments: tuple[str, ...]) -> None:
    app = typer.Typer()
    app.command()(withdraw)
    done = CliRunner().invoke(app, ["--reason", "a mistake", "--by", "supervisor-1", *arguments])
    assert done.exit_code == 2
    assert "by saying nothing" in done.output


def shown(lead: Lead) -> str:
    console = Console(width=400, color_system=None)
    with console.capture() as capture:
        console.print(leads_table([lead]))
    return capture.get()


def test_a_lead_is_shown_with_what_it_was_found_with_and_no_score() -> None:
    said = shown(LEAD)
    for words in (str(LEAD.said.submission_id), "case-1", "person-1", "custody", "embedder 1 at 0.35", "given out"):
        assert words in said
    assert "reviewer-a, reviewer-b" in said
    assert "2026-03-01 12:00" in said


def test_a_withdrawn_lead_says_why_and_who_lacks_the_withdrawal() -> None:
    gone = replace(
        LEAD,
        withdrawal=builders.identification_withdrawn(),
        recipients=(
            Recipient("has-both", NOW, NOW + timedelta(hours=1)),
            Recipient("has-the-lead", NOW),
            Recipient("has-nothing"),
        ),
    )
    said = shown(gone)
    assert "withdrawn: new evidence excludes this person" in said
    assert "has-the-lead, has-nothing" in said
    assert "has-both" not in said


def test_a_lead_whose_reference_may_not_be_searched_says_why() -> None:
    assert "given out; reference not_held" in shown(replace(LEAD, ineligible="not_held"))
