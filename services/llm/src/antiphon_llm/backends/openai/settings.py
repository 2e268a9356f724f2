"""What the OpenAI backend can be told."""

from typing import Annotated, Any, Literal

from pydantic import Field, HttpUrl, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "ANTIPHON_LLM_OPENAI__"


class OpenAISettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True)

    base_url: Annotated[HttpUrl, Field(description="Where /chat/completions and /models are.")] = HttpUrl(
        "http://127.0.0.1:8000/v1"
    )
    api_key: Annotated[SecretStr, Field(description="Sent as a bearer token.")] = SecretStr("none")
    model: Annotated[
        str, Field(description="The name that the server knows it by. Empty: the first that it lists.")
    ] = ""
    wait_s: Annotated[float, Field(ge=0, description="How long to wait, at start, for the server to come up.")] = 30.0
    connect_timeout_s: Annotated[float, Field(gt=0, description="For a connection.")] = 2.0
    first_token_timeout_s: Annotated[float, Field(gt=0, description="For the answer to begin.")] = 15.0
    stall_timeout_s: Annotated[float, Field(gt=0, description="For each later piece of it.")] = 5.0
    max_tokens_field: Annotated[
        Literal["max_tokens", "max_completion_tokens"], Field(description="What the server calls the most tokens.")
    ] = "max_tokens"
    extra: Annotated[
        dict[str, Any], Field(description="JSON merged into every request. The default turns reasoning off.")
    ] = {"chat_template_kwargs": {"enable_thinking": False}}
