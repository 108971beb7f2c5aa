"""`rfr models` on a pack of the operator's own."""

from pathlib import Path

import brought
import pytest

from rfr_stream.__main__ import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models and the pack file that describes them, which the environment names."""
    (tmp_path / "detector.onnx").write_bytes(b"a detector, let us say")
    (tmp_path / "embedder.onnx").write_bytes(b"an embedder")
    file = brought.written(brought.described(tmp_path), tmp_path)
    monkeypatch.setenv("RFR_VISION__PACK_FILE", str(file))
    monkeypatch.setenv("RFR_DATA_DIR", str(tmp_path))
    return tmp_path


def rfr(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["models", *words])
    return int(ended.value.code or 0)


@pytest.mark.usefixtures("folder")
def test_it_is_listed_with_its_licence_and_its_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert rfr("list") == 0
    said = capsys.readouterr().out
    assert "onnx  (threshold 0.42, aligner arcface-112)" in said
    assert "detector: yunet-n 1, licence Apache-2.0\n    trained on: unknown\n" in said
    assert "embedder.file embedder.onnx: ready" in said


def test_it_is_verified_against_the_pack_files_digests(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rfr("verify", "onnx") == 0
    (folder / "embedder.onnx").write_bytes(b"another model")
    assert rfr("verify", "onnx") == 1
    assert "embedder.file embedder.onnx: SHA-256 is" in capsys.readouterr().err
