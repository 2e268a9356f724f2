"""Audio frames that cannot be taken: the caller is told."""

from ..case import ANSWER, Trial, case
from ..line import Format, Frame
from ..sounds import beep, louder

GROUP = "16.1"


def _frame(name: str, frame: Frame, reason: str) -> None:
    @case("39", GROUP, "told, and the call goes on", name=name)
    async def run(trial: Trial) -> None:
        async with trial.call() as call:
            call.phone.send(frame)
            trial.expect(await call.refused(reason), f"no antiphon.error of {reason} tells of a refused frame")
            await call.say(beep(), ANSWER)
            await call.reply()


_frame("frame_of_two_seconds", Frame(bytes(2 * 2 * 16_000), 16_000, 1), "audio_too_long")
_frame("frame_of_odd_bytes", Frame(bytes(641), 16_000, 1), "audio_odd_length")
_frame("frame_of_rate_zero", Frame(bytes(640), 0, 1), "audio_rate")
_frame("frame_of_five_channels", Frame(bytes(640), 16_000, 5), "audio_channels")


@case("39", GROUP, "told, at most once a second")
async def many_refused_frames(trial: Trial) -> None:
    """A hundred bad frames in two seconds."""
    async with trial.call() as call:
        for _ in range(100):
            call.phone.send(Frame(bytes(641), 16_000, 1))
            await call.sleep(0.02)
        await call.sleep(0.5)
        told = len(call.of_type("antiphon.error"))
    trial.expect(1 <= told <= 4, f"told {told} times of a hundred bad frames")


def _encoding(name: str, encoding: str, reason: str, rate_hz: int = 16_000) -> None:
    @case("39", GROUP, "recognised and told", name=name)
    async def run(trial: Trial) -> None:
        async with trial.call(form=Format(rate_hz, 1, encoding)) as call:
            await call.say(beep(1.5), None)
            told = await call.refused(reason)
        trial.expect(told, f"no antiphon.error of {reason} tells of {encoding} sent as PCM")


_encoding("floats_sent_as_pcm", "float32", "audio_float32")
_encoding("mulaw_sent_as_pcm", "mulaw", "audio_mu_law", 8_000)


@case("38", GROUP, "heard, without an error")
async def loud_noise_is_no_other_encoding(trial: Trial) -> None:
    """A loud caller in stereo at 44.1 kHz: proper PCM must not be refused."""
    async with trial.call(form=Format(44_100, 2)) as call:
        await call.say(louder(beep(), 9.0), ANSWER)
        await call.reply()
        trial.expect(not call.of_type("antiphon.error"), "proper PCM is refused")
