"""Who takes the next step, and when frames become sound: no model needed."""

from typing import Any

import pytest

from antiphon_tts.backends import Mode
from antiphon_tts.backends.magpie.prompt import Drawing, Prompt
from antiphon_tts.backends.magpie.request import Request
from antiphon_tts.backends.magpie.schedule import Limits, choose
from antiphon_tts.backends.magpie.windows import Pace, window

FRAME_S = 0.05
NOW = 100.0
PROMPT = Prompt((1, 2, 3), 0, Drawing(0.7, 80, 0, "argmax_any"))


def request(slot: int = -1, *, deadline_s: float = 0.0, lead_s: float | None = None) -> Request:
    """One that waits, is read but unheard, or is heard and has so much audio ahead."""
    made = Request(PROMPT, Mode.HYBRID, deadline_s, None, slot)  # type: ignore[arg-type]
    if lead_s is not None:
        made.heard = made.frames = 10
        made.heard_from_s = NOW + lead_s - 10 * FRAME_S
    return made


def turn(waiting: list[Request], live: list[Request], free: int = 9, **limits: Any) -> tuple[list[Request], ...]:
    chosen = choose(waiting, live, free, Limits(**limits), now_s=NOW, frame_s=FRAME_S)
    return list(chosen.newcomers), list(chosen.rows)


def test_with_nothing_to_do_nothing_is_done() -> None:
    assert turn([], []) == ([], [])


def test_who_waits_in_silence_comes_first_then_who_has_least() -> None:
    new, short, shorter = request(0), request(1, lead_s=0.4), request(2, lead_s=0.1)
    assert turn([], [short, shorter, new]) == ([], [new, shorter, short])
    assert turn([], [short, shorter, new], batch=2) == ([], [new, shorter])


def test_who_is_far_ahead_yields_to_who_is_not_and_only_then() -> None:
    short, ahead = request(0, lead_s=0.5), request(1, lead_s=3.0)
    assert turn([], [ahead, short]) == ([], [short])
    assert turn([], [ahead]) == ([], [ahead])


def test_while_somebody_waits_in_silence_a_smaller_lead_is_enough_to_yield() -> None:
    new, comfortable, hungry = request(0), request(1, lead_s=1.0), request(2, lead_s=0.2)
    assert turn([], [comfortable, hungry, new]) == ([], [new, hungry])


def test_newcomers_are_read_in_the_order_of_their_need_as_far_as_there_are_slots() -> None:
    now, soon, later = request(), request(deadline_s=NOW + 0.1), request(deadline_s=NOW + 0.3)
    assert turn([later, soon, now], [])[0] == [now, soon, later]
    assert turn([later, soon, now], [], free=1)[0] == [now]
    assert turn([later, soon, now], [], prefill=2)[0] == [now, soon]


def test_a_later_segment_with_time_does_not_hold_up_a_first_one() -> None:
    later, new = request(deadline_s=NOW + 5), request(0)
    assert turn([later], [new]) == ([], [new])
    assert turn([later], []) == ([later], [])


def test_those_without_a_slot_hold_up_nobody() -> None:
    waiting, ahead = request(), request(0, lead_s=9.0)
    assert turn([waiting], [ahead], free=0) == ([], [ahead])


PACE = Pace(frame_s=0.05, step_s=0.008, sound_s=0.002, back=10)


@pytest.mark.parametrize("mode", list(Mode))
def test_at_the_end_everything_is_heard(mode: Mode) -> None:
    assert window(mode, fresh=7, ended=True, first=2, lead_s=9, pace=PACE) == 7
    assert window(mode, fresh=0, ended=True, first=2, lead_s=None, pace=PACE) == 0


def test_batch_waits_and_stream_does_not() -> None:
    assert window(Mode.BATCH, fresh=99, ended=False, first=2, lead_s=None, pace=PACE) is None
    assert window(Mode.STREAM, fresh=1, ended=False, first=2, lead_s=9, pace=PACE) is None
    assert window(Mode.STREAM, fresh=2, ended=False, first=2, lead_s=9, pace=PACE) == 2


@pytest.mark.parametrize(("lead_s", "wanted"), [(None, 2), (-1.0, 2), (0.0, 2), (0.142, 5), (1.042, 50)])
def test_hybrid_waits_for_what_comes_within_half_of_the_lead(lead_s: float | None, wanted: int) -> None:
    assert window(Mode.HYBRID, fresh=wanted, ended=False, first=2, lead_s=lead_s, pace=PACE) == wanted
    assert window(Mode.HYBRID, fresh=wanted - 1, ended=False, first=2, lead_s=lead_s, pace=PACE) is None


@pytest.mark.parametrize(
    ("step_s", "sound_s", "least"),
    [(0.01, 0.002, 1), (0.01, 0.015, 6), (0.03, 0.01, 10), (0.04, 0.009, 32), (0.06, 0, 32)],
)
def test_no_window_is_smaller_than_what_can_be_kept_up(step_s: float, sound_s: float, least: int) -> None:
    pace = Pace(0.05, step_s, sound_s, back=10)
    assert pace.least == pytest.approx(least, abs=1)
    if pace.least < 32:
        assert pace.least * 0.05 >= pace.least * (step_s + sound_s) + 10 * sound_s - 1e-9
    wanted = max(2, pace.least)
    for mode in (Mode.STREAM, Mode.HYBRID):
        assert window(mode, fresh=wanted, ended=False, first=2, lead_s=0.0, pace=pace) == wanted
        assert window(mode, fresh=wanted - 1, ended=False, first=2, lead_s=0.0, pace=pace) is None
    assert window(Mode.HYBRID, fresh=min(wanted, 8), ended=False, first=2, lead_s=None, pace=pace) == min(wanted, 8)


def test_a_lead_is_of_what_is_heard_without_the_silence_that_is_not_passed_on() -> None:
    made = request(0, lead_s=1.0)
    made.frames += 4
    assert made.lead_s(NOW, FRAME_S) == pytest.approx(1.2)
    assert made.lead_s(NOW, FRAME_S, decoded=False) == pytest.approx(1.0)
    made.silent_s = 0.3
    assert made.lead_s(NOW, FRAME_S, decoded=False) == pytest.approx(0.7)


def test_a_generation_ends_where_the_model_ends_it_or_at_its_bounds() -> None:
    ended = request()
    ended.stepped(3, 2, 2, 100)
    assert (ended.frames, ended.attended, ended.ended) == (2, [3, 3], False)
    ended.stepped(4, 1, 2, 100)
    assert (ended.frames, ended.attended, ended.ended) == (3, [3, 3, 4], True)
    forced = Request(Prompt((1,), 0, PROMPT.drawing, frames=5), Mode.BATCH, 0.0, None)  # type: ignore[arg-type]
    for _ in range(3):
        forced.stepped(1, 2, 2, 100)
    assert (forced.frames, forced.ended) == (5, True)
    longest = request()
    longest.stepped(1, 2, 2, 1)
    assert longest.ended
