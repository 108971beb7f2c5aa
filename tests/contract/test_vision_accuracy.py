"""A floor under recognition itself, on a fixed part of the LFW subset; `benches/accuracy.py` measures all of it."""

import importlib

import pytest
from _data import TestData

PAIRS_OF_EACH_KIND = 100


@pytest.mark.weights
@pytest.mark.parametrize(("pack", "floor"), [("baseline", 0.97), ("retinaface-mobilenet", 0.98)])
async def test_people_are_told_apart(pack: str, floor: float) -> None:
    bench = importlib.import_module("accuracy")
    data = TestData()
    pairs = data.lfw_pairs(PAIRS_OF_EACH_KIND)
    result = bench.evaluate(pack, await bench.pack_templates(pack, data, pairs), pairs)
    assert result.missed == 0
    assert result.accuracy >= floor
