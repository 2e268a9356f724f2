"""Remains of recorded calls."""

import asyncio
import stat
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile as sf

from ..case import ANSWER, Trial, case
from ..sounds import beep

GROUP = "16.5"
# The runner replaces it by a folder of the case's own.
RECORDED: Mapping[str, str] = {"RECORD_DIR": "{recordings}"}


async def _files(trial: Trial, within_s: float = 3.0) -> list[Path]:
    """The recordings, once there are any."""
    for _ in range(round(within_s / 0.1)):
        if found := [
            path for path in trial.place.recordings.rglob("*") if path.is_file() and path.stat().st_size > 100
        ]:
            await asyncio.sleep(0.3)
            return found
        await asyncio.sleep(0.1)
    return []


@case("44", GROUP, "SIGKILL loses at most 5 s", settings=RECORDED, limit_s=30.0)
async def recording_survives_kill(trial: Trial) -> None:
    """The orchestrator dies 8 s into a call."""
    async with trial.call() as call:
        await call.say(beep(), "")
        await call.reply()
        await call.sleep(max(0.0, 8.0 - call.now))
        lasted_s = call.until_s = call.now
        await trial.place.kill()
    files = await _files(trial)
    trial.expect(files, "no recording is left")
    for path in files[:1]:
        try:
            samples, rate = sf.read(str(path), dtype="float32", always_2d=True)
        except sf.LibsndfileError as error:
            trial.expect(False, f"the recording is not playable: {error}")
            return
        trial.expect(len(samples) / rate >= lasted_s - 6.0, f"{len(samples) / rate:.1f} s of {lasted_s:.1f} s are left")


@case("44", GROUP, "0600 in a 0700 folder", settings=RECORDED)
async def recording_is_private(trial: Trial) -> None:
    """The modes of a recording and of its folder."""
    async with trial.call() as call:
        await call.say(beep(0.4), "")
        await call.reply()
    files = await _files(trial)
    trial.expect(files, "no recording is left")
    for path in files:
        modes = stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)
        trial.expect(modes == (0o600, 0o700), f"the modes are {modes[0]:o} in {modes[1]:o}")


@case("44", GROUP, "the sides stay aligned", settings=RECORDED)
async def recording_is_aligned_over_a_gap(trial: Trial) -> None:
    """The caller sends nothing for 3 s, then asks; in the file the answer is as late as it was."""
    async with trial.call() as call:
        await call.sleep(0.5)
        call.line.muted = True
        await call.sleep(3.0)
        call.line.muted = False
        await call.sleep(0.4)
        await call.say(beep(), ANSWER)
        await call.reply()
        lasted_s, asked_s = call.now, call.owed[-1].at_s
    files = await _files(trial)
    trial.expect(files, "no recording is left")
    for path in files[:1]:
        samples, rate = sf.read(str(path), dtype="float32", always_2d=True)
        loud = np.flatnonzero(np.abs(samples[:, 0]) > 0.02)
        trial.expect(abs(len(samples) / rate - lasted_s) < 1.0, f"{len(samples) / rate:.1f} s of {lasted_s:.1f} s")
        end_s = (loud[-1] if len(loud) else 0) / rate
        trial.expect(abs(end_s - asked_s) < 0.7, f"the words end at {end_s:.2f} s, not {asked_s:.2f} s")


@case("44", GROUP, "refused at start", private=True)
async def folder_that_cannot_be_written(trial: Trial) -> None:
    """The folder for recordings is a file."""
    said = await trial.place.refusal({"RECORD_DIR": "/proc/version"})
    trial.expect(said is not None, "an orchestrator starts that cannot record")
    trial.expect(said is None or "record_dir" in said, f"it does not start, but names no record_dir: {said!r}")
