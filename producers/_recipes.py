"""Recipes by name, for whoever does not write their own; `benches/low_quality.py` measures what each is worth."""

from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

from rfr_stream.events import Deinterlace, Equalise, Exposure, Recipe, Sharpen, Stretch


class Preset(StrEnum):
    """What a recipe is for."""

    BRIGHTEN = "brighten"
    STRETCH = "stretch"
    EQUALISE = "equalise"
    SHARPEN = "sharpen"
    DEINTERLACE = "deinterlace"


PRESETS: Final = MappingProxyType(
    {
        Preset.BRIGHTEN: Recipe(steps=(Exposure(gain=2, gamma=2),)),
        Preset.STRETCH: Recipe(steps=(Stretch(),)),
        Preset.EQUALISE: Recipe(steps=(Equalise(),)),
        Preset.SHARPEN: Recipe(steps=(Sharpen(),)),
        Preset.DEINTERLACE: Recipe(steps=(Deinterlace(),)),
    }
)


def read_recipe(path: Path) -> Recipe:
    """Return the recipe in a JSON file: `{"steps": [{"kind": "exposure", "gain": 2}, ...]}`.

    Raises:
        ValidationError: it holds none, or asks for what no recipe can do.

    """
    return Recipe.model_validate_json(path.read_bytes())
