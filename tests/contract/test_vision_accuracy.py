"""A floor under recognition itself, on a fixed part of the LFW subset; `benches/accuracy.py` measures all of it."""

import importlib
from pathlib import Path

import pytest

BENCHES = Path(__file__).resolve().parents[2] / "benches"
PAIRS_OF_EACH_KIND = 100


@pytest.mark.weights
@pytest.mark.parametrize(("pack", "floor"), [("baseline", 0.97), ("retinaface-mobilenet", 0.98)])
async def test_people_are_told_apart(pack: str, floor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHES))
    bench = importlib.import_module("accuracy")
    data = importlib.import_module("_data").TestData()
    pairs = data.lfw_pairs(PAIRS_OF_EACH_KIND)
    result = bench.evaluate(pack, await bench.pack_templates(pack, data, pairs), pairs)
    assert result.missed == 0
    assert result.accuracy >= floor
