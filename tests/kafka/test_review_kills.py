"""The bench that kills the review: a short run finds nothing wrong, and whatever goes wrong is counted."""

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import review_kills
from review_kills import Body, Case, Kept, Said

from rfr_stream.ports import CaseState


def test_a_short_run_loses_nothing_and_releases_nothing_unreviewed(capsys: pytest.CaptureFixture[str]) -> None:
    status = review_kills.main(["--cases", "60", "--kills", "4"])

    said = capsys.readouterr().out
    assert status == 0, said
    counts = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)  ", said, re.MULTILINE)}
    assert counts["kills"] == 4
    assert counts["confirmed"] > 20
    assert {name: counts[name] for name in review_kills.MUST_BE_NONE} == dict.fromkeys(review_kills.MUST_BE_NONE, 0)


# --- what is counted ------------------------------------------------------------------------------------------------
@dataclass
class End:
    """What one confirmed case has left behind; unless a test changes it, all is well."""

    case: Case
    state: str
    decisions: list[Body]
    leads: list[Said]
    outcomes: list[Said]

    def faults(self) -> dict[str, int]:
        """Count, and leave out what is zero."""
        kept = Kept({self.case.id: self.state}, {self.case.id: self.decisions}, owed=0)
        counted = review_kills.faults([self.case], kept, self.leads, self.outcomes)
        return {name: count for name, count in counted.items() if count}


@pytest.fixture
def end() -> End:
    made = (review_kills.case(number, random.Random(number)) for number in range(20))  # noqa: S311 - always the same
    case = next(each for each in made if each.ends is CaseState.CONFIRMED)
    reviews = [{"reviewer_ref": decision.reviewer_id} for decision in case.decisions]
    lead = {"submission_id": str(case.id), "person_id": case.decisions[0].person_id, "reviews": reviews}
    return End(
        case,
        "confirmed",
        [json.loads(decision.model_dump_json()) for decision in case.decisions],
        [Said("lead", lead)],
        [Said("outcome", {"submission_id": str(case.id)})],
    )


def _say_it_again(end: End) -> None:
    end.leads.append(end.leads[0])


def _say_it_under_another_id(end: End) -> None:
    end.leads.append(Said("another", end.leads[0].body))


def _name_somebody_else(end: End) -> None:
    end.leads[0].body["person_id"] = "person-99"


def _forge_a_signature(end: End) -> None:
    first, second = end.decisions
    first["signature"] = second["signature"]


def _let_one_decide_twice(end: End) -> None:
    end.decisions[1] = end.decisions[0]


def _judge_another_list(end: End) -> None:
    end.decisions[0]["list_digest"] = "0" * 64


def _cite_somebody_else(end: End) -> None:
    end.leads[0].body["reviews"][0] = {"reviewer_ref": "reviewer-99"}


def _stay_undecided(end: End) -> None:
    end.state = "awaiting_second_review"


def test_all_is_well_where_a_lead_was_said_twice_under_one_id(end: End) -> None:
    _say_it_again(end)

    assert end.faults() == {}


@pytest.mark.parametrize(
    ("spoil", "counted"),
    [
        (lambda end: end.leads.clear(), {"lost": 1}),
        (_say_it_under_another_id, {"double": 1}),
        (_name_somebody_else, {"unreviewed": 1}),
        (_forge_a_signature, {"unreviewed": 1}),
        (_let_one_decide_twice, {"unreviewed": 1}),
        (_judge_another_list, {"unreviewed": 1}),
        (_cite_somebody_else, {"unreviewed": 1}),
        (lambda end: end.decisions.pop(), {"unreviewed": 1}),
        (_stay_undecided, {"undecided": 1}),
        (lambda end: end.outcomes.clear(), {"untold": 1}),
    ],
)
def test_whatever_goes_wrong_is_counted(end: End, spoil: Callable[[End], object], counted: dict[str, int]) -> None:
    spoil(end)

    assert end.faults() == counted
