from pathlib import Path

import pytest

from antiphon_orchestrator.settings import BUILT_IN_AGENTS, Settings
from antiphon_runtime.errors import ConfigError
from antiphon_runtime.settings import read_settings

PREFIX = "ANTIPHON_ORCHESTRATOR_"


def read(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(f"{PREFIX}{name}", value)
    return read_settings(Settings)


def test_without_variables_everything_is_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch)
    assert settings.bind.startswith("127.0.0.1:")
    assert {getattr(settings, name).rpartition(":")[0] for name in ("asr", "tts", "llm", "turn")} == {"127.0.0.1"}
    assert settings.agents_file == BUILT_IN_AGENTS


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(
        monkeypatch,
        ASR="asr-0:1, asr-1:2",
        MAX_SESSIONS="3",
        ALLOWED_ORIGINS="https://one.example, https://two.example",
        ICE_SERVERS="stun:stun.example:3478",
        RECORD_DIR="/tmp/calls",
        RECORD_FORMAT="flac",
    )
    assert (settings.asr, settings.max_sessions) == ("asr-0:1, asr-1:2", 3)
    assert settings.allowed_origins == ("https://one.example", "https://two.example")
    assert settings.ice_servers == ("stun:stun.example:3478",)
    assert (settings.record_dir, settings.record_format) == (Path("/tmp/calls"), "flac")


def test_a_variable_that_is_set_to_nothing_is_as_good_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = read(monkeypatch, SESSION_SECRET_FILE="", AGENTS_FILE="", RECORD_DIR="", ALLOWED_ORIGINS="")
    assert (settings.session_secret_file, settings.record_dir, settings.allowed_origins) == (None, None, ())
    assert settings.agents_file == BUILT_IN_AGENTS


def test_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=f"unknown setting {PREFIX}MAX_SESSION: known are .*MAX_SESSIONS"):
        read(monkeypatch, MAX_SESSION="3")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("MAX_SESSIONS", "0", "greater than or equal to 1"),
        ("MAX_SESSIONS", "many", "valid integer"),
        ("BIND", "7860", "host:port"),
        ("BIND", "localhost:port", "host:port"),
        ("BIND", "127.0.0.1:99999", "host:port"),
        ("METRICS_BIND", "9090", "host:port"),
        ("RECORD_FORMAT", "mp3", "'wav', 'flac' or 'opus'"),
        ("ASR", "", "host:port"),
        ("TTS", "tts", "host:port"),
        ("LLM", "llm-0:1,,llm-1:2", "host:port"),
        ("TURN", "turn:port", "host:port"),
        ("LOG_FORMAT", "xml", "color|json"),
        ("LOG_LEVEL", "LOUD", "DEBUG|INFO|WARNING|ERROR"),
        ("ALLOW_OPEN", "perhaps", "boolean"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(monkeypatch, **{name: value})
    assert f"{PREFIX}{name}" in str(caught.value) and said in str(caught.value)


@pytest.mark.parametrize("bind", ["0.0.0.0:7860", "[::]:7860", "10.0.0.1:7860", "agent.example:7860"])
def test_what_others_can_reach_needs_tokens_or_the_word_that_it_may_be_open(
    monkeypatch: pytest.MonkeyPatch, bind: str
) -> None:
    with pytest.raises(ConfigError, match="reachable from outside: set session_secret_file, or allow_open=true"):
        read(monkeypatch, BIND=bind)
    assert read(monkeypatch, BIND=bind, ALLOW_OPEN="true").bind == bind
    assert read(monkeypatch, BIND=bind, ALLOW_OPEN="false", SESSION_SECRET_FILE="/run/secret").bind == bind


def test_an_empty_secret_file_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="reachable from outside"):
        read(monkeypatch, BIND="0.0.0.0:7860", SESSION_SECRET_FILE="")


@pytest.mark.parametrize("bind", ["localhost:7860", "[::1]:7860", "127.0.0.2:0"])
def test_loopback_needs_no_tokens(monkeypatch: pytest.MonkeyPatch, bind: str) -> None:
    assert read(monkeypatch, BIND=bind).bind == bind


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"SERVICE_CA_FILE": "ca", "SERVICE_CERT_FILE": "cert"}, "go together"),
        ({"SERVICE_CA_FILE": "ca", "SERVICE_KEY_FILE": "key"}, "go together"),
        ({"SERVICE_CERT_FILE": "cert", "SERVICE_KEY_FILE": "key"}, "needs service_ca_file"),
        ({"SINGLE_GPU": "true", "WORKERS": "2"}, "single_gpu needs workers=1"),
        ({"BIND": ""}, "bind is empty"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        read(monkeypatch, **given)
