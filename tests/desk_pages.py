"""Going through the desk's pages as a reviewer does: forms filled in, steps taken, signatures made."""

import hashlib
import re
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html import unescape
from io import BytesIO
from typing import Any, Final, TypeAlias
from uuid import UUID

import builders
import desk_house
import httpx
import numpy as np
import pictures
import pytest
from desk_house import DeskHouse
from PIL import Image

from rfr_stream.adapters import keys
from rfr_stream.desk import Suitability, Visibility
from rfr_stream.events import AppealImageReceived, BlobRef, CandidatesReady, Component, Finding, SubjectUnclear, Support
from rfr_stream.ports import Contribution, NewBlob
from rfr_stream.vision.fingerprint import fingerprint

Form: TypeAlias = dict[str, str]

PLAIN_HEADERS: Final = {
    "cache-control",
    "content-length",
    "content-security-policy",
    "content-type",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "permissions-policy",
    "referrer-policy",
    "x-content-type-options",
}


@dataclass
class CaseAtHand:
    """A case before a reviewer."""

    house: DeskHouse
    client: httpx.AsyncClient
    found: CandidatesReady | SubjectUnclear
    reviewer_id: str

    @property
    def id(self) -> str:
        return str(self.found.submission.submission_id)

    @property
    def path(self) -> str:
        return f"/cases/{self.id}"


# --- steps ----------------------------------------------------------------------------------------------------------
@asynccontextmanager
async def fresh(folders: pytest.TempPathFactory) -> AsyncIterator[DeskHouse]:
    """Open another house."""
    async with desk_house.opened(folders.mktemp("desk")) as house:
        yield house


async def held(house: DeskHouse, found: CandidatesReady) -> CandidatesReady:
    """Let a list come to people, with its images kept and its references lawfully held."""
    await kept(house, found.submission.image, *(each.reference for each in found.candidates))
    await house.desk.ledger.hold(builders.references_of(found))
    await house.hold(found)
    return found


async def kept(house: DeskHouse, *images: BlobRef) -> None:
    """Keep the pictures that these refer to."""
    await house.desk.blobs.put(list(map(_blob, images)))


async def taken(house: DeskHouse, found: CandidatesReady, by: str = "reviewer-a") -> CaseAtHand:
    """Let a case come, and be taken by a certified reviewer."""
    await held(house, found)
    return CaseAtHand(house, await house.client(await house.reviewer(by)), found, by)


async def analysed(house: DeskHouse, found: CandidatesReady, by: str = "reviewer-a") -> CaseAtHand:
    """Go as far as the analysis."""
    case = await taken(house, found, by)
    answer = await case.client.post(f"{case.path}/analysis", data=analysis())
    assert answer.status_code == 303, answer.text
    return case


async def compared(house: DeskHouse, found: CandidatesReady, by: str = "reviewer-a") -> CaseAtHand:
    """Go as far as having looked at the candidates for two minutes."""
    case = await analysed(house, found, by)
    assert (await case.client.get(f"{case.path}/comparison")).status_code == 200
    house.clock.forward(minutes=2)
    return case


async def decide(case: CaseAtHand, form: Mapping[str, str]) -> httpx.Response:
    """Conclude and sign; return the answer to the signature."""
    answer = await case.client.post(f"{case.path}/decision", data=dict(form))
    assert answer.status_code == 303, answer.text
    return await sign(case)


async def sign(case: CaseAtHand, *, by: str | None = None) -> httpx.Response:
    """Sign what the page asks to be signed."""
    page = (await case.client.get(f"{case.path}/signature")).text
    return await case.client.post(
        f"{case.path}/signature", data={"signature": signature_of(page, by or case.reviewer_id)}
    )


def signed_draft(page: str, by: str) -> Form:
    """Return the words that a page carries, with this person's signature."""
    (draft,) = re.findall(r'name="draft" value="([^"]+)"', page)
    return {"draft": unescape(draft), "signature": signature_of(page, by)}


def signature_of(page: str, by: str) -> str:
    """Return this person's signature of the words on a page."""
    (words,) = re.findall(r'data-words="([^"]+)"', page)
    return keys.sign_bytes(builders.private_key(by), b64decode(words))


async def rows(client: httpx.AsyncClient, **asked: str) -> httpx.Response:
    """Ask for the rows of the queue, as the page does by itself."""
    return await client.get("/queue", params=asked, headers={"hx-request": "true"})


