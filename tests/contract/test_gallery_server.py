"""What the gallery on a server makes of a server that is away, or a key that must not travel."""

import socket

import builders
import grpc  # type: ignore[import-untyped]  # comes with qdrant-client, without types
import numpy as np
import pytest
from httpx import Headers
from pydantic import SecretStr
from qdrant_client.http.exceptions import UnexpectedResponse

from rfr_stream.adapters.qdrant.server import QdrantGallery, _translated
from rfr_stream.errors import RfrError, Unavailable
from rfr_stream.events import GalleryName
from rfr_stream.settings import GallerySettings

OURS = builders.identity(dimension=8)
X = np.eye(1, 8, dtype=np.float32)


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize("prefer_grpc", [False, True])
async def test_a_server_that_is_away_is_unavailable_and_never_an_empty_gallery(*, prefer_grpc: bool) -> None:
    port = closed_port()
    settings = GallerySettings(url=f"http://127.0.0.1:{port}", grpc_port=port, prefer_grpc=prefer_grpc, timeout_s=1)
    async with QdrantGallery(settings, OURS) as gallery:
        with pytest.raises(Unavailable):
            await gallery.search(GalleryName.CUSTODY, X, embedder=OURS, limit=1, threshold=0.5)
        with pytest.raises(Unavailable):
            await gallery.size(GalleryName.CUSTODY, embedder=OURS)


async def test_an_api_key_never_travels_in_the_clear() -> None:
    settings = GallerySettings(url="http://gallery.example:6333", api_key=SecretStr("secret"))
    with pytest.raises(RfrError, match="https"):
        await QdrantGallery(settings, OURS).__aenter__()


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED])
def test_who_is_not_let_in_waits_for_the_key_that_is_missing(code: grpc.StatusCode) -> None:
    with pytest.raises(Unavailable, match="RFR_GALLERY__API_KEY"), _translated():
        raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata())


@pytest.mark.parametrize("status", [401, 403])
def test_who_is_not_let_in_over_http_waits_too(status: int) -> None:
    with pytest.raises(Unavailable, match="RFR_GALLERY__API_KEY"), _translated():
        raise UnexpectedResponse(status, "", b"", Headers())
