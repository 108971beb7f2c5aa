"""What a standing search says on the wire, and how it is told in a disclosure."""

import json
from typing import Any, Final
from uuid import UUID, uuid4

import builders
import pytest
from pydantic import ValidationError

from rfr_stream.adapters.paper._search import _asked, _event
from rfr_stream.adapters.paper._timeline import moments
from rfr_stream.disclosure import Search, Told
from rfr_stream.events import (
    Exposure,
    FaceEmbedded,
    ImageSubmitted,
    Purpose,
    Recipe,
    RecipeVariant,
    SearchEnded,
    Submission,
)
from rfr_stream.ports import Case, CaseState

ASKED: Final = builders.submission(purpose=Purpose.MISSING)
REFERENCES: Final = (uuid4(), uuid4())
AGAIN: Final = ASKED.renewed(REFERENCES)


def wire(**fields: Any) -> dict[str, Any]:  # noqa: ANN401
    return {**json.loads(AGAIN.model_dump_json()), **fields}


def heard(said: dict[str, Any]) -> Submission:
    return Submission.model_validate_json(json.dumps(said))


def test_it_survives_the_wire_and_has_an_id_of_its_own() -> None:
    assert heard(wire()) == AGAIN
    assert AGAIN.submission_id != ASKED.submission_id


def test_it_asks_about_the_same_variants() -> None:
    varied = builders.submission(purpose=Purpose.MISSING, variants=(RecipeVariant(recipe=Recipe(steps=(Exposure(),))),))
    again = varied.renewed(REFERENCES)
    assert Submission.model_validate_json(again.model_dump_json()) == again
    without = {**json.loads(again.model_dump_json()), "variants": []}
    with pytest.raises(ValidationError, match="not the id that this request derives"):
        heard(without)


def test_the_same_references_in_another_order_are_the_same_question() -> None:
    assert ASKED.renewed(reversed(REFERENCES)) == AGAIN
    assert ASKED.renewed(REFERENCES[:1]).submission_id != AGAIN.submission_id


@pytest.mark.parametrize(
    "changed",
    [
        {"submission_id": str(ASKED.submission_id)},
        {"submission_id": str(uuid4())},
        {"case_ref": "case-2"},
        {"renewal": None},
        {"renewal": {"of": str(uuid4()), "references": [str(REFERENCES[0])]}},
        {"renewal": {"of": str(ASKED.submission_id), "references": [str(uuid4())]}},
        {"renewal": {"of": str(ASKED.submission_id), "references": []}},
    ],
)
def test_nobody_asks_again_for_another_question_or_under_a_foreign_id(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        heard(wire(**changed))


def test_nobody_asks_again_through_a_door() -> None:
    with pytest.raises(ValidationError, match="the ledger alone asks again"):
        ImageSubmitted(occurred_at=builders.NOW, submission=AGAIN)


def test_a_disclosure_says_that_it_was_a_standing_search_and_of_what() -> None:
    asked = _asked(AGAIN)
    assert "standing search" in str(asked["Standing search"]).lower() or "asked again" in str(asked["Standing search"])
    assert asked["Asks again"] == str(ASKED.submission_id)
    assert {UUID(line) for line in str(asked["References that came later"]).splitlines()} == set(REFERENCES)
    assert "Standing search" not in _asked(ASKED)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (builders.face_embedded(AGAIN), "asked again"),
        (builders.search_ended(ASKED), "ended the standing search"),
        (builders.search_ended(ASKED, lapsed=True), "lapse"),
    ],
)
def test_what_was_said_of_it_is_told_in_order_of_time(event: FaceEmbedded | SearchEnded, words: str) -> None:
    told = Told(
        event_id=event.event_id,
        type=event.ce_type,
        event=event,
        refusal=None,
        refusal_message=None,
        published=True,
        published_at=builders.NOW,
    )
    case = Case(UUID(event.key), CaseState.CLOSED, builders.NOW)
    assert any(words in what for _, _, what in moments(Search(case=case, told=(told,))))
    assert all(_event(event))
