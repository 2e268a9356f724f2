"""Settings come from ANTIPHON_<SERVICE>_… variables, are read once, and are refused when a name is unknown."""

import os
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from .errors import ConfigError

S = TypeVar("S", bound=BaseSettings)

# An OTLP collector's address, such as http://collector:4318, or nothing.
OTLP_URL = r"^(https?://\S+)?$"


class ServerSettings(BaseSettings):
    """What every gRPC server of ours can be told. Each service adds its own and names its prefix."""

    model_config = SettingsConfigDict(env_prefix="ANTIPHON_SERVER_", frozen=True)

    bind: Annotated[str, Field(description="host:port to serve gRPC on; port 0 takes a free one.")]
    metrics_bind: Annotated[str, Field(description="host:port to serve Prometheus on; empty: not at all.")] = ""
    health_bind: Annotated[
        str, Field(description="host:port to serve health on, without TLS, for a kubelet's probes; empty: not at all.")
    ] = ""
    backend: Annotated[str, Field(description="Which backend runs the model, by name or as module:class.")] = "stub"
    slots: Annotated[int, Field(ge=1, description="Streams the model takes at once.")] = 8
    drain_s: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="From SIGTERM, how long new streams are still taken.")
    ] = 0.0
    grace_s: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="After that, how long open streams may go on.")
    ] = 30.0
    token_secret_file: Annotated[Path | None, Field(description="Demand a token signed with this secret.")] = None
    tls_cert_file: Annotated[Path | None, Field(description="Serve TLS with this PEM chain; re-read on change.")] = None
    tls_key_file: Annotated[Path | None, Field(description="The chain's private key.")] = None
    tls_client_ca_file: Annotated[Path | None, Field(description="Demand client certificates from this CA.")] = None
    allow_open: Annotated[bool, Field(description="Serve beyond loopback without tokens all the same.")] = False
    otlp_url: Annotated[str, Field(pattern=OTLP_URL, description="Send traces there, over HTTP; empty: to nobody.")] = (
        ""
    )
    log_format: Annotated[str, Field(pattern="^(color|json)$", description="color or json.")] = "color"
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"

    @field_validator("token_secret_file", "tls_cert_file", "tls_key_file", "tls_client_ca_file", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("bind", "metrics_bind", "health_bind")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if value and not (host and port.isascii() and port.isdigit() and int(port) < 65_536):
            raise ValueError("must be host:port, such as 127.0.0.1:50051 or [::1]:50051")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "ServerSettings":
        if bool(self.tls_cert_file) != bool(self.tls_key_file):
            raise ValueError("tls_cert_file and tls_key_file go together")
        if self.tls_client_ca_file and not self.tls_cert_file:
            raise ValueError("tls_client_ca_file needs tls_cert_file and tls_key_file")
        if not self.bind:
            raise ValueError("bind is empty: it must be host:port")
        if not (is_loopback(self.bind) or self.token_secret_file or self.allow_open):
            raise ValueError(f"bind {self.bind} is reachable from outside: set token_secret_file, or allow_open=true")
        return self


def is_loopback(bind: str) -> bool:
    """Whether only this machine can reach "host:port"."""
    host = bind.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_settings(cls: type[S], *, others: Sequence[str] = (), **overrides: Any) -> S:
    """Reads `cls` from the environment.

    `others` are prefixes under `cls`'s own that belong to someone else, such as "ANTIPHON_ASR_MOONSHINE__".
    Raises ConfigError for a variable with the prefix that no field knows, and for a value that is not allowed.
    """
    prefix = cls.model_config["env_prefix"]
    known = {f"{prefix}{name}".upper() for name in cls.model_fields}
    for name in os.environ:
        upper = name.upper()  # pydantic reads a variable in any case
        if upper.startswith(prefix.upper()) and upper not in known and not upper.startswith(tuple(others)):
            raise ConfigError(f"unknown setting {name}: known are {', '.join(sorted(known))}")
    try:
        return cls(**overrides)
    except ValidationError as error:
        raise ConfigError("; ".join(_problem(cls, prefix, p) for p in error.errors())) from None


def _problem(cls: type[BaseSettings], prefix: str, problem: ErrorDetails) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return f"{prefix}…: {message}"
    name = f"{prefix}{'_'.join(map(str, problem['loc'])).upper()}"
    field = cls.model_fields.get(str(problem["loc"][0]))
    secret = field is not None and "SecretStr" in str(field.annotation)
    # A missing field's "input" is all the others.
    if secret or problem["type"] == "missing":
        return f"{name}: {message}"
    return f"{name}: {message} (got {problem['input']!r})"
