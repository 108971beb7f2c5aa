"""What the demonstration hands in, through which doors: a small gallery and a probe of every kind."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

from producers import references
from producers._admission import images_in
from producers._intake import Publish, Report
from producers._request import submit as hand_in_probes
from rfr_stream.commands._pictures import paint
from rfr_stream.commands.intake import request_of
from rfr_stream.errors import RfrError
from rfr_stream.events import GalleryName, Harm, HoldRecord, Origin, Purpose, Regime, Source
from rfr_stream.ports import BlobStore

CASE: Final = "DEMO-1"
BASIS: Final = "demonstration"


@dataclass(frozen=True, slots=True)
class Probe:
    """One image and the door that it comes through."""

    door: Source
    image: Path
    galleries: tuple[GalleryName, ...] = (GalleryName.MISSING,)


@dataclass(frozen=True, slots=True)
class Script:
    """References by person, and probes."""

    people: tuple[tuple[str, tuple[Path, ...]], ...]
    probes: tuple[Probe, ...]

    async def enrol(self, blobs: BlobStore, publish: Publish) -> list[UUID]:
        """Hand in the gallery; return the references' ids."""
        entries = [(path, _enrolment(person)) for person, paths in self.people for path in paths]
        return await _ids(references.enrol(entries, blobs=blobs, publish=publish))

    async def submit(self, blobs: BlobStore, publish: Publish) -> list[UUID]:
        """Hand in the probes; return the submissions' ids."""
        return [found for probe in self.probes for found in await _ids(_through_the_door(probe, blobs, publish))]


def script_of(folder: Path, *, gallery: Path | None, probes: Path | None) -> Script:
    """Return the script: of one's own gallery and probes, if they are given.

    Raises:
        RfrError: the gallery is not one folder per person, or the pictures to paint from are not installed.

    """
    if gallery and probes:
        return Script(_people(gallery), tuple(Probe(Source.OFFICER, path) for path in images_in([probes])))
    pictures = paint(folder)
    return Script(
        people=(("demo-person-1", pictures.references),),
        probes=(
            Probe(Source.OFFICER, pictures.bad_camera),
            Probe(Source.PUBLIC_APPEAL, pictures.small_copy),
            Probe(Source.MISSING_PERSON, pictures.at_night),
            Probe(Source.MISSING_PERSON, pictures.bad_camera, galleries=(GalleryName.DECEASED,)),  # an honest blank
            Probe(Source.OFFICER, pictures.two_people),
            Probe(Source.PUBLIC_APPEAL, pictures.nobody),
            Probe(Source.PUBLIC_APPEAL, pictures.cut_off),
        ),
    )


def _people(gallery: Path) -> tuple[tuple[str, tuple[Path, ...]], ...]:
    """Read one folder for each person; their names stay here.

    Raises:
        RfrError: there is none.

    """
    folders = sorted(path for path in gallery.iterdir() if path.is_dir())
    if not folders:
        msg = f"--gallery: {gallery} holds no folders; it needs one for each person, with images in it"
        raise RfrError(msg)
    return tuple((f"person-{number}", tuple(images_in([path]))) for number, path in enumerate(folders, start=1))


def _enrolment(person_id: str) -> references.Enrolment:
    now = datetime.now(UTC)
    hold = HoldRecord(
        legal_basis=BASIS,
        source="demonstration",
        captured_at=now - timedelta(days=365),
        review_due=now + timedelta(days=1),
    )
    return references.Enrolment(
        person_id=person_id, gallery=GalleryName.MISSING, hold=hold, submitted_by="demo-unit", demo=True
    )


def _through_the_door(probe: Probe, blobs: BlobStore, publish: Publish) -> AsyncIterator[Report]:
    fields: dict[str, object] = {
        "purpose": Purpose.MISSING,
        "harm": Harm.OTHER,
        "case_ref": CASE,
        "legal_basis": BASIS,
        "regime": Regime.GENERAL,
        "necessity": "To show how an image is searched with, on pictures that are in nobody's case.",
        "provenance": {
            "origin": Origin.OTHER,
            "obtained": "It came with the demonstration.",
            "exhibit_ref": f"{CASE}/{probe.image.stem}",
        },
        "galleries": probe.galleries,
        "demo": True,
    }
    by = "demo-unit" if probe.door is Source.MISSING_PERSON else "demo-officer"
    return hand_in_probes([probe.image], request_of(probe.door, by, fields), blobs=blobs, publish=publish)


async def _ids(reports: AsyncIterator[Report]) -> list[UUID]:
    return [report.derived_id async for report in reports if report.derived_id]
