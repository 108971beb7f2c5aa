"""What the gallery on a server makes of a server that is away, or a key that must not travel."""

import socket

import builders
import numpy as np
import pytest
from pydantic import SecretStr

from rfr_stream.adapters.qdrant.server import QdrantGallery
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
