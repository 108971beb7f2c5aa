"""The bus: the only room that knows how Kafka is laid out. This file is the table of topics.

Partition counts, retention and readers stand here and nowhere else; `rfr topics plan` compares it with a cluster.
Only IDENTIFICATIONS and OUTCOMES are for subscribers outside.
"""

from typing import Final

from rfr_stream.events import (
    CandidatesReady,
    Event,
    FaceDetected,
    FaceEmbedded,
    IdentificationConfirmed,
    IdentificationWithdrawn,
    ImageSubmitted,
    ReferenceErased,
    ReferenceSubmitted,
    ReviewDecided,
    SubmissionClosed,
)
from topics._topic import FAULT, Record, Topic

__all__ = [
    "ALL",
    "CANDIDATES",
    "DECISIONS",
    "ENROLMENTS",
    "FACES",
    "FAULT",
    "IDENTIFICATIONS",
    "OUTCOMES",
    "SUBMISSIONS",
    "TEMPLATES",
    "Record",
    "Topic",
    "topic_of",
]

SUBMISSIONS: Final = Topic(
    "submissions",
    (ImageSubmitted,),
    key="submission_id",
    purpose="somebody asks who this may be",
    groups=("rfr-detection",),
)
FACES: Final = Topic(
    "faces",
    (FaceDetected,),
    key="submission_id",
    purpose="the subject's face, found and measured",
    groups=("rfr-embedding",),
)
TEMPLATES: Final = Topic(
    "templates",
    (FaceEmbedded,),
    key="submission_id",
    purpose="the subject's template is stored",
    groups=("rfr-search",),
)
CANDIDATES: Final = Topic(
    "candidates",
    (CandidatesReady,),
    key="submission_id",
    purpose="the machine's leads, for people",
    groups=("rfr-hold",),
)
DECISIONS: Final = Topic(
    "decisions",
    (ReviewDecided,),
    key="submission_id",
    purpose="signed conclusions of reviewers",
    retention_days=30,
    groups=("rfr-review",),
)
IDENTIFICATIONS: Final = Topic(
    "identifications",
    (IdentificationConfirmed, IdentificationWithdrawn),
    key="case_ref",
    purpose="intelligence leads that two people confirmed, and their recall",
    partitions=6,
    retention_days=30,
)
OUTCOMES: Final = Topic(
    "outcomes",
    (SubmissionClosed,),
    key="submission_id",
    purpose="what became of each submission",
    retention_days=30,
    groups=("rfr-note",),
)
ENROLMENTS: Final = Topic(
    "enrolments",
    (ReferenceSubmitted, ReferenceErased),
    key="person_id",
    purpose="lawfully held references, and their end",
    groups=("rfr-enrolment",),
)

ALL: Final = (SUBMISSIONS, FACES, TEMPLATES, CANDIDATES, DECISIONS, IDENTIFICATIONS, OUTCOMES, ENROLMENTS)


def topic_of(event: Event) -> Topic:
    """Return the topic that carries this kind of event.

    Raises:
        KeyError: none does.

    """
    return _TOPIC_OF[type(event)]


_TOPIC_OF: Final = {contract: topic for topic in ALL for contract in topic.events}
