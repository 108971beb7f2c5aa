"""The bus: the only room that knows how Kafka is laid out. This file is the table of topics.

Partition counts, retention and readers stand here and nowhere else; `rfr topics plan` compares it with a cluster.
Only IDENTIFICATIONS, OUTCOMES and STANDING are for subscribers outside, who answer on ACKNOWLEDGEMENTS.
"""

from typing import Final

from rfr_stream.events import (
    AppealImageReceived,
    CandidatesReady,
    CaseDisposed,
    CompetenceCertified,
    Event,
    FaceDetected,
    FaceEmbedded,
    IdentificationConfirmed,
    IdentificationWithdrawn,
    ImageSubmitted,
    LeadAcknowledged,
    ReferenceErased,
    ReferenceSubmitted,
    ReviewDecided,
    SearchEnded,
    SubjectChosen,
    SubjectUnclear,
    SubmissionClosed,
    WithdrawalOrdered,
)
from topics._topic import FAULT, Record, Topic, explain, known_path

__all__ = [
    "ACKNOWLEDGEMENTS",
    "ALL",
    "APPEALS",
    "CANDIDATES",
    "DECISIONS",
    "DISPOSALS",
    "ENROLMENTS",
    "FACES",
    "FAULT",
    "IDENTIFICATIONS",
    "OUTCOMES",
    "STANDING",
    "SUBMISSIONS",
    "TEMPLATES",
    "Record",
    "Topic",
    "explain",
    "known_path",
    "topic_of",
]

APPEALS: Final = Topic(
    "appeals",
    (AppealImageReceived,),
    key="contribution_id",
    purpose="what the public sent in to an appeal; nobody is searched for by it",
    groups=("rfr-appeal",),
)
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
    (CandidatesReady, SubjectUnclear),
    key="submission_id",
    purpose="the machine's leads, and its questions, for people",
    groups=("rfr-hold",),
)
DECISIONS: Final = Topic(
    "decisions",
    (ReviewDecided, SubjectChosen, WithdrawalOrdered, CompetenceCertified),
    key="submission_id or reviewer_id",
    purpose="what people signed: conclusions, choices, withdrawals, and who may decide",
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
    groups=("rfr-note", "rfr-callback"),
)
STANDING: Final = Topic(
    "standing",
    (SearchEnded,),
    key="submission_id",
    purpose="who is no longer sought by later enrolments",
    partitions=6,
    retention_days=30,
)
ACKNOWLEDGEMENTS: Final = Topic(
    "acknowledgements",
    (LeadAcknowledged,),
    key="submission_id",
    purpose="which subscriber has received which lead, or its withdrawal",
    partitions=6,
    groups=("rfr-acknowledgement",),
)
ENROLMENTS: Final = Topic(
    "enrolments",
    (ReferenceSubmitted, ReferenceErased),
    key="person_id",
    purpose="lawfully held references, and their end",
    groups=("rfr-enrolment", "rfr-erasure"),
)
DISPOSALS: Final = Topic(
    "disposals",
    (CaseDisposed,),
    key="person_id",
    purpose="what became of cases, and so of the images taken in them",
    partitions=6,
    retention_days=30,
    groups=("rfr-disposal",),
)

ALL: Final = (
    APPEALS,
    SUBMISSIONS,
    FACES,
    TEMPLATES,
    CANDIDATES,
    DECISIONS,
    IDENTIFICATIONS,
    OUTCOMES,
    STANDING,
    ACKNOWLEDGEMENTS,
    ENROLMENTS,
    DISPOSALS,
)


def topic_of(event: Event) -> Topic:
    """Return the topic that carries this kind of event.

    Raises:
        KeyError: none does.

    """
    return _TOPIC_OF[type(event)]


_TOPIC_OF: Final = {contract: topic for topic in ALL for contract in topic.events}
