"""Moonshine on real speech, spoken by hibari."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from asr_caller import COMMIT, RATE, SPECULATE, Stream, asr, chunks, config, finalize, silence, stream
from conftest import needs_moonshine

from antiphon_asr.weights import MOONSHINE_DIR
from antiphon_runtime.testing import Served
from antiphon_runtime.weights import DEFAULT_DIR

np = pytest.importorskip("numpy")
hibari = pytest.importorskip("hibari")
jiwer = pytest.importorskip("jiwer")
soxr = pytest.importorskip("soxr")
pytest.importorskip("onnxruntime")

from antiphon_asr.backends.moonshine.model import Moonshine  # noqa: E402
from antiphon_asr.backends.moonshine.repeats import find_repeat  # noqa: E402

pytestmark = needs_moonshine

SENTENCES = (
    "What is the capital of Australia?",
    "My package was delivered to the wrong address.",
    "Can you help me write an email to my manager?",
    "The train leaves the station at a quarter past nine every morning.",
    "Please turn off the lights in the kitchen before you go to bed.",
    "I would like to change my flight to Thursday afternoon if that is possible.",
)
KINDS = ("commit", "speculate", "settle", "interim")


@pytest.fixture(scope="module")
def spoken() -> dict[str, bytes]:
    voice = hibari.Hibari(threads=1)
    return {text: pcm(soxr.resample(voice(text, seed=1), 24_000, RATE)) for text in SENTENCES}


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with asr(backend="moonshine") as service:
        yield service


def pcm(samples) -> bytes:
    return (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()


def noise(seconds: float, level: float):
    return np.random.default_rng(0).normal(size=int(seconds * RATE)) * level


def tone(hz: float, seconds: float, level: float, harmonics: int = 1):
    times = np.arange(int(seconds * RATE)) / RATE
    return level * sum(np.sin(2 * np.pi * hz * k * times) / k for k in range(1, harmonics + 1))


def loudest_after(data: bytes, sample: int) -> int:
    """The end of the loudest 20 ms in the half second from `sample`."""
    frames = np.frombuffer(data, "<i2")[sample : sample + RATE // 2].reshape(-1, 320).astype(float)
    return sample + 320 * (int(np.square(frames).sum(axis=1).argmax()) + 1)


def samples_of(data: bytes) -> int:
    return len(data) // 2


def wer(said: str, heard: str) -> float:
    plain = jiwer.Compose(
        [jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.Strip(), jiwer.ReduceToListOfListOfWords()]
    )
    return jiwer.wer(said, heard, reference_transform=plain, hypothesis_transform=plain)


def decodes(served: Served) -> dict[str, float]:
    counts = {kind: served.sample("antiphon_asr_decodes_total", kind=kind) for kind in KINDS}
    return {kind: count for kind, count in counts.items() if count}


async def say(call: Stream, data: bytes, samples: int = 320) -> None:
    await call.send(*chunks(data, samples))


async def test_six_sentences_are_heard_almost_without_errors(served: Served, spoken: dict[str, bytes]) -> None:
    heard = []
    async with stream(served) as call:
        for id, data in enumerate(spoken.values()):
            await say(call, silence(RATE // 2) + data + silence(RATE // 5))
            heard.append((await call.ask(id, COMMIT)).text)
    assert wer(" ".join(SENTENCES), " ".join(heard)) <= 0.15


async def test_a_commit_ends_at_its_sample_and_the_rest_is_the_next_utterance(
    served: Served, spoken: dict[str, bytes]
) -> None:
    first, second = spoken[SENTENCES[0]], spoken[SENTENCES[1]]
    end = samples_of(first)
    async with stream(served) as call:
        await say(call, first)
        alone = await call.ask(1, COMMIT, end)
    async with stream(served) as call:
        await say(call, first + second)
        cut = await call.ask(1, COMMIT, end)
        rest = await call.ask(2, COMMIT)
    assert (cut.text, cut.end_sample) == (alone.text, end)
    assert wer(SENTENCES[1], rest.text) <= 0.15


async def test_speculating_changes_nothing(served: Served, spoken: dict[str, bytes]) -> None:
    data = spoken[SENTENCES[3]]
    async with stream(served) as call:
        await say(call, data)
        plain = await call.ask(1, COMMIT)
    async with stream(served) as call:
        for id, chunk in enumerate(chunks(data, RATE // 2)):
            await call.send(chunk)
            await call.ask(id, SPECULATE)
        asked = await call.ask(99, COMMIT)
    assert asked.text == plain.text


@pytest.mark.parametrize("gap_ms", [0, 20, 300, 2000])
async def test_a_commit_after_only_silence_reuses_the_speculation(
    served: Served, spoken: dict[str, bytes], gap_ms: int
) -> None:
    data = spoken[SENTENCES[0]] + silence(RATE // 10)
    async with stream(served) as call:
        await say(call, data)
        guess = await call.ask(1, SPECULATE, samples_of(data))
        await say(call, silence(gap_ms * RATE // 1000))
        again = await call.ask(2, SPECULATE)
        final = await call.ask(3, COMMIT)
    assert decodes(served) == {"speculate": 1}
    assert guess.text == again.text == final.text
    assert guess.timings.compute_ms > 0
    assert (final.timings.queue_ms, final.timings.compute_ms) == (0, 0)
    assert final.end_sample == samples_of(data) + gap_ms * RATE // 1000


async def test_a_commit_shares_the_speculation_that_is_being_decoded(served: Served, spoken: dict[str, bytes]) -> None:
    async with stream(served) as call:
        await say(call, spoken[SENTENCES[0]])
        await call.send(finalize(1, SPECULATE), finalize(2, COMMIT))
        answers = {answer.id: answer.text for answer in [await call.finalized(), await call.finalized()]}
    assert sum(decodes(served).values()) == 1
    assert answers[1] == answers[2]


async def test_a_speculation_that_a_commit_overtakes_is_answered_with_its_own_text(
    served: Served, spoken: dict[str, bytes]
) -> None:
    first, second = spoken[SENTENCES[0]], spoken[SENTENCES[1]]
    async with stream(served) as call:
        await say(call, first + second)
        await call.send(finalize(1, SPECULATE, samples_of(first)), finalize(2, COMMIT))
        answers = {answer.id: answer for answer in [await call.finalized(), await call.finalized()]}
    assert wer(SENTENCES[0], answers[1].text) <= 0.15
    assert wer(f"{SENTENCES[0]} {SENTENCES[1]}", answers[2].text) <= 0.15
    assert answers[1].end_sample == samples_of(first)


async def test_speech_after_the_speculation_is_decoded(served: Served, spoken: dict[str, bytes]) -> None:
    async with stream(served) as call:
        await say(call, spoken[SENTENCES[0]])
        first = await call.ask(1, SPECULATE)
        await say(call, spoken[SENTENCES[1]])
        both = await call.ask(2, COMMIT)
    assert decodes(served) == {"speculate": 1, "commit": 1}
    assert wer(SENTENCES[0], first.text) <= 0.15
    assert wer(f"{SENTENCES[0]} {SENTENCES[1]}", both.text) <= 0.15


NOTHING = {
    "silence": lambda: np.zeros(5 * RATE),
    **{f"white {db} dBFS": lambda db=db: noise(5, 10 ** (db / 20)) for db in (-70, -50, -30, -15)},
    "brown": lambda: np.cumsum(noise(5, 0.01)) * 0.05,
    "white after silence": lambda: np.concatenate([np.zeros(RATE), noise(4, 0.03)]),
    "hum": lambda: tone(60, 5, 0.3),
    "hum with harmonics": lambda: tone(60, 5, 0.1, harmonics=3),
    "hum in noise after silence": lambda: np.concatenate([np.zeros(RATE), tone(120, 4, 0.05, 4)]) + noise(5, 0.001),
}


@pytest.mark.parametrize("sound", NOTHING)
async def test_what_is_no_speech_is_empty_and_costs_no_decode(served: Served, sound: str) -> None:
    async with stream(served, config(interim_results=True)) as call:
        await say(call, pcm(NOTHING[sound]()))
        guess, final = await call.ask(1, SPECULATE), await call.ask(2, COMMIT)
    assert guess.empty and final.empty and not final.text
    assert decodes(served) == {} and not call.interims


@pytest.mark.parametrize("sentence", SENTENCES[:2])
async def test_quiet_speech_is_heard(served: Served, spoken: dict[str, bytes], sentence: str) -> None:
    quiet = np.frombuffer(spoken[sentence], "<i2") / 32768 * 10 ** (-30 / 20)
    async with stream(served) as call:
        await say(call, silence(RATE) + pcm(quiet))
        answer = await call.ask(1, COMMIT)
    assert wer(sentence, answer.text) <= 0.3


async def test_speech_in_noise_is_heard(served: Served, spoken: dict[str, bytes]) -> None:
    clean = np.frombuffer(silence(RATE) + spoken[SENTENCES[0]] + silence(RATE), "<i2") / 32768
    async with stream(served) as call:
        await say(call, pcm(clean + noise(len(clean) / RATE, 0.01)[: len(clean)]))
        answer = await call.ask(1, COMMIT)
    assert wer(SENTENCES[0], answer.text) <= 0.3


async def test_a_minute_without_a_pause_is_heard_in_pieces(served: Served, spoken: dict[str, bytes]) -> None:
    said = list(SENTENCES) * 3
    data = b"".join(spoken[text] for text in said)
    assert samples_of(data) > 60 * RATE
    async with stream(served) as call:
        await say(call, data, RATE)
        guess = await call.ask(1, SPECULATE)
        final = await call.ask(2, COMMIT)
    assert wer(" ".join(said), final.text) <= 0.15
    assert guess.text == final.text
    counts = decodes(served)
    # Each stretch is decoded once: 6 to 10 s each, and the rest.
    assert 6 <= counts.get("settle", 0) + counts.get("speculate", 0) <= 11
    assert "commit" not in counts


async def test_a_commit_may_end_inside_what_is_settled(served: Served, spoken: dict[str, bytes]) -> None:
    data = [spoken[text] for text in SENTENCES]
    end = samples_of(data[0])
    async with stream(served) as call:
        await say(call, b"".join(data), RATE)
        first = await call.ask(1, COMMIT, end)
        rest = await call.ask(2, COMMIT)
    assert wer(SENTENCES[0], first.text) <= 0.15
    assert wer(" ".join(SENTENCES[1:]), rest.text) <= 0.15


async def test_interims_grow_while_somebody_speaks(served: Served, spoken: dict[str, bytes]) -> None:
    data = spoken[SENTENCES[3]]
    async with stream(served, config(interim_results=True)) as call:
        ends, sent = [], 0
        for second in range(1, 4):
            end = loudest_after(data, second * RATE)
            await say(call, data[2 * sent : 2 * end])
            event = await call.event()
            assert event.transcript.text
            ends.append(event.transcript.end_sample)
            sent = end
        await say(call, data[2 * sent :])
        final = await call.ask(1, COMMIT)
    assert ends == sorted(ends) and ends[0] >= RATE // 2
    assert wer(SENTENCES[3], final.text) <= 0.15
    assert decodes(served)["interim"] >= 3


async def test_two_callers_at_once_get_their_own_words(served: Served, spoken: dict[str, bytes]) -> None:
    async with stream(served) as one, stream(served) as other:
        pairs = zip(chunks(spoken[SENTENCES[1]], 320), chunks(spoken[SENTENCES[2]], 320), strict=False)
        for mine, yours in pairs:
            await one.send(mine)
            await other.send(yours)
        await one.send(finalize(1, COMMIT))
        await other.send(finalize(1, COMMIT))
        heard = (await one.finalized()).text, (await other.finalized()).text
    assert wer(SENTENCES[1], heard[0]) <= 0.15
    assert wer(SENTENCES[2], heard[1]) <= 0.2


async def test_ten_minutes_of_silence_cost_nothing_and_the_next_words_are_heard(
    served: Served, spoken: dict[str, bytes]
) -> None:
    async with stream(served, config(interim_results=True)) as call:
        await call.send(*chunks(silence(600 * RATE)))
        assert (await call.ask(1, SPECULATE)).empty
        assert decodes(served) == {}
        await say(call, spoken[SENTENCES[0]])
        answer = await call.ask(2, COMMIT)
    assert wer(SENTENCES[0], answer.text) <= 0.15


@pytest.mark.parametrize("sentence", [SENTENCES[0], SENTENCES[1]])
async def test_what_is_said_twice_is_heard_twice(served: Served, spoken: dict[str, bytes], sentence: str) -> None:
    async with stream(served) as call:
        await say(call, silence(RATE // 2) + spoken[sentence] + silence(RATE // 2) + spoken[sentence])
        heard = (await call.ask(1, COMMIT)).text
    assert wer(f"{sentence} {sentence}", heard) <= 0.15


@pytest.mark.parametrize("seed", [1, 9])
def test_a_clip_that_makes_the_decoder_loop_repeats_nothing(spoken: dict[str, bytes], seed: int) -> None:
    folder = Path(os.environ.get("ANTIPHON_MODELS_DIR", DEFAULT_DIR)).expanduser()
    model = Moonshine(folder / MOONSHINE_DIR)
    said = np.frombuffer(spoken[SENTENCES[1]], "<i2") / 32767 * 0.03
    clip = (said + np.random.default_rng(seed).normal(size=len(said)) * 0.01).astype(np.float32)
    assert find_repeat((model._decoded(clip, lambda: False) or "").split()) is not None
    assert find_repeat((model.text(clip) or "").split()) is None
