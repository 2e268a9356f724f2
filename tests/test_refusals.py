"""Callers that are refused: how they are told, and that no other call is affected."""

import asyncio
import datetime
import ipaddress
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from platform_fixture import platform, until
from raw_caller import dialled
from websockets.exceptions import InvalidStatus

from antiphon.asr.v1 import asr_pb2
from antiphon.common.v1 import audio_pb2
from antiphon.llm.v1 import llm_pb2
from antiphon.tts.v1 import tts_pb2
from antiphon_bench import place_call, questions
from antiphon_bench.errors import BadToken, ServerFull, UnknownAgent
from antiphon_orchestrator.gate import AUDIENCE
from antiphon_runtime.auth import Issuer, Verifier

SECRET = b"a secret of at least thirty-two bytes"
OTHER_SECRET = b"another one of thirty-two bytes or more"


def token(secret: bytes = SECRET, audience: str = AUDIENCE, age_s: float = 0.0) -> str:
    return Issuer(secret, audience, ttl_s=60, clock=lambda: time.time() - age_s).token("test")


async def refused(url: str, **headers: str) -> tuple[int, str]:
    """The status and the reason that a call is refused with."""
    with pytest.raises(InvalidStatus) as caught:
        async with dialled(url, **headers):
            pass
    response = caught.value.response
    return response.status_code, json.loads(bytes(response.body or b""))["reason"]


async def test_one_call_too_many_is_refused_at_once_and_the_others_go_on(hello: Path) -> None:
    async with platform(max_sessions=2) as at:
        async with dialled(at.url) as one, dialled(at.url) as two:
            await one.until_session()
            await two.until_session()

            began = time.monotonic()
            assert await refused(at.url) == (503, "Full")
            with pytest.raises(ServerFull):
                await place_call(at.url, [hello])
            assert time.monotonic() - began < 30  # waiting for a place would have taken for ever

            assert (await one.turn())["outcome"] == "answered"
            assert (await two.turn())["outcome"] == "answered"
        await until(at.idle)
        assert at.sample("antiphon_sessions_refused_total", reason="full") == 2
        async with dialled(at.url) as three:
            await three.until_session()


PCM = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=16_000)
OPENINGS = {
    "asr": asr_pb2.TranscribeRequest(config=asr_pb2.TranscribeConfig(audio=PCM)),
    "tts": tts_pb2.SynthesizeRequest(config=tts_pb2.SynthesizeConfig(audio=PCM)),
    "llm": llm_pb2.GenerateRequest(
        config=llm_pb2.GenerateConfig(messages_json='[{"role": "user", "content": "Hello"}]', await_grants=True)
    ),
}


@pytest.mark.parametrize("service", OPENINGS)
async def test_a_service_without_a_free_slot_fails_the_turn_and_says_why(service: str) -> None:
    async with platform(unlike={service: {"slots": 1}}) as at:
        async with await getattr(at.backends, service).open(OPENINGS[service]), dialled(at.url) as caller:
            await caller.until_session()
            turn = await caller.turn()
            assert turn["outcome"] == "failed"
            assert "slots are taken" in turn["error"]
        async with dialled(at.url) as caller:
            await caller.until_session()
            assert (await caller.turn())["outcome"] == "answered"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (None, "missing"),
        ("", "missing"),
        ("nonsense", "wrong"),
        (token(OTHER_SECRET), "signed by another"),
        (token(audience="antiphon.asr.v1.AsrService"), "for another audience"),
        (token(age_s=120), "expired"),
    ],
)
async def test_a_call_without_a_valid_token_is_refused(given: str | None, reason: str, hello: Path) -> None:
    async with platform(verifier=Verifier(SECRET, AUDIENCE)) as at:
        query = "" if given is None else f"?token={given}"
        assert await refused(at.url + query) == (401, "Unauthenticated"), reason
        with pytest.raises(BadToken):
            await place_call(at.url, [hello], token=given)
        assert at.sessions.active == 0


async def test_a_valid_token_opens_the_call_its_timeline_and_the_page(hello: Path) -> None:
    async with platform(verifier=Verifier(SECRET, AUDIENCE)) as at, httpx.AsyncClient(trust_env=False) as client:
        call = await place_call(at.url, [hello], token=token())
        assert call.turns[0].outcome == "answered"
        assert "token" not in call.url

        timeline = f"{at.page}/api/sessions/{call.session_id}"
        assert (await client.get(timeline)).status_code == 401
        assert (await client.post(f"{at.page}/start", json={})).status_code == 401
        header = {"authorization": f"Bearer {token()}"}
        assert (await client.get(timeline, headers=header)).status_code == 200
        await client.get(at.page, params={"token": token()})
        assert (await client.get(timeline)).status_code == 200  # the page's cookie
        async with dialled(at.url, authorization=f"Bearer {token()}") as caller:
            await caller.until_session()


