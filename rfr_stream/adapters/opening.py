"""Which adapter the settings ask for. Nothing is opened here: what is returned is entered by whoever runs it.

Imports stand inside the functions, so that a stage loads only the foreign libraries of its own ports.
"""

from collections.abc import Collection
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from rfr_stream.ports import BlobStore, Gallery, Ledger, Verifier
from rfr_stream.settings import Settings
from rfr_stream.vision.packs import ROLES, Role

if TYPE_CHECKING:
    from rfr_stream.adapters.callbacks import HttpCallbacks
    from rfr_stream.adapters.clamd import Clamd
    from rfr_stream.adapters.desk import SqlDesk
    from rfr_stream.adapters.gpu import Vision
    from rfr_stream.adapters.ledger import SqlLedger
    from rfr_stream.adapters.reception import SqlReception


class _Entered(Protocol):
    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


class OpenBlobs(BlobStore, _Entered, Protocol):
    """A blob store to be entered."""


class OpenGallery(Gallery, _Entered, Protocol):
    """A gallery to be entered."""


class OpenLedger(Ledger, _Entered, Protocol):
    """A ledger to be entered."""


def blobs(settings: Settings) -> OpenBlobs:
    """Return files of the data directory, or S3."""
    if settings.blobs.kind == "s3":
        from rfr_stream.adapters.s3 import S3Blobs

        return S3Blobs(settings.blobs)
    from rfr_stream.adapters.files import FileBlobs

    return FileBlobs(settings.blobs_dir, settings.blobs.bucket)


def ledger(settings: Settings) -> OpenLedger:
    """Return SQLite in the data directory, or the database of the URL."""
    from rfr_stream.adapters.ledger import SqlLedger

    return SqlLedger(settings.ledger.url or f"sqlite:///{settings.data_dir.absolute() / 'ledger.db'}")


def desk(open_ledger: Ledger) -> "SqlDesk":
    """Return the desk's tables, in the ledger's database."""
    from rfr_stream.adapters.desk import SqlDesk

    return SqlDesk(_in_a_database(open_ledger))


def reception(open_ledger: Ledger) -> "SqlReception":
    """Return the reception's tables, in the ledger's database."""
    from rfr_stream.adapters.reception import SqlReception

    return SqlReception(_in_a_database(open_ledger))


def callbacks(settings: Settings) -> "HttpCallbacks":
    """Return what tells clients, with the key that their tokens are made with."""
    from rfr_stream.adapters import keys
    from rfr_stream.adapters.callbacks import HttpCallbacks

    return HttpCallbacks(settings.callbacks, key=keys.secret_of_house(settings.intake_key_file))


def scanner(settings: Settings) -> "Clamd | None":
    """Return what looks into files that come from outside, if there is one."""
    from rfr_stream.adapters.clamd import Clamd

    intake = settings.intake
    return Clamd(intake.scanner, timeout_s=intake.scan_wait_s) if intake.scanner else None


def _in_a_database(open_ledger: Ledger) -> "SqlLedger":
    from rfr_stream.adapters.ledger import SqlLedger

    if not isinstance(open_ledger, SqlLedger):
        msg = "desk and reception need a ledger that is a database"
        raise TypeError(msg)
    return open_ledger


def vision(settings: Settings, *, load: Collection[Role] = ROLES) -> "Vision":
    """Return the model pack, to load only these models."""
    from rfr_stream.adapters.gpu import open_vision

    return open_vision(settings.vision, settings.weights_dir, load=load)


def gallery(settings: Settings, pack: "Vision") -> OpenGallery:
    """Return the embedded Qdrant engine in the data directory, or a Qdrant server, for this pack's templates."""
    embedder = pack.embedder.identity
    if settings.gallery.url:
        from rfr_stream.adapters.qdrant.server import QdrantGallery

        return QdrantGallery(settings.gallery, embedder=embedder)
    from rfr_stream.adapters.qdrant.edge import EdgeGallery

    return EdgeGallery(settings.gallery_dir, embedder=embedder)


def verifier(settings: Settings) -> Verifier:
    """Return the checker of reviewers' signatures."""
    from rfr_stream.adapters.keys import KeyVerifier

    return KeyVerifier(settings.desk.public_url)
