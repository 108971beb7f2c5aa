"""What a reviewer concludes becomes words, and the words are signed: nothing is signed that would not count."""

from typing import Any

import builders
import pytest
from builders import NOW
from pydantic import ValidationError

from producers.console import signing
from rfr_stream.adapters import keys
from rfr_stream.adapters.keys import KeyVerifier
from rfr_stream.errors import NotPermitted
from rfr_stream.events import UNSIGNED, Component, Feature, Finding, Passkey, Support

JUDGED = builders.candidates_ready()


def judgement(**fields: Any) -> signing.Judgement:  # noqa: ANN401 - any field of a judgement
    concluded = {
        "reviewer_id": "reviewer-a",
        "support": Support.STRONG_SAME,
        "person_id": "person-1",
        "features": builders.features(),
        "examination": builders.examination(),
    }
    return signing.Judgement.model_validate({**concluded, **fields})


def test_a_decision_is_about_the_list_that_was_judged_and_its_reviewers_key_verifies_it() -> None:
    words = signing.draft(JUDGED, judgement(), NOW)
    decision = signing.seal(words, keys.sign_bytes(builders.private_key("reviewer-a"), words.signed_bytes))

    assert (decision.list_digest, decision.submission_id) == (JUDGED.list_digest, JUDGED.submission.submission_id)
    assert (decision.occurred_at, decision.demo, decision.version) == (NOW, False, 1)
    assert decision.event_id == words.event_id
    verifier, key = KeyVerifier(), builders.reviewer("reviewer-a").public_key
    assert verifier.verify(key, decision)
    assert not verifier.verify(key, words), "a draft is signed by nobody"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"person_id": "person-99"}, "person_id"),
        ({"person_id": None}, "person_id"),
        ({"support": Support.STRONG_DIFFERENT}, "person_id"),
        ({"reviewer_id": "officer-1"}, "reviewer_id"),
        ({"examination": None}, "examination"),
        ({"features": builders.features()[1:]}, "features"),
        ({"features": ()}, "similarities"),
        ({"version": 2, "reason": "looked again"}, "version"),
    ],
)
def test_what_policy_objects_to_is_never_drafted(fields: dict[str, object], why: str) -> None:
    with pytest.raises(NotPermitted, match=f"^{why}: "):
        signing.draft(JUDGED, judgement(**fields), NOW)


def test_a_second_word_is_drafted_upon_what_was_said_before() -> None:
    first = signing.draft(JUDGED, judgement(), NOW)
    taken_back = judgement(support=Support.INCONCLUSIVE, person_id=None, version=2, reason="the scar is a shadow")

    assert signing.draft(JUDGED, taken_back, NOW, earlier=[first]).reason == "the scar is a shadow"
    with pytest.raises(NotPermitted, match=r"^reviewer_id: has decided"):
        signing.draft(JUDGED, judgement(), NOW, earlier=[first])


def test_a_demonstrations_list_is_decided_by_a_demonstrations_words() -> None:
    assert signing.draft(builders.candidates_ready(demo=True), judgement(), NOW).demo


@pytest.mark.parametrize("signature", ["", "not a signature", "A" * 88])
def test_what_is_no_signature_seals_nothing(signature: str) -> None:
    with pytest.raises(ValidationError, match="signature"):
        signing.seal(signing.draft(JUDGED, judgement(), NOW), signature)


def test_what_a_passkey_signed_around_the_words_goes_along() -> None:
    passkey = Passkey(authenticator_data="AAAA", client_data="AAAA")

    assert signing.seal(builders.subject_chosen(), UNSIGNED, passkey).passkey == passkey


def test_nothing_that_a_reviewer_wrote_is_quoted_in_an_error() -> None:
    with pytest.raises(ValidationError) as refused:
        judgement(person_id="Jane Doe")
    assert "Jane" not in str(refused.value)


# --- in words -------------------------------------------------------------------------------------------------------
def with_nose(**fields: object) -> tuple[Feature, ...]:
    nose = Feature.model_validate({"component": Component.NOSE, **fields})
    return (nose, *(feature for feature in builders.features() if feature.component is not Component.NOSE))


def test_similarities_are_said_by_component_with_what_was_noted() -> None:
    features = with_nose(finding=Finding.SIMILAR, note="same bend to the left")
    decision = signing.draft(JUDGED, judgement(features=features), NOW)

    assert decision.similarities == ("nose: similar: same bend to the left", "ears: similar", "scars: similar")
    assert decision.features == features


@pytest.mark.parametrize(
    ("finding", "words"),
    [(Finding.DISSIMILAR, "nose: dissimilar: broader"), (Finding.EXPLAINED, "nose: dissimilar but explained: broader")],
)
def test_dissimilarities_are_said_explained_or_not(finding: Finding, words: str) -> None:
    decision = signing.draft(JUDGED, judgement(features=with_nose(finding=finding, note="broader")), NOW)

    assert decision.dissimilarities == (words,)


def test_to_have_looked_for_dissimilarities_and_found_none_is_an_entry() -> None:
    assert signing.draft(JUDGED, judgement(), NOW).dissimilarities == (
        "none found in a search, component by component",
    )


def test_where_nobody_looked_nothing_is_said() -> None:
    unsuitable = judgement(support=Support.UNSUITABLE, person_id=None, features=(), examination=None)
    decision = signing.draft(JUDGED, unsuitable, NOW)

    assert (decision.similarities, decision.dissimilarities) == ((), ())


def test_the_longest_note_still_makes_an_observation() -> None:
    decision = signing.draft(JUDGED, judgement(features=with_nose(finding=Finding.SIMILAR, note="x" * 500)), NOW)

    assert len(decision.similarities[0]) == 500
