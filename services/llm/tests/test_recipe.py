"""The flags for Nemotron 3 Nano: each has its reason, and vLLM takes them all."""

import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from antiphon_llm.backends.vllm import recipe
from antiphon_runtime.errors import ConfigError

TEXT = Path(recipe.__file__).with_name("recipe.toml").read_text()


def test_every_flag_says_why_and_where_it_was_read() -> None:
    content = tomllib.loads(TEXT)
    assert len(content["flag"]) >= 10
    for flag in content["flag"]:
        assert flag["name"].startswith("--")
        assert flag["why"].endswith(".")
        assert flag["read_in"].count(".") == 2
    assert {(name.partition("-")[0], variant["gpus"]) for name, variant in content["variant"].items()} == {
        (form, gpus) for form in ("bf16", "fp8", "nvfp4") for gpus in (1, 2)
    }
    assert all(variant["why"] for variant in content["variant"].values())


def test_a_variant_is_the_common_flags_and_its_own() -> None:
    flags = recipe.flags("fp8-2")
    assert flags[flags.index("--tensor-parallel-size") + 1] == "2"
    assert "--enable-prefix-caching" in flags
    assert recipe.model("nvfp4-1").endswith("NVFP4")
    with pytest.raises(ConfigError, match="no recipe 'int4'"):
        recipe.flags("int4")


@pytest.mark.skipif(not find_spec("vllm"), reason="vLLM is not installed: make test-vllm")
@pytest.mark.parametrize("variant", recipe.variants())
def test_vllm_takes_the_flags(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from antiphon_llm.backends.vllm.model import _parsed
    from antiphon_llm.backends.vllm.settings import VllmSettings

    for name in ("MODEL", "ARGS"):
        monkeypatch.delenv(f"ANTIPHON_LLM_VLLM__{name}", raising=False)
    monkeypatch.setenv("ANTIPHON_LLM_VLLM__RECIPE", variant)
    args = _parsed(VllmSettings(), slots=8)
    assert (args.model, args.max_num_seqs) == (recipe.model(variant), 8)
    assert args.default_chat_template_kwargs == {"enable_thinking": False}
