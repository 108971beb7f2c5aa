"""One search on paper: what was asked, what the machine did, who saw what, who decided what, and who was told."""

from collections.abc import Sequence
from typing import TypeAlias

from rfr_stream.adapters.paper import _words as say
from rfr_stream.adapters.paper._layout import Code, Flowable, Story, block, facts, grid, items, section, words
from rfr_stream.adapters.paper._timeline import moments
from rfr_stream.adapters.paper._variants import found_by, variants
from rfr_stream.desk import SUPPORT, Examined, Look, Visibility
from rfr_stream.disclosure import Analysed, Search, Shown, Told
from rfr_stream.events import (
    CandidatesReady,
    Examination,
    FaceEmbedded,
    Finding,
    IdentificationConfirmed,
    IdentificationWithdrawn,
    ImageSubmitted,
    ModelIdentity,
    Renewal,
    ReviewDecided,
    SearchEnded,
    SubjectFace,
    Submission,
    SubmissionClosed,
    VideoFrame,
)
from rfr_stream.ports import Case

_Said: TypeAlias = (
    IdentificationConfirmed | IdentificationWithdrawn | ImageSubmitted | FaceEmbedded | SearchEnded | SubmissionClosed
)

_NO_SUBMISSION = (
    "The submission itself is not on record: it ended before any list was made. The ledger keeps its id, its case and "
    "how it ended."
)
_LIST = {"Rank": 7, "Person": 14, "Gallery": 10, "Similarity": 10, "Reference": 31, "SHA-256 of its image": 28}
_ABREAST = 3
_BLANK = "Blank: nobody in the galleries searched reached the threshold. There was nothing to review."


def printed(search: Search) -> Story:
    """Print everything about one search."""
    case = search.case
    yield facts(
        {
            "Submission": Code(case.submission_id),
            "In the ledger since": say.moment(case.opened_at),
            "Demonstration": "yes: no operational case" if case.demo else None,
        }
    )
    about = case.candidates or case.faces
    yield from section("What was asked")
    yield facts(_asked(about.submission)) if about else words(_NO_SUBMISSION)
    yield from _choice(case)
    if case.candidates:
        yield from _processing(case.candidates)
        yield from variants(case.candidates)
        yield from _list(case.candidates)
    yield from _analyses(search.analyses)
    yield from _shown(search.shown)
    yield from _decisions(search)
    yield from _told(search)
    yield from section("In order of time", room_mm=30)
    yield grid({"When (UTC)": 19, "Who": 18, "What": 63}, moments(search))


# --- asked ----------------------------------------------------------------------------------------------------------
def _asked(asked: Submission) -> dict[str, object]:
    frame = asked.media if isinstance(asked.media, VideoFrame) else None
    return {
        "Case": asked.case_ref,
        "Whom to find": say.plain(asked.purpose),
        "Came through": say.plain(asked.source),
        "Legal basis": asked.legal_basis,
        "Necessity": asked.necessity or "not stated",
        "Authoriser": asked.authoriser or "none; this purpose needs none",
        "Harm": say.plain(asked.harm),
        "Galleries asked for": say.listed(asked.galleries) if asked.galleries else "all that the purpose permits",
        "Submitted by": asked.submitted_by,
        "Submitted at": say.moment(asked.submitted_at),
        "Face meant": say.place(asked.subject) if asked.subject else "not said with the image",
        "Medium": f"frame of a video, at {frame.frame_time_s:g} s" if frame else "still image",
        "SHA-256 of the video": Code(frame.video_sha256) if frame else None,
        "What was done to the frame": Code("; ".join(frame.steps)) if frame and frame.steps else None,
        "Taken with": frame.tool if frame else None,
        "Image": f"{asked.image.media_type}, {asked.image.bytes:,} bytes",
        "SHA-256 of the image": Code(asked.image.sha256),
        **_again(asked.renewal),
    }


def _again(renewal: Renewal | None) -> dict[str, object]:
    """Return, of a standing search, what it asks again and about whom."""
    if renewal is None:
        return {}
    return {
        "Standing search": "asked again by the house, about references that came after its own search, and no others",
        "Asks again": Code(renewal.of),
        "References that came later": Code("\n".join(map(str, renewal.references))),
    }


def _choice(case: Case) -> Story:
    if case.faces:
        yield words(f"The image shows {len(case.faces.faces)} faces, and did not say which is meant.")
    if case.choice is None:
        return
    yield from section("Whose face is meant")
    yield facts(
        {
            "Said by": case.choice.reviewer_id,
            "At": say.moment(case.choice.occurred_at),
            "Face": say.place(case.choice.subject) if case.choice.subject else "none of the faces is the one meant",
            "Signature": Code(case.choice.signature),
        }
    )


