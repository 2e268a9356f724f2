"""The flags for Nemotron 3 Nano, from recipe.toml: `antiphon-llm-vllm-flags fp8-1` prints how to start a server."""

import argparse
import shlex
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from antiphon_runtime.errors import ConfigError


@cache
def _recipe() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("recipe.toml").read_text())


def variants() -> list[str]:
    """Their names: the weights' format, and how many GPUs."""
    return list(_recipe()["variant"])


def model(variant: str) -> str:
    """Raises ConfigError when there is no such variant."""
    return str(_variant(variant)["model"])


def flags(variant: str) -> list[str]:
    """What comes after `vllm serve MODEL`. Raises ConfigError when there is no such variant."""
    common = [text for flag in _recipe()["flag"] for text in (flag["name"], flag.get("value")) if text]
    return [*common, *_variant(variant)["flags"]]


def _variant(name: str) -> dict[str, Any]:
    found: dict[str, Any] | None = _recipe()["variant"].get(name)
    if found is None:
        raise ConfigError(f"there is no recipe {name!r} for vLLM: there are {', '.join(variants())}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="How to start vLLM with Nemotron 3 Nano for the lowest latency.")
    parser.add_argument("variant", choices=variants())
    variant = parser.parse_args().variant
    print(shlex.join(["vllm", "serve", model(variant), *flags(variant)]))


if __name__ == "__main__":
    main()
