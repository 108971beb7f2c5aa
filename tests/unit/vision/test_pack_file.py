"""What an operator may say of models of their own, and how it is refused."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import brought
import pytest

from rfr_stream.vision.pack_file import OnnxPart
from rfr_stream.vision.packs import BadPack, Pack, pack
from rfr_stream.vision.weights import identity_sha256, install, list_packs, pull, status, verify


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files that nobody has to open."""
    (tmp_path / "detector.onnx").write_bytes(b"a detector, let us say")
    (tmp_path / "embedder.onnx").write_bytes(b"an embedder")
    return tmp_path


def read(folder: Path, **changes: Any) -> Pack:  # noqa: ANN401 - any field of a pack file
    return pack("onnx", brought.written(brought.described(folder, **changes), folder))


def test_what_the_file_says_is_what_the_pack_is(folder: Path) -> None:
    described = read(folder, detector__std=[255, 255, 255])
    assert (described.name, described.aligner, described.threshold) == ("onnx", "arcface-112", 0.42)
    assert described.detector.architecture == "yunet-n"
    assert described.embedder.dimension == 128
    assert described.embedder.training_data == "unknown"
    assert isinstance(described.detector, OnnxPart)
    assert (described.detector.channels, described.detector.std) == ((2, 1, 0), (255, 255, 255))


def test_both_files_are_held_to_their_digests(folder: Path) -> None:
    described = read(folder)
    verify(described, folder / "elsewhere")
    assert [found.fault for found in status(described, folder / "elsewhere")] == [None, None]
    assert identity_sha256(described.embedder, folder) == brought.digest(folder / "embedder.onnx")

    (folder / "detector.onnx").write_bytes(b"another one")
    with pytest.raises(BadPack, match=r"detector\.file detector\.onnx: SHA-256 is .* must not be used"):
        verify(described, folder)


def test_a_file_that_is_not_there_is_named_with_its_place(folder: Path) -> None:
    described = read(folder, embedder__file="gone.onnx")
    with pytest.raises(BadPack, match=rf"embedder\.file gone\.onnx: absent; nothing lies at {folder}/gone\.onnx"):
        verify(described, folder)


def test_an_absolute_path_is_taken_as_it_is(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "model.onnx"
    elsewhere.write_bytes((folder / "detector.onnx").read_bytes())
    verify(read(folder, detector__file=str(elsewhere)), folder)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("detector__decoder", "scrfd", r"detector\.decoder: .*'yunet', not 'scrfd'"),
        ("detector__sha256", "abc", r"detector\.sha256: .* not 'abc'"),
        ("detector__colour", "grey", r"detector\.colour: .* not 'grey'"),
        ("detector__licence", "  ", r"detector\.licence: "),
        ("embedder__std", [1, 0, 1], r"embedder\.std\.1: .*greater than 0, not 0"),
        ("embedder__mean", [1, 2], r"embedder\.mean\.2: Field required"),
        ("embedder__dimension", 0, r"embedder\.dimension: "),
        ("embedder__input_px", 160, r"embedder\.input_px: arcface-112 makes chips of 112 px, not 160"),
        ("embedder__decoder", "yunet", r"embedder\.decoder: Extra inputs"),
        ("embedder__name", "a name", r"embedder\.name: .* not 'a name'"),
        ("aligner", "by-eye", r"aligner: .*one of dlib-150-mtcnn, arcface-112, not 'by-eye'"),
        ("threshold", 1.5, r"threshold: .* not 1\.5"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(folder: Path, field: str, value: object, said: str) -> None:
    with pytest.raises(BadPack, match=rf"pack\.toml: {said}"):
        read(folder, **{field: value})


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadPack, match=r"absent\.toml: No such file"):
        pack("onnx", tmp_path / "absent.toml")
    (tmp_path / "pack.toml").write_text("[detector")
    with pytest.raises(BadPack, match=r"pack\.toml: is no TOML"):
        pack("onnx", tmp_path / "pack.toml")


def test_without_a_file_there_is_no_such_pack(folder: Path) -> None:
    with pytest.raises(BadPack, match=r"vision\.pack_file: where is the file"):
        pack("onnx")
    assert "onnx" not in [listed.name for listed in list_packs()]
    file = brought.written(brought.described(folder), folder)
    assert "onnx" in [listed.name for listed in list_packs(file)]


@pytest.mark.parametrize(
    ("field", "value"), [("colour", "bgr"), ("mean", [1, 0, 0]), ("std", [2, 1, 1]), ("version", "2")]
)
def test_whatever_shapes_a_template_makes_another_embedder(folder: Path, field: str, value: object) -> None:
    assert read(folder).embedder.version != read(folder, **{f"embedder__{field}": value}).embedder.version


def test_what_shapes_no_template_leaves_the_embedder_what_it_was(folder: Path) -> None:
    assert read(folder).embedder == read(folder, threshold=0.5, detector__mean=[9, 9, 9]).embedder


def test_its_files_stay_where_they_are(folder: Path) -> None:
    described = read(folder)
    with pytest.raises(BadPack, match="where its pack file says"):
        install(described, "embedder", folder / "embedder.onnx", folder / "models")
    assert pull(described, "embedder", folder / "models") == [folder / "embedder.onnx"]


def test_comparing_its_templates_needs_neither_torch_nor_onnx_runtime(folder: Path) -> None:
    file = brought.written(brought.described(folder), folder)
    script = f"""
import sys
from pathlib import Path
from rfr_stream.adapters.gpu import open_vision
from rfr_stream.settings import VisionSettings
vision = open_vision(VisionSettings(pack="onnx", pack_file={str(file)!r}), Path("absent"), load=())
assert vision.embedder.identity.dimension == 128
assert not {{"torch", "onnxruntime"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
