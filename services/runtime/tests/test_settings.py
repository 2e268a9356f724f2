from pathlib import Path

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from antiphon_runtime.errors import ConfigError
from antiphon_runtime.settings import ServerSettings, is_loopback, read_settings

from .echo import EchoSettings

PREFIX = "ANTIPHON_ECHO_"


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch):
    return lambda **values: [monkeypatch.setenv(PREFIX + name, value) for name, value in values.items()]


def test_values_come_from_the_environment(env):
    env(SLOTS="3", DRAIN_S="1.5", TOKEN_SECRET_FILE="/run/secret", BIND="0.0.0.0:1", LOG_FORMAT="json")
    settings = read_settings(EchoSettings)
    assert (settings.slots, settings.drain_s, settings.log_format) == (3, 1.5, "json")
    assert settings.token_secret_file == Path("/run/secret")


@pytest.mark.parametrize("name", ["SLOST", "slost"])
def test_an_unknown_name_is_refused_and_the_known_ones_are_named(env, name):
    env(**{name: "3"})
    with pytest.raises(ConfigError, match=rf"unknown setting {PREFIX}{name}: known are .*{PREFIX}SLOTS"):
        read_settings(EchoSettings)


def test_a_name_under_another_ones_prefix_is_left_alone(env):
    env(STUB__WORDS="x")
    assert read_settings(EchoSettings, others=[f"{PREFIX}STUB__"])
    with pytest.raises(ConfigError, match="STUB__WORDS"):
        read_settings(EchoSettings, others=[f"{PREFIX}MOONSHINE__"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLOTS", "many"),
        ("SLOTS", "0"),
        ("DRAIN_S", "-1"),
        ("GRACE_S", "inf"),
        ("LOG_LEVEL", "LOUD"),
        ("LOG_FORMAT", "xml"),
        ("BIND", "50051"),
        ("BIND", "127.0.0.1:http"),
        ("BIND", "127.0.0.1:70000"),
        ("METRICS_BIND", ":9464"),
    ],
)
def test_a_bad_value_is_refused_by_its_variable_and_shown(env, name, value):
    env(**{name: value})
    with pytest.raises(ConfigError, match=rf"{PREFIX}{name}: .*\(got '{value}'\)"):
        read_settings(EchoSettings)


def test_every_bad_value_is_told_at_once(env):
    env(SLOTS="many", DRAIN_S="-1")
    with pytest.raises(ConfigError, match=rf"{PREFIX}SLOTS.*; {PREFIX}DRAIN_S"):
        read_settings(EchoSettings)


def test_what_is_missing_is_named_and_nothing_else_is_shown(monkeypatch):
    class Needy(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="ANTIPHON_NEEDY_")
        url: str
        api_key: SecretStr
        count: int = 1

    monkeypatch.setenv("ANTIPHON_NEEDY_API_KEY", "hunter2")
    with pytest.raises(ConfigError, match="ANTIPHON_NEEDY_URL: Field required") as missing:
        read_settings(Needy)
    assert "hunter2" not in str(missing.value)


@pytest.mark.parametrize(
    ("bind", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("asr:1", False),
    ],
)
def test_beyond_loopback_a_token_is_demanded_or_openness_declared(bind, loopback):
    assert is_loopback(bind) is loopback
    if loopback:
        assert read_settings(EchoSettings, bind=bind)
    else:
        with pytest.raises(ConfigError, match="token_secret_file, or allow_open"):
            read_settings(EchoSettings, bind=bind)
        assert read_settings(EchoSettings, bind=bind, allow_open=True)
        assert read_settings(EchoSettings, bind=bind, token_secret_file="secret")


@pytest.mark.parametrize(
    "given", [{"tls_cert_file": "c"}, {"tls_key_file": "k"}, {"tls_client_ca_file": "a"}], ids=lambda given: str(given)
)
def test_tls_files_that_do_nothing_on_their_own_are_refused(given):
    with pytest.raises(ConfigError, match="tls_cert_file"):
        read_settings(EchoSettings, **given)


def test_an_empty_file_name_means_none(env):
    env(TOKEN_SECRET_FILE="", TLS_CERT_FILE="", TLS_KEY_FILE="", TLS_CLIENT_CA_FILE="")
    settings = read_settings(EchoSettings)
    assert settings.token_secret_file is settings.tls_cert_file is settings.tls_client_ca_file is None


def test_an_empty_metrics_bind_turns_them_off_and_an_empty_bind_is_refused(env):
    env(METRICS_BIND="")
    assert read_settings(EchoSettings).metrics_bind == ""
    with pytest.raises(ConfigError, match="bind is empty"):
        read_settings(EchoSettings, bind="")


def test_bare_server_settings_do_not_read_everyday_variables(monkeypatch):
    monkeypatch.setenv("LOG_LEVEL", "debug")
    monkeypatch.setenv("SLOTS", "x")
    assert ServerSettings(bind="127.0.0.1:0").slots == 8
