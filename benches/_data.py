"""Where the research data for benches and tests lies: RFR_TEST_DATA. Never shipped, and the product does without it."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic_settings import BaseSettings, SettingsConfigDict


class TestData(BaseSettings):
    """RFR_TEST_DATA: the folder of the research data."""

    __test__ = False  # pytest: its name says what it is of, not what it is
    model_config = SettingsConfigDict(env_prefix="RFR_")

    test_data: Path = Path(__file__).resolve().parents[1] / "../shared/assets"

    @property
    def weights(self) -> Path:
        """Folder of weights that no package carries."""
        return self.test_data / "weights"

    def lfw_pairs(self, each: int = 0) -> "Pairs":
        """Return the verification pairs of the LFW subset; of each kind every so-manieth, or all for 0."""
        with (self.test_data / "lfw_dev_pairs.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        rows = [row for kind in "10" for row in _spread([row for row in rows if row["mated"] == kind], each)]
        names = sorted({row[side] for row in rows for side in ("image_a", "image_b")})
        index = {name: place for place, name in enumerate(names)}
        first, second = (np.array([index[row[side]] for row in rows]) for side in ("image_a", "image_b"))
        mated = np.array([row["mated"] == "1" for row in rows])
        return Pairs(tuple(self.test_data / "lfw_dev" / name for name in names), first, second, mated)

    def wider(self) -> Iterator[tuple[Path, NDArray[np.float32]]]:
        """Yield each WIDER photograph with its true boxes, float32 [N, 4], x1 y1 x2 y2."""
        folder = self.test_data / "wider_dev"
        for block in (folder / "labels.txt").read_text().split("#")[1:]:
            head, *lines = block.strip().splitlines()
            boxes = [line.split()[:4] for line in lines]
            yield folder / "images" / head.split()[0], np.array(boxes, dtype=np.float32).reshape(-1, 4)


def _spread(rows: list[dict[str, str]], count: int) -> list[dict[str, str]]:
    return [rows[place * len(rows) // count] for place in range(count)] if count else rows


@dataclass(frozen=True)
class Pairs:
    """Two images each, by their place in `files`, and whether they show one person."""

    files: tuple[Path, ...]
    first: NDArray[np.int_]
    second: NDArray[np.int_]
    mated: NDArray[np.bool_]

    def people(self) -> list[str]:
        """Return who is shown in each file."""
        return [file.parent.name for file in self.files]