# --- forms ----------------------------------------------------------------------------------------------------------
def analysis(suitability: Suitability = Suitability.SUITABLE) -> Form:
    """Return an analysis that saw the eyes clearly, and else nothing."""
    seen = {f"seen-{each}": Visibility.NOT_VISIBLE.value for each in Component}
    return {**seen, f"seen-{Component.EYES}": Visibility.CLEAR.value, "suitability": suitability.value}


def lead(place: int, support: Support = Support.MODERATE_SAME, **more: str) -> Form:
    """Return a conclusion that names the candidate at this place, with every component gone through."""
    compared = {f"finding-{each}": Finding.NOT_VISIBLE.value for each in Component}
    compared[f"finding-{Component.EYES}"] = Finding.SIMILAR.value
    return {**compared, "choice": str(place), "support": support.value, **more}


def nobody(support: Support = Support.MODERATE_DIFFERENT, **more: str) -> Form:
    """Return the conclusion that it is none of these."""
    return {"choice": "none", "support": support.value, **more}


# --- lists with pictures --------------------------------------------------------------------------------------------
def listed(name: str = "probe", *, people: int = 8, **asked: Any) -> CandidatesReady:  # noqa: ANN401 - of a submission
    """Return a list whose probe and candidates are pictures that can be opened; another name is another case."""
    about = builders.submission(name, **{"image": _ref(name), **asked})
    found = builders.candidates_ready(about, people=[f"person-{n}" for n in range(1, people + 1)])
    candidates = tuple(each.model_copy(update={"reference": _ref(each.person_id)}) for each in found.candidates)
    digest = CandidatesReady.digest(about.submission_id, about.image.sha256, candidates)
    return found.model_copy(update={"candidates": candidates, "list_digest": digest})


def listed_by_variants(name: str = "probe") -> CandidatesReady:
    """Return such a list that several images made together."""
    about = builders.submission(name, image=_ref(name), variants=builders.variants())
    found = builders.candidates_of_variants(about)
    candidates = tuple(each.model_copy(update={"reference": _ref(each.person_id)}) for each in found.candidates)
    digest = CandidatesReady.digest(about.submission_id, about.image.sha256, candidates)
    return found.model_copy(update={"candidates": candidates, "list_digest": digest})


def picture(name: str) -> bytes:
    """Return a small picture of this name's own."""
    out = BytesIO()
    red, green, blue = hashlib.sha256(name.encode()).digest()[:3]
    Image.new("RGB", (120, 120), (red, green, blue)).save(out, "PNG")
    return out.getvalue()


def _ref(name: str) -> BlobRef:
    data = picture(name)
    digest = hashlib.sha256(data).hexdigest()
    return BlobRef(uri=f"memory://rfr/{name}", sha256=digest, media_type="image/png", bytes=len(data))


def _blob(ref: BlobRef) -> NewBlob:
    name = ref.uri.rpartition("/")[2]
    return NewBlob(name, picture(name), ref.media_type)


# --- what the public sent in ----------------------------------------------------------------------------------------
def endorsement(**fields: str) -> Form:
    """Return the form of an officer who endorses a picture."""
    asked = {
        "purpose": "missing",
        "harm": "life_at_risk",
        "legal_basis": "to find who is missing",
        "regime": "dpa_2018_part_3",
        "necessity": "no name is known, and the hospitals and the family were asked without result",
        "exhibit_ref": "EX-1",
    }
    return {**asked, **fields}


async def contributed(
    house: DeskHouse,
    name: str = "sent-in",
    *,
    copies: int = 1,
    smaller: int = 1,
    **fields: Any,  # noqa: ANN401 - of a contribution
) -> Contribution:
    """Let a picture come to an appeal, so many times and so much smaller; return the first."""
    shown = pictures.picture(name).reduce(smaller)
    file = pictures.jpeg(shown)
    (image,) = await house.desk.blobs.put([NewBlob(f"appeals/{name}-{smaller}", file, "image/jpeg")])
    said: dict[str, Any] = {
        "appeal_ref": "appeal-1",
        "portal": "portal-1",
        "received_at": house.clock(),
        "fingerprint": fingerprint(np.asarray(shown)),
        "pixels": shown.width * shown.height,
        **fields,
    }
    sent = [
        Contribution(
            contribution_id=AppealImageReceived.derive(said["portal"], UUID(int=n), image.sha256),
            image=image,
            **said,
        )
        for n in range(copies)
    ]
    await house.ledger.contribute(sent)
    return sent[0]