# --- the machine ----------------------------------------------------------------------------------------------------
def _processing(found: CandidatesReady) -> Story:
    face = found.face
    yield from section("What the machine did")
    yield facts(
        {
            "Detector": _model(face.detector),
            "Weights of the detector": Code(face.detector.weights_sha256),
            "Face": f"{say.place(face.box)}; detection score {face.score:.3f}",
            "Other faces": f"{len(face.masks)}, masked; none was searched for",
            "Quality": _quality(face),
            "Aligner": face.aligner,
            "SHA-256 of the crop": Code(face.crop.sha256),
            "Embedder": _model(found.template.embedder),
            "Weights of the embedder": Code(found.template.embedder.weights_sha256),
            "SHA-256 of the template": Code(found.template.template.sha256),
            "Galleries searched": "; ".join(f"{name}: {size:,} references" for name, size in _sizes(found)),
            "Threshold": f"{found.threshold:g} (cosine similarity)",
            "List length": f"at most {found.list_length}",
            "Made at": say.moment(found.occurred_at),
        }
    )


def _model(model: ModelIdentity) -> str:
    return f"{model.name} {model.version}" + (f", {model.dimension} dimensions" if model.dimension else "")


def _quality(face: SubjectFace) -> str:
    measured = face.quality
    return (
        f"eyes {measured.interocular_px:.1f} px apart; sharpness {measured.sharpness:.1f}; brightness "
        f"{measured.brightness:.1f}; contrast {measured.contrast:.1f}; roll {measured.roll_deg:.1f}\N{DEGREE SIGN}; "
        f"yaw ratio {measured.yaw_ratio:.2f}"
    )


def _sizes(found: CandidatesReady) -> list[tuple[str, int]]:
    return sorted((str(name), size) for name, size in found.gallery_sizes.items())


def _list(found: CandidatesReady) -> Story:
    yield from section("The list, as the machine made it")
    if not found.candidates:
        yield words(_BLANK)
    else:
        rows = [
            (
                str(each.rank),
                each.person_id,
                each.gallery,
                f"{each.similarity:.4f}",
                Code(each.reference_id),
                Code(each.reference.sha256),
                *((found_by(each),) if found.fusion else ()),
            )
            for each in found.candidates
        ]
        yield grid(_LIST | ({"Found by": 10} if found.fusion else {}), rows)
    yield facts({"SHA-256 of the list": Code(found.list_digest)})


# --- people ---------------------------------------------------------------------------------------------------------
def _analyses(analyses: Sequence[Analysed]) -> Story:
    if analyses:
        yield from section("The probe alone, before any candidate was shown")
    for each in analyses:
        yield from block(f"{each.reviewer_id}, version {each.version}")
        seen = each.analysis.seen
        by_visibility = {
            say.plain(visibility): say.listed(one.component for one in seen if one.visibility is visibility)
            for visibility in Visibility
        }
        suitable = {"On record at": say.moment(each.at), "Probe": say.plain(each.analysis.suitability)}
        yield facts(suitable | by_visibility | {"Note": each.analysis.note})
        yield from items([f"{say.plain(one.component)}: {one.note}" for one in seen if one.note])


def _shown(shown: Sequence[Shown]) -> Story:
    """Print the orders side by side: each reviewer had one of their own."""
    if not shown:
        return
    yield from section("The list, as each reviewer was shown it", room_mm=70)
    yield words("Each reviewer saw the candidates in an order of their own, without score, rank or threshold.")
    for first in range(0, len(shown), _ABREAST):
        yield _side_by_side(shown[first : first + _ABREAST])
    for each in shown:
        yield facts(
            {
                "Reviewer": each.reviewer_id,
                "Shown at": say.moment(each.examined.shown_at) if each.examined.shown_at else "never",
                "Seed of the order": Code(each.examined.order_seed),
                "Decision sent at": say.moment(each.examined.sent_at) if each.examined.sent_at else "never",
                "Scores shown at": say.moment(each.examined.revealed_at) if each.examined.revealed_at else "never",
                "Draft": _draft(each.examined),
            }
        )


def _side_by_side(shown: Sequence[Shown]) -> Flowable:
    columns = {"Place": 8.0} | {each.reviewer_id: 92 / len(shown) for each in shown}
    places = range(1, len(shown[0].order) + 1)
    return grid(columns, [[str(place), *(_at(each, place) for each in shown)] for place in places])


def _at(shown: Shown, place: int) -> str:
    look = shown.examined.looks.get(place, Look())
    looked = f"{look.dwell_ms / 1000:.1f} s" + (", went closer" if look.zoomed else "")
    return f"{shown.order[place - 1]}\n{looked}"


def _draft(examined: Examined) -> str | None:
    if examined.draft is None:
        return None
    sent = "was sent, and did not count" if examined.draft.is_signed else "was never signed"
    named = f" ({examined.draft.person_id})" if examined.draft.person_id else ""
    return f"{SUPPORT[examined.draft.support]}{named}; it {sent}"


