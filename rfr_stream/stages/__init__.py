"""The pipeline: one function is one stage. This package is the system; the rest lets it touch the world.

    ImageSubmitted -> detect -> FaceDetected -> embed -> FaceEmbedded -> search -> CandidatesReady -> hold
                                                                                                       |  people
                                     IdentificationConfirmed <- (the ledger's outbox) <- decide <- ReviewDecided

Each stage takes a batch of events and its ports, and returns one result for each event, in order: the event that
follows, `None` where the effect is the result, or the `Rejected` that says why there is none. `Unavailable` passes
through: the whole batch comes again. Every effect is idempotent and every id derived, so that again is harmless.
"""

from rfr_stream.stages._faces import ProbeRules
from rfr_stream.stages._outcomes import closed_by
from rfr_stream.stages.appeals import gather
from rfr_stream.stages.comparing import Comparison, Looked, Side, compared, look
from rfr_stream.stages.detection import detect
from rfr_stream.stages.embedding import TEMPLATE_MEDIA_TYPE, embed
from rfr_stream.stages.enrolment import as_held, dispose, enrol
from rfr_stream.stages.erasure import erase, reference_folder
from rfr_stream.stages.migrating import Lacking, Migration, ReferenceRules
from rfr_stream.stages.reviewing import acknowledge, decide, expire, hold, lapsed_among, note
from rfr_stream.stages.searching import SearchRules, search
from rfr_stream.stages.serving import require_serving, search_by_model
from rfr_stream.stages.standing import Lookout, StandingRules

__all__ = [
    "TEMPLATE_MEDIA_TYPE",
    "Comparison",
    "Lacking",
    "Looked",
    "Lookout",
    "Migration",
    "ProbeRules",
    "ReferenceRules",
    "SearchRules",
    "Side",
    "StandingRules",
    "acknowledge",
    "as_held",
    "closed_by",
    "compared",
    "decide",
    "detect",
    "dispose",
    "embed",
    "enrol",
    "erase",
    "expire",
    "gather",
    "hold",
    "lapsed_among",
    "look",
    "note",
    "reference_folder",
    "require_serving",
    "search",
    "search_by_model",
]
