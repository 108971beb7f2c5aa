"""What the stages need from the world, as Protocols, and the plain values that cross them.

Batches everywhere: a port takes a sequence and answers with a list of the same length and order. Where one item can
be at fault without the others, its place in the answer holds the `Rejected` that says why. Every port may raise
`Unavailable`; then nothing is known of any item, and the caller tries the whole batch again (all effects are
idempotent).
"""

from rfr_stream.ports.ledger import (
    Case,
    Cases,
    CaseState,
    Change,
    Duty,
    Ledger,
    Outbox,
    Outgoing,
    Reference,
    References,
    Reviewer,
    Reviewers,
    Seed,
    Seeds,
    Step,
    Subscribers,
    Transition,
    Turn,
    Verifier,
)
from rfr_stream.ports.machines import (
    Aligner,
    BlobStore,
    Chip,
    Codec,
    Copy,
    Detector,
    Embedder,
    Gallery,
    Hit,
    NewBlob,
    Picture,
    Templates,
    Vision,
)

__all__ = [
    "Aligner",
    "BlobStore",
    "Case",
    "CaseState",
    "Cases",
    "Change",
    "Chip",
    "Codec",
    "Copy",
    "Detector",
    "Duty",
    "Embedder",
    "Gallery",
    "Hit",
    "Ledger",
    "NewBlob",
    "Outbox",
    "Outgoing",
    "Picture",
    "Reference",
    "References",
    "Reviewer",
    "Reviewers",
    "Seed",
    "Seeds",
    "Step",
    "Subscribers",
    "Templates",
    "Transition",
    "Turn",
    "Verifier",
    "Vision",
]