def _decisions(search: Search) -> Story:
    case = search.case
    yield from section("What was decided")
    if not (case.decisions or case.parked):
        yield words("Nobody decided.")
    for number, decision in enumerate(case.decisions, start=1):
        yield from block(f"Decision {number}: {decision.reviewer_id}, version {decision.version}", room_mm=80)
        yield from _decision(decision)
    for decision in case.parked:
        yield from block(f"Waiting for its list: {decision.reviewer_id}")
        yield from _decision(decision)
    for told in search.told:
        if isinstance(told.event, ReviewDecided):
            yield from block(f"Refused: {told.event.reviewer_id}")
            yield words(f"It did not count: {told.refusal_message}")
            yield from _decision(told.event)


def _decision(decision: ReviewDecided) -> Story:
    yield facts(
        {
            "Conclusion": SUPPORT[decision.support],
            "Person named": decision.person_id or "nobody",
            "Signed at": say.moment(decision.occurred_at),
            "Why a new version": decision.reason,
            **_examined(decision.examination),
        }
    )
    compared = [each for each in decision.features if each.finding is not Finding.NOT_VISIBLE]
    if compared:
        rows = [
            (say.plain(each.component), say.plain(each.finding), "major" if each.major else "", each.note or "")
            for each in compared
        ]
        yield grid({"Component": 20, "Finding": 23, "": 8, "Note": 49}, rows)
    yield facts(
        {
            "Not visible": _not_visible(decision),
            "Similarities": "\n".join(decision.similarities) or "none on record",
            "Dissimilarities": "\n".join(decision.dissimilarities) or "none on record",
            "List judged": Code(decision.list_digest),
            "Signature": Code(decision.signature),
            "Signed with": "a passkey" if decision.passkey else "an Ed25519 key",
        }
    )


def _not_visible(decision: ReviewDecided) -> str | None:
    hidden = [each.component for each in decision.features if each.finding is Finding.NOT_VISIBLE]
    return say.listed(hidden) if decision.features else None


def _examined(looked: Examination | None) -> dict[str, object]:
    if looked is None:
        return {"Examination": "none on record"}
    return {
        "Probe analysed at": say.moment(looked.analysed_at),
        "Candidates shown at": say.moment(looked.shown_at),
        "Compared for": f"{looked.compared_s:.0f} s; looked at {looked.viewed_n} candidates"
        + ("; went closer" if looked.zoomed else ""),
        "Scores": "had been shown to this reviewer before this version" if looked.revealed else "not shown before this",
    }


# --- others ---------------------------------------------------------------------------------------------------------
def _told(search: Search) -> Story:
    yield from section("What others were told")
    said = [(told, told.event) for told in search.told if not isinstance(told.event, ReviewDecided)]
    if not said:
        yield words("Nothing was said to others.")
    for told, event in said:
        to, what = _event(event)
        yield from block(to)
        published = {
            "Said at": say.moment(told.event.occurred_at),
            "Published": say.moment(told.published_at) if told.published_at else _published(told),
        }
        yield facts(what | published | _received(told, search) | {"Event": Code(told.event_id)})
    if search.case.withdrawal:
        order = search.case.withdrawal
        yield from block("The order to withdraw the lead")
        yield facts(
            {
                "Ordered by": order.ordered_by,
                "At": say.moment(order.occurred_at),
                "Reason": order.reason,
                "Signature": Code(order.signature),
            }
        )


def _event(event: _Said) -> tuple[str, dict[str, object]]:
    match event:
        case IdentificationConfirmed():
            rests_on = "\n".join(f"{each.reviewer_ref}: {SUPPORT[each.support].lower()}" for each in event.reviews)
            report = event.evaluation_ref or "none on record"
            return "To the case", {
                "Intelligence lead to": event.person_id,
                "Rests on": rests_on,
                "Evaluation report": report,
            }
        case IdentificationWithdrawn():
            return "To the case", {"Lead withdrawn": event.person_id, "Reason": event.reason, "By": event.withdrawn_by}
        case ImageSubmitted():
            return "To the search", {"Handed in again": "the submission, with the face that somebody chose"}
        case FaceEmbedded():
            return "To the search", {"Asked again": "the standing search, about the references named above"}
        case SearchEnded():
            why = "its review date came, and nobody kept it" if event.lapsed else "somebody ended it"
            return "To the submitter", {"Standing search": f"over: {why}"}
        case SubmissionClosed():
            return "To the submitter", {"Outcome": f"{say.plain(event.outcome)}: {event.detail}"}


def _received(told: Told, search: Search) -> dict[str, object]:
    if not isinstance(told.event, IdentificationConfirmed | IdentificationWithdrawn):
        return {}  # nobody has to acknowledge
    received = [each for each in search.acknowledged if each.acknowledged == told.event_id]
    by = "\n".join(f"{each.subscriber}, {say.moment(each.at)}" for each in received)
    return {"Acknowledged by": by or "nobody so far"}


def _published(told: Told) -> str:
    return "yes; when was not kept" if told.published else "not yet"