async def test_an_unknown_agent_is_refused_by_name(hello: Path) -> None:
    async with platform() as at:
        assert await refused(f"{at.url}?agent=nobody") == (404, "UnknownAgent")
        with pytest.raises(UnknownAgent):
            await place_call(at.url, [hello], agent="nobody")
        assert at.sample("antiphon_sessions_refused_total", reason="unknown_agent") == 2


async def test_a_page_of_another_site_may_not_call() -> None:
    async with platform() as at:
        assert await refused(at.url, origin="https://elsewhere.example") == (403, "ForeignOrigin")
        async with dialled(at.url, origin=at.page) as caller:
            await caller.until_session()


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, Path]:
    files = {"right": tmp_path / "secret", "wrong": tmp_path / "other"}
    files["right"].write_bytes(SECRET)
    files["wrong"].write_bytes(OTHER_SECRET)
    return files


async def test_services_that_demand_tokens_get_them_from_the_orchestrator(
    hello: Path, secrets: dict[str, Path]
) -> None:
    demand = {"token_secret_file": secrets["right"]}
    async with platform(services=demand, service_secret_file=secrets["right"]) as at:
        assert (await place_call(at.url, [hello])).turns[0].outcome == "answered"


@pytest.mark.parametrize("service", ["asr", "tts", "llm"])
async def test_a_service_with_another_secret_fails_the_turn_and_says_why(
    service: str, hello: Path, secrets: dict[str, Path]
) -> None:
    async with platform(
        services={"token_secret_file": secrets["right"]},
        unlike={service: {"token_secret_file": secrets["wrong"]}},
        service_secret_file=secrets["right"],
    ) as at:
        call = await place_call(at.url, [hello], timeout_s=60)
        session = at.sessions.find(call.session_id)
        assert session
        assert [turn.outcome for turn in call.turns] == ["failed"]
        assert "token" in session.turns[0].error
        await until(at.idle)


async def test_calls_go_on_without_a_turn_service_that_has_another_secret(
    hello: Path, secrets: dict[str, Path]
) -> None:
    async with platform(
        services={"token_secret_file": secrets["right"]},
        unlike={"turn": {"token_secret_file": secrets["wrong"]}},
        service_secret_file=secrets["right"],
    ) as at:
        call = await place_call(at.url, [questions()[0]], timeout_s=60)
        assert [turn.outcome for turn in call.turns] == ["answered"]


def certificate(folder: Path, name: str, ca: tuple[Any, Any] | None = None) -> tuple[Any, Any]:
    """A key and a certificate for 127.0.0.1, written as NAME.key and NAME.pem; signed by `ca`, or its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca[1].subject if ca else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=ca is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(ca[0] if ca else key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    (folder / f"{name}.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    (folder / f"{name}.pem").write_bytes(built.public_bytes(pem))
    return key, built


@pytest.fixture
def pems(tmp_path: Path) -> Path:
    ca = certificate(tmp_path, "ca")
    certificate(tmp_path, "service", ca)
    certificate(tmp_path, "orchestrator", ca)
    certificate(tmp_path, "stranger")
    return tmp_path


async def test_calls_go_over_mutual_tls(hello: Path, pems: Path) -> None:
    async with platform(
        services={
            "tls_cert_file": pems / "service.pem",
            "tls_key_file": pems / "service.key",
            "tls_client_ca_file": pems / "ca.pem",
        },
        service_ca_file=pems / "ca.pem",
        service_cert_file=pems / "orchestrator.pem",
        service_key_file=pems / "orchestrator.key",
    ) as at:
        assert (await place_call(at.url, [hello])).turns[0].outcome == "answered"


async def test_an_orchestrator_that_the_services_cannot_trust_reports_failed_turns(pems: Path) -> None:
    theirs = {
        "tls_cert_file": pems / "service.pem",
        "tls_key_file": pems / "service.key",
        "tls_client_ca_file": pems / "ca.pem",
    }
    ours = {
        "trusts another CA": {"service_ca_file": "stranger.pem"},
        "has no certificate": {"service_ca_file": "ca.pem"},
        "has a stranger's": {
            "service_ca_file": "ca.pem",
            "service_cert_file": "stranger.pem",
            "service_key_file": "stranger.key",
        },
        "speaks no TLS": {},
    }

    async def outcome(files: dict[str, str]) -> list[str]:
        async with platform(services=theirs, **{name: pems / file for name, file in files.items()}) as at:
            # Nobody but the local models hears the caller now, and they want a voice.
            call = await place_call(at.url, [questions()[0]], timeout_s=60)
            await until(at.idle)
        return [turn.outcome for turn in call.turns]

    outcomes = await asyncio.gather(*map(outcome, ours.values()))
    assert dict(zip(ours, outcomes, strict=True)) == {name: ["failed"] for name in ours}
