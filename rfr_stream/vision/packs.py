"""Model packs: which detector, aligner and embedder belong together, and the digests that prove their weights.

Plain values, no torch: the search stage reads an embedder's identity and threshold here and loads nothing.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from rfr_stream.errors import RfrError

Role: TypeAlias = Literal["detector", "embedder"]
"""What a pack can load."""

ROLES: Final[tuple[Role, ...]] = ("detector", "embedder")

ONNX: Final = "onnx"
"""The pack whose models the operator brings, and describes in a file."""


class BadPack(RfrError):
    """A model pack is unknown, or its weights are absent or not those that it names; see `rfr models list`."""


@dataclass(frozen=True, slots=True)
class Weights:
    """One file of weights.

    `sha256` None: no digest is published, and the operator vouches for one when installing the file.
    `package`: the installed Python package that carries the file at `path`.
    `path` without a package: where the operator says that it lies; without either, it lies in the weights directory.
    `url`: where its publisher offers it; None: bring the file.
    """

    name: str
    sha256: str | None
    package: str | None = None
    path: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A detector or an embedder: what it is, what it was trained on, and under which licence its weights stand."""

    architecture: str
    version: str
    weights: tuple[Weights, ...]
    licence: str
    training_data: str
    input_px: int
    """Longest side that a detector works at; side of an embedder's chips."""
    dimension: int = 0
    """Length of an embedder's templates; 0 for a detector."""


@dataclass(frozen=True, slots=True)
class Pack:
    """Detector, aligner and embedder that were measured together.

    threshold: cosine similarity of a lead. conflict_threshold: of two references that are taken for one face.
    """

    name: str
    detector: Part
    aligner: str
    embedder: Part
    threshold: float
    conflict_threshold: float

    def part(self, role: Role) -> Part:
        """Return the detector or the embedder."""
        return self.detector if role == "detector" else self.embedder


_MTCNN = Part(
    architecture="mtcnn",
    version="2.5.3",
    weights=tuple(
        Weights(name, digest, package="facenet_pytorch", path=f"data/{name}")
        for name, digest in (
            ("pnet.pt", "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f"),
            ("rnet.pt", "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86"),
            ("onet.pt", "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d"),
        )
    ),
    licence="MIT (facenet-pytorch)",
    training_data="WIDER FACE and CelebA, after Zhang et al. 2016",
    input_px=1024,
)
_DLIB_RESNET = Part(
    architecture="dlib-resnet",
    version="1",
    weights=(
        Weights(
            "dlib_face_recognition_resnet_model_v1.dat",
            "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
            package="face_recognition_models",
            path="models/dlib_face_recognition_resnet_model_v1.dat",
        ),
    ),
    licence="CC0-1.0 (dlib-models)",
    training_data="about 3 million faces of 7,485 people: FaceScrub, VGG-Face and images from the web",
    input_px=150,
    dimension=128,
)
_RETINAFACE_RESNET50 = Part(
    architecture="retinaface-resnet50",
    version="2020-07-20",
    weights=(
        Weights(
            "retinaface_resnet50_2020-07-20-f168fae3c.zip",
            # Its publisher gives no digest; whoever installs the file vouches for it.
            None,
            url="https://github.com/ternaus/retinaface/releases/download/0.01/"
            "retinaface_resnet50_2020-07-20-f168fae3c.zip",
        ),
    ),
    licence="MIT (retinaface-pytorch)",
    training_data="WIDER FACE (research)",
    input_px=1024,
)
_RETINAFACE_MOBILENET = Part(
    architecture="retinaface-mobilenet0.25",
    version="1",
    weights=(
        Weights("retinaface_mobilenet0.25.pth", "2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220"),
    ),
    licence="MIT (Pytorch_Retinaface)",
    training_data="WIDER FACE (research)",
    input_px=1024,
)
_MOBILEFACENET = Part(
    architecture="mobilefacenet",
    version="1",
    weights=(Weights("mobilefacenet.pt", "90a00ba1d8b0b688af3deb731ed53dca582e6106805d1bc3cfdef55f570493f4"),),
    licence="Apache-2.0 (foamliu/MobileFaceNet)",
    training_data="a refined MS-Celeb-1M (withdrawn by its owner; research)",
    input_px=112,
    dimension=128,
)
_NULL = MappingProxyType(
    {
        "version": "1",
        "weights": (),
        "licence": "Apache-2.0",
        "training_data": "none: it recognises nobody",
    }
)

# Thresholds: a false match rate of 1e-4 or better. Measured by `benches/accuracy.py` on all 1.2 million pairs of
# different people of an LFW subset: dlib's ResNet reaches 1e-4 at 0.938, MobileFaceNet at 0.403. LFW is neither a
# custody gallery nor a demographic mix: whoever operates this measures on their own images, and sets their own.
# Conflict thresholds: 1e-5 or better on the same pairs (0.951 and 0.663), where each finds half of those of one person.
# A new reference meets all others: of 100,000, one in 1e-5 is still a false alarm for each that is enrolled.
PACKS: Final = MappingProxyType(
    {
        pack.name: pack
        for pack in (
            Pack("baseline", _MTCNN, "dlib-150-mtcnn", _DLIB_RESNET, threshold=0.94, conflict_threshold=0.955),
            Pack(
                "retinaface",
                _RETINAFACE_RESNET50,
                "arcface-112",
                _MOBILEFACENET,
                threshold=0.41,
                conflict_threshold=0.67,
            ),
            Pack(
                "retinaface-mobilenet",
                _RETINAFACE_MOBILENET,
                "arcface-112",
                _MOBILEFACENET,
                threshold=0.41,
                conflict_threshold=0.67,
            ),
            Pack(
                "null",
                Part(architecture="null", input_px=0, **_NULL),  # type: ignore[arg-type]  # one mapping of unlike values
                "null-16",
                Part(architecture="null", input_px=16, dimension=128, **_NULL),  # type: ignore[arg-type]  # one mapping of unlike values
                threshold=0.99,
                conflict_threshold=0.999,
            ),
        )
    }
)
"""Every pack that is known by its name alone."""


def pack(name: str, pack_file: Path | None = None) -> Pack:
    """Return the pack of this name; `onnx` is what the operator's own file describes.

    Raises:
        BadPack: there is none, or the file does not describe one.

    """
    if name == ONNX:
        from rfr_stream.vision.pack_file import read_pack

        if pack_file is None:
            msg = "vision.pack_file: where is the file that describes the onnx pack?"
            raise BadPack(msg)
        return read_pack(pack_file)
    try:
        return PACKS[name]
    except KeyError:
        msg = f"vision.pack: must be one of {', '.join(PACKS)}, {ONNX}"
        raise BadPack(msg) from None


def locate(weights: Weights, weights_dir: Path) -> Path:
    """Return where the file lies, or would lie; a package's files are found without importing the package.

    Raises:
        BadPack: the package that carries it is not installed.

    """
    if weights.package is None:
        return weights_dir / (weights.path or weights.name)
    spec = find_spec(weights.package)
    if spec is None or not spec.submodule_search_locations:
        msg = f"{weights.name}: the package {weights.package} that carries it is not installed"
        raise BadPack(msg)
    return Path(spec.submodule_search_locations[0], weights.path or weights.name)
