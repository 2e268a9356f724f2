"""What is configured wrongly is said at start."""

from pathlib import Path

import pytest
from asr_caller import asr

from antiphon_asr.settings import read
from antiphon_asr.weights import WEIGHTS
from antiphon_runtime.errors import ConfigError


def test_without_a_word_the_service_is_a_stub_on_loopback() -> None:
    settings = read()
    assert (settings.bind, settings.backend) == ("127.0.0.1:50051", "stub")


def test_a_misspelt_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_ASR_SLOST", "4")
    with pytest.raises(ConfigError, match="ANTIPHON_ASR_SLOST"):
        read()


async def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ConfigError, match="moonshine, nemo, stub"):
        async with asr(backend="whisper"):
            pass


async def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("ANTIPHON_ASR_MOONSHINE__MODELS_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match="antiphon models fetch"):
        async with asr(backend="moonshine"):
            pass


def test_every_weight_has_its_pin() -> None:
    for package in WEIGHTS:
        hashes = [*package.wheel_sha256, *(file.sha256 for file in package.files)]
        assert all(len(bytes.fromhex(value)) == 32 for value in hashes)
