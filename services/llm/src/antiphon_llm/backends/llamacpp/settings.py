"""What the llama.cpp backend can be told."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from antiphon_runtime.weights import DEFAULT_DIR

PREFIX = "ANTIPHON_LLM_LLAMACPP__"


class LlamaCppSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, populate_by_name=True)

    models_dir: Annotated[
        Path,
        Field(
            validation_alias=AliasChoices(f"{PREFIX}MODELS_DIR", "ANTIPHON_MODELS_DIR"),
            description="Where the weights are; ANTIPHON_MODELS_DIR says it for all services.",
        ),
    ] = DEFAULT_DIR
    model_path: Annotated[Path | None, Field(description="Any GGUF file, in place of SmolLM2-135M-Instruct.")] = None
    n_ctx: Annotated[int, Field(ge=64, description="Tokens of context that each slot has.")] = 2048
    threads: Annotated[int, Field(ge=1, description="CPU threads that evaluate prompts.")] = 2
    # One token of a model this small is too little work to share: two threads are slower than one (docs/latency.md).
    decode_threads: Annotated[int, Field(ge=1, description="CPU threads that generate; more for a larger model.")] = 1
    gpu_layers: Annotated[int, Field(ge=0, description="Layers kept on the GPU; needs a wheel that has one.")] = 0
    # Cancels and other streams' tokens wait for a batch of the prompt: 64 tokens are about a quarter of a second on two
    # CPU cores, and cost a tenth of the prompt's speed against 512.
    n_batch: Annotated[int, Field(ge=8, description="Tokens of a prompt evaluated at a time.")] = 64
    batched: Annotated[
        bool,
        Field(
            description="Evaluate all answers' tokens at once. Off, at half the speed with four: where kernels round "
            "differently for several tokens, an answer does not depend on who else speaks."
        ),
    ] = True
    repeat_penalty: Annotated[float, Field(gt=0, description="llama.cpp's; 1 is none.")] = 1.0
    # Small models repeat themselves.
    parallel_calls: Annotated[int, Field(ge=1, le=16, description="The most tool calls of a turn.")] = 1
    tool_result_role: Annotated[
        Literal["system", "user", "tool"], Field(description="The role in which the model is told a tool's result.")
    ] = "system"
    warm_prompt_file: Annotated[
        Path | None,
        Field(description="JSON evaluated at load: messages, or an object with `messages` and `tools`."),
    ] = None
