"""The table of principals: what a lawyer would ask of it, and that no topic is forgotten."""

import re
from collections import Counter
from dataclasses import replace

import pytest

import topics
from topics import Topic, access, acls
from topics._rights import _permits
from topics.access import Operation, Resource, Right
from topics.acls import Difference, Kind, Permission, Rule, _kind_of

every_topic = pytest.mark.parametrize("topic", topics.ALL, ids=lambda topic: topic.name)


def who_may(operation: Operation, name: str) -> set[str]:
    right = Right(operation, Resource.TOPIC, name)
    return {principal.name for principal in access.ALL if right in principal.rights}


def test_the_review_stage_alone_says_what_was_confirmed() -> None:
    assert who_may(Operation.WRITE, topics.IDENTIFICATIONS.name) == {"rfr-review"}


def test_the_console_alone_says_what_a_reviewer_has_signed() -> None:
    assert who_may(Operation.WRITE, topics.DECISIONS.name) == {"rfr-console"}


def test_beside_that_the_console_hands_in_what_an_officer_has_endorsed_and_does_nothing_else() -> None:
    written = (topics.DECISIONS, topics.SUBMISSIONS)
    assert access.CONSOLE.rights == tuple(Right(Operation.WRITE, Resource.TOPIC, topic.name) for topic in written)


def test_what_the_public_sent_in_starts_no_search() -> None:
    assert list(map(str, access.PUBLIC_APPEAL.rights)) == [
        "write topic rfr-appeals-v1",
        "describe topic rfr-submissions-v1",
        "describe group rfr-detection",
    ]
    assert {right.name for right in access.APPEAL.rights if right.operation is Operation.WRITE} == {
        topics.APPEALS.dead("rfr-appeal")
    }


def test_a_decision_is_seen_by_the_review_stage_alone_also_when_it_was_refused() -> None:
    for name in (topics.DECISIONS.name, topics.DECISIONS.dead("rfr-review")):
        assert who_may(Operation.READ, name) == {"rfr-review"}


def test_a_door_hands_in_and_reads_nothing() -> None:
    assert list(map(str, access.OFFICER.rights)) == ["write topic rfr-submissions-v1", "describe group rfr-detection"]
    assert list(map(str, access.MISSING_PERSONS.rights)) == [
        "write topic rfr-submissions-v1",
        "write topic rfr-enrolments-v1",
        "describe group rfr-detection",
    ]
    assert {right.operation for right in access.GALLERY_ADMIN.rights} == {Operation.WRITE}


def test_a_subscriber_reads_what_is_for_subscribers_in_groups_of_its_own_name_and_says_that_it_has_it() -> None:
    assert {str(right) for right in access.CASE_SYSTEM.rights} == {
        "read topic rfr-identifications-v1",
        "read topic rfr-outcomes-v1",
        "read topic rfr-standing-v1",
        "read as any group whose name begins with rfr-case-system",
        "write topic rfr-acknowledgements-v1",
    }


def test_nobody_writes_or_reads_topics_by_the_beginning_of_their_names() -> None:
    rights = [right for principal in access.ALL for right in principal.rights]
    wide = {right.operation for right in rights if right.prefix and right.resource is Resource.TOPIC}
    assert not wide & {Operation.READ, Operation.WRITE, Operation.DELETE, Operation.ALL}
    assert not [right for right in rights if right.operation in {Operation.ALL, Operation.DELETE}]


def test_nobody_in_the_table_can_change_the_rights() -> None:
    on_cluster = {right for principal in access.ALL for right in principal.rights if right.resource is Resource.CLUSTER}
    assert {right.operation for right in on_cluster} == {Operation.DESCRIBE}


@every_topic
def test_every_topic_has_a_writer_and_every_group_one_reader_who_can_set_aside(topic: Topic) -> None:
    assert who_may(Operation.WRITE, topic.name)
    assert who_may(Operation.READ, topic.name)
    for group in topic.groups:
        (reader,) = [each for each in access.ALL if Right(Operation.READ, Resource.GROUP, group) in each.rights]
        assert topic.name in {each.name for each in reader.works_on}
        assert reader.name in who_may(Operation.WRITE, topic.dead(group))


def test_no_subscribers_groups_are_a_groups_of_this_house() -> None:
    groups = {group for topic in topics.ALL for group in topic.groups}
    subscribers = [principal.name for principal in access.ALL if principal.subscribes]
    assert not [group for group in groups for name in subscribers if group.startswith(name)]


def test_names_are_unique_and_legal() -> None:
    assert Counter(principal.name for principal in access.ALL).most_common(1)[0][1] == 1
    assert all(re.fullmatch(r"rfr(-[a-z]+)+", principal.name) for principal in access.ALL)


def test_a_new_topic_gets_its_rights_by_its_name_in_a_line() -> None:
    complaints = replace(topics.OUTCOMES, noun="complaints", groups=("rfr-complaint",))
    stage = replace(access.REVIEW, works_on=(*access.REVIEW.works_on, complaints))
    assert [str(right) for right in stage.rights if right not in access.REVIEW.rights] == [
        "read topic rfr-complaints-v1",
        "read as group rfr-complaint",
        "write topic rfr-complaints-v1-complaint-dead",
    ]


def test_rights_read_as_sentences_a_lawyer_understands() -> None:
    words = acls.in_words()
    assert f"| rfr-decisions-v1 | {topics.DECISIONS.purpose} | rfr-console | rfr-review |" in words
    assert "- read as any group whose name begins with rfr-case-system" in words
    says = "Brings references in, says what became of their cases, and erases them."
    assert f"## rfr-gallery-admin\n\n{says}\n\n- write topic rfr-enrolments-v1" in words


def test_a_difference_reads_as_one_line() -> None:
    rule = Rule("User:rfr-search", Right(Operation.WRITE, Resource.TOPIC, topics.FACES.name))
    assert [str(Difference(kind, rule)) for kind in Kind] == [
        "rfr-search may not yet write topic rfr-faces-v1",
        "rfr-search may write topic rfr-faces-v1: not in the table",
        "rfr-search is forbidden to write topic rfr-faces-v1: to lift it is for whoever set it",
        "rfr-search, who is not in the table, may write topic rfr-faces-v1",
    ]


def test_everybody_may_be_forbidden_what_is_ours_and_that_is_told() -> None:
    everything = Right(Operation.ALL, Resource.TOPIC, "*")
    assert _kind_of(Rule("User:*", everything, Permission.DENY)) is Kind.DENIED
    assert _kind_of(Rule("User:*", everything)) is Kind.FOREIGN
    assert _kind_of(Rule("User:*", replace(everything, name="payroll"))) is None


def test_what_a_cluster_does_not_say_is_no_refusal() -> None:
    right = Right(Operation.WRITE, Resource.TOPIC, topics.FACES.name)
    assert _permits(1 << Operation.WRITE, right)
    assert not _permits(1 << Operation.READ | 1 << Operation.DESCRIBE, right)
    assert not _permits(0, right)
    assert _permits(-(2**31), right)
