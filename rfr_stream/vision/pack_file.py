"""The `onnx` pack: models that the operator brings, and the TOML file that says what they are.

Nothing is guessed from the models: whoever brings them says what they expect and give, and loading checks it.

    aligner = "arcface-112"      # a template of rfr_stream/vision/align.py
    threshold = 0.42             # cosine similarity of a lead
    conflict_threshold = 0.6     # of two references taken for one face; without it, halfway between threshold and 1

    [detector]
    name = "yunet-n"
    version = "2023"
    file = "yunet.onnx"          # beside this file, or an absolute path
    sha256 = "104e..."
    licence = "Apache-2.0"
    training_data = "WIDER FACE (research)"    # or "unknown"
    input_px = 1024              # longest side; larger pictures are shrunk
    colour = "bgr"
    mean = [0, 0, 0]             # the model is given (level - mean) / std of levels 0-255, in the order of `colour`
    std = [1, 1, 1]
    decoder = "yunet"

    [embedder]                   # the same but for the decoder, and with
    input_px = 112               # the side of the aligner's chips
    dimension = 128
"""

import hashlib
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from rfr_stream.vision.align import TEMPLATES
from rfr_stream.vision.packs import BadPack, Pack, Part, Role, Weights

Triple: TypeAlias = tuple[float, float, float]

_CHANNELS: Final = {"rgb": (0, 1, 2), "bgr": (2, 1, 0)}

_Name: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]*$", max_length=96)]
"""What may stand in the identity of a model, with some room to spare."""
_Said: TypeAlias = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxPart(Part):
    """A part that ONNX Runtime runs: what it expects of pixels, and how a detector's answers are read."""

    mean: Triple
    std: Triple
    channels: tuple[int, int, int]
    decoder: str = ""


class _Described(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: _Name
    version: _Name
    file: Path
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    licence: _Said
    training_data: _Said
    input_px: Annotated[int, Field(ge=16, le=8192)]
    colour: Literal["rgb", "bgr"]
    mean: Triple
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat]


class _Detector(_Described):
    decoder: Literal["yunet"]


class _Embedder(_Described):
    dimension: Annotated[int, Field(ge=1, le=65_536)]


def _known(aligner: str) -> str:
    if aligner not in TEMPLATES:
        msg = f"must be one of {', '.join(TEMPLATES)}"
        raise ValueError(msg)
    return aligner


class _PackFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    aligner: Annotated[str, AfterValidator(_known)]
    threshold: Annotated[float, Field(gt=0, lt=1)]
    conflict_threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    detector: _Detector
    embedder: _Embedder


def read_pack(path: Path) -> Pack:
    """Return the pack that the operator's file describes; the models themselves are not opened.

    Raises:
        BadPack: the file cannot be read, or a field is not what it must be; the message names each.

    """
    try:
        said = _PackFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        msg = f"{path}: {_plainly(error)}"
        raise BadPack(msg) from None
    _, chip_px = TEMPLATES[said.aligner]
    if said.embedder.input_px != chip_px:
        msg = f"{path}: embedder.input_px: {said.aligner} makes chips of {chip_px} px, not {said.embedder.input_px}"
        raise BadPack(msg)
    detector = _part("detector", said.detector, path.parent, decoder=said.detector.decoder)
    version = f"{said.embedder.version}+{_fingerprint(said.embedder, said.aligner)}"
    embedder = _part("embedder", said.embedder, path.parent, version=version, dimension=said.embedder.dimension)
    stricter = said.conflict_threshold or (1 + said.threshold) / 2
    return Pack("onnx", detector, said.aligner, embedder, said.threshold, stricter)


def _part(
    role: Role, said: _Described, folder: Path, *, version: str = "", dimension: int = 0, decoder: str = ""
) -> OnnxPart:
    return OnnxPart(
        architecture=said.name,
        version=version or said.version,
        weights=(Weights(f"{role}.file {said.file}", said.sha256, path=str(folder.absolute() / said.file)),),
        licence=said.licence,
        training_data=said.training_data,
        input_px=said.input_px,
        dimension=dimension,
        mean=said.mean,
        std=said.std,
        channels=_CHANNELS[said.colour],
        decoder=decoder,
    )


def _fingerprint(said: _Embedder, aligner: str) -> str:
    """Return a digest of all that shapes a template beside the weights: with another, it is another embedder."""
    shape = [aligner, said.input_px, said.colour, said.mean, said.std]
    return hashlib.sha256(json.dumps(shape).encode()).hexdigest()[:8]


def _plainly(error: OSError | ValueError) -> str:
    match error:
        case ValidationError():
            return "; ".join(map(_fault, error.errors(include_url=False)))
        case OSError():
            return error.strerror or "cannot be read"
        case _:
            return f"is no TOML: {error}"


def _fault(fault: ErrorDetails) -> str:
    found = "" if fault["type"] in {"missing", "extra_forbidden"} else f", not {fault['input']!r}"
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}{found}"
