"""A pack brought to life, or refused."""

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from rfr_stream.adapters.gpu import open_vision
from rfr_stream.settings import VisionSettings
from rfr_stream.vision import loading
from rfr_stream.vision.null import NullEmbedder
from rfr_stream.vision.packs import BadPack

NULL = VisionSettings(pack="null")


def test_making_it_reads_nothing_and_starts_nothing(tmp_path: Path) -> None:
    threads = threading.active_count()
    vision = open_vision(VisionSettings(pack="retinaface-mobilenet"), tmp_path / "absent")
    assert threading.active_count() == threads
    assert not (tmp_path / "absent").exists()
    assert vision.embedder.identity.name == "mobilefacenet"


def test_an_unknown_pack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadPack, match=r"vision\.pack: must be one of"):
        open_vision(VisionSettings(pack="no-such-pack"), tmp_path)


async def test_absent_weights_refuse_to_start(tmp_path: Path) -> None:
    with pytest.raises(BadPack, match=r"mobilefacenet\.pt: absent"):
        async with open_vision(VisionSettings(pack="retinaface-mobilenet"), tmp_path, load={"embedder"}):
            pass


async def test_weights_of_another_digest_refuse_to_start(tmp_path: Path) -> None:
    (tmp_path / "mobilefacenet.pt").write_bytes(b"another model")
    with pytest.raises(BadPack, match="must not be used"):
        async with open_vision(VisionSettings(pack="retinaface-mobilenet"), tmp_path, load={"embedder"}):
            pass


async def test_a_model_that_breaks_its_promise_refuses_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class TooLong(NullEmbedder):
        def embed(self, chips):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as its base
            return 2 * super().embed(chips)

    monkeypatch.setattr(loading, "embedder", lambda *_args, **_options: TooLong())
    with pytest.raises(RuntimeError, match="not a unit vector"):
        async with open_vision(NULL, tmp_path):
            pass


async def test_a_refused_start_leaves_no_threads(tmp_path: Path) -> None:
    threads = threading.active_count()
    with pytest.raises(BadPack):
        await open_vision(VisionSettings(pack="retinaface-mobilenet"), tmp_path).__aenter__()
    assert threading.active_count() == threads


def test_comparing_templates_needs_no_torch() -> None:
    script = """
import asyncio, sys
from pathlib import Path
from rfr_stream.adapters.gpu import open_vision
from rfr_stream.settings import VisionSettings
async def main():
    async with open_vision(VisionSettings(pack="baseline"), Path("absent"), load=()) as vision:
        return vision.embedder.identity.dimension, 0 < vision.threshold < 1
assert asyncio.run(main()) == (128, True)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_identity_names_the_weights(tmp_path: Path) -> None:
    baseline = open_vision(VisionSettings(pack="baseline"), tmp_path)
    retina = open_vision(VisionSettings(pack="retinaface-mobilenet"), tmp_path)
    identities = {part.identity for vision in (baseline, retina) for part in (vision.detector, vision.embedder)}
    assert len({identity.weights_sha256 for identity in identities}) == 4


async def test_the_event_loop_runs_while_the_device_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()

    class NeedsTheLoop(NullEmbedder):
        def embed(self, chips):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as its base
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(timeout=10)
            return super().embed(chips)

    monkeypatch.setattr(loading, "embedder", lambda *_args, **_options: NeedsTheLoop())
    async with open_vision(NULL, tmp_path) as vision:
        assert len(await vision.embedder.embed([np.zeros((16, 16, 3), np.uint8)])) == 1


async def test_the_device_does_one_thing_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside: list[int] = []
    together: list[int] = []

    class Counting(NullEmbedder):
        def embed(self, chips):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as its base
            inside.append(1)
            together.append(len(inside))
            time.sleep(0.01)
            inside.pop()
            return super().embed(chips)

    monkeypatch.setattr(loading, "embedder", lambda *_args, **_options: Counting())
    chip = np.zeros((16, 16, 3), np.uint8)
    async with open_vision(NULL, tmp_path) as vision:
        await asyncio.gather(*(vision.embedder.embed([chip]) for _ in range(8)))
    assert len(together) == 9  # the one that proves the pack, and ours
    assert max(together) == 1
