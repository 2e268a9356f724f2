"""Every setting of the orchestrator, from ANTIPHON_ORCHESTRATOR_* variables."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from antiphon_runtime.settings import OTLP_URL, is_loopback

from .records.options import Format

BUILT_IN_AGENTS = Path(__file__).with_name("agents.yaml")


class Settings(BaseSettings):
    """Settings of the orchestrator: addresses of the four services, access control and limits."""

    model_config = SettingsConfigDict(env_prefix="ANTIPHON_ORCHESTRATOR_", frozen=True)

    bind: Annotated[str, Field(description="host:port of the page, the WebSocket and the API.")] = "127.0.0.1:7860"
    metrics_bind: Annotated[str, Field(description="host:port to serve Prometheus on; empty: not at all.")] = ""
    asr: Annotated[str, Field(description="host:port of the service, several with commas.")] = "127.0.0.1:50051"
    tts: str = "127.0.0.1:50052"
    llm: str = "127.0.0.1:50053"
    turn: str = "127.0.0.1:50054"
    agents_file: Annotated[Path, Field(description="YAML file of named agents.")] = BUILT_IN_AGENTS
    max_sessions: Annotated[int, Field(ge=1, description="Conversations at once; one more is answered 503.")] = 8
    workers: Annotated[int, Field(ge=1, le=64, description="Processes that share the port, and max_sessions.")] = 1
    single_gpu: Annotated[bool, Field(description="The model and the voice share one GPU: they take turns.")] = False
    session_secret_file: Annotated[Path | None, Field(description="Demand a session token signed with this.")] = None
    service_secret_file: Annotated[Path | None, Field(description="Sign tokens for the services with this.")] = None
    service_ca_file: Annotated[Path | None, Field(description="Reach the services by TLS, trusting this CA.")] = None
    service_cert_file: Annotated[Path | None, Field(description="Our certificate for mutual TLS.")] = None
    service_key_file: Annotated[Path | None, Field(description="Its private key.")] = None
    record_dir: Annotated[Path | None, Field(description="Record each call here: stereo, caller left.")] = None
    record_format: Annotated[Format, Field(description="The recordings' format: wav, flac or opus.")] = "wav"
    allow_open: Annotated[bool, Field(description="Serve beyond loopback without tokens all the same.")] = False
    allowed_origins: Annotated[
        tuple[str, ...], NoDecode, Field(description="Web origins that may call, besides our own page; with commas.")
    ] = ()
    ice_servers: Annotated[tuple[str, ...], NoDecode, Field(description="STUN/TURN URLs for WebRTC; with commas.")] = ()
    offer_within_s: Annotated[
        float, Field(gt=0, le=3600, description="For a started WebRTC call to be offered, and then to be connected.")
    ] = 30.0
    relay_secret_file: Annotated[
        Path | None, Field(description="Sign credentials for the TURN servers with this; coturn's use-auth-secret.")
    ] = None
    drain_s: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="From SIGTERM, how long new calls are still taken.")
    ] = 0.0
    grace_s: Annotated[
        float, Field(ge=0, allow_inf_nan=False, description="After that, how long calls under way may go on.")
    ] = 0.0
    otlp_url: Annotated[str, Field(pattern=OTLP_URL, description="Send traces there, over HTTP; empty: to nobody.")] = (
        ""
    )
    log_format: Annotated[str, Field(pattern="^(color|json)$")] = "color"
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"
    log_text: Annotated[bool, Field(description="Whether logs and traces may hold what was said.")] = False

    @field_validator("asr", "tts", "llm", "turn")
    @classmethod
    def _targets(cls, value: str) -> str:
        if not all(is_host_and_port(target.strip()) for target in value.split(",")):
            raise ValueError("must be host:port, or several with commas")
        return value

    @field_validator("bind", "metrics_bind")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        if value and not is_host_and_port(value):
            raise ValueError("must be host:port, such as 127.0.0.1:7860 or [::1]:7860")
        return value

    @model_validator(mode="before")
    @classmethod
    def _split(cls, values: dict[str, object]) -> dict[str, object]:
        for name in ("allowed_origins", "ice_servers"):
            if isinstance(value := values.get(name), str):
                values[name] = tuple(part.strip() for part in value.split(",") if part.strip())
        # A variable that is set to nothing is as good as unset.
        return {name: value for name, value in values.items() if value != "" or not name.endswith(("_file", "_dir"))}

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        if not self.bind:
            raise ValueError("bind is empty: it must be host:port")
        if not (is_loopback(self.bind) or self.session_secret_file or self.allow_open):
            raise ValueError(f"bind {self.bind} is reachable from outside: set session_secret_file, or allow_open=true")
        if bool(self.service_cert_file) != bool(self.service_key_file):
            raise ValueError("service_cert_file and service_key_file go together")
        if self.workers > 1 and self.drain_s + self.grace_s > 0:
            raise ValueError("drain_s and grace_s need workers=1: several workers end their calls at once")
        if self.single_gpu and self.workers > 1:
            raise ValueError("single_gpu needs workers=1: the model and the voice take turns within one process")
        if self.service_cert_file and not self.service_ca_file:
            raise ValueError("service_cert_file needs service_ca_file")
        return self


def is_host_and_port(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isascii() and port.isdigit() and int(port) < 65_536
