"""The rendered set of the turn-policy bench, and the moments at which it finds that a policy ends a turn."""

import json

import numpy as np
import pytest

from antiphon_bench.turns import overlaps, service
from antiphon_bench.turns.answering import Cost, cost
from antiphon_bench.turns.bench import compare, headline, table
from antiphon_bench.turns.listening import MS, Heard, Silence, Verdict
from antiphon_bench.turns.overlaps import Spoken, stopped_ms
from antiphon_bench.turns.scoring import Ended, Setting, chosen, ended, score, settings
from antiphon_bench.turns.utterances import MARK, PAUSES_S, PITCHES, rendered, sentences
from antiphon_orchestrator.turns.barge_in import BargeIn
from antiphon_orchestrator.turns.policy import FixedPause, Fused, SmartTurn

END_MS = 3000


def pause(at_ms: int, *, lasts_ms: int | None = None, text: str | None = None, **verdicts: float) -> Silence:
    """`verdicts` are "after_200=0.9": what was judged after so many ms of silence, 50 ms later."""
    judged = [Verdict(float(name.removeprefix("after_")), 50.0, value) for name, value in verdicts.items()]
    resumed = None if lasts_ms is None else (at_ms + lasts_ms) * MS
    return Silence(at_ms * MS, 96.0, resumed, judged, text, 150.0)


def turn(*silences: Silence, part: str = "scored", name: str = "a") -> Heard:
    return Heard(name, part, "", END_MS * MS, silences)


def test_what_was_heard_is_the_same_after_json() -> None:
    heard = turn(pause(1000, lasts_ms=700, text="um"), pause(END_MS, after_96=0.9))
    assert Heard.from_json(json.loads(json.dumps(heard.to_json()))) == heard


def test_no_sentence_and_no_voice_is_in_both_parts() -> None:
    tuned, scored = (set(sentences(part)) for part in ("tuned", "scored"))
    assert len(tuned) == len(scored) == 20
    assert not tuned & scored
    assert not set(PITCHES["tuned"]) & set(PITCHES["scored"])


def test_the_set_has_three_hundred_utterances_most_of_them_with_a_hesitation() -> None:
    texts = [*sentences("tuned"), *sentences("scored")]
    assert len(texts) * 2 * 4 >= 300
    assert sum(MARK in text for text in texts) > len(texts) / 2


def test_an_utterance_ends_where_its_last_stretch_does_and_is_the_same_each_time() -> None:
    stretches = [np.full(1600, 0.5, np.float32), np.full(3200, 0.5, np.float32)]
    first, second = (rendered("tuned-01-0-1", "tuned", "one / two", stretches) for _ in range(2))
    assert np.array_equal(first.pcm, second.pcm)
    loud = np.flatnonzero(np.abs(first.pcm.astype(int)) > 8000)
    assert loud[-1] == first.end - 1
    gap = np.diff(loud).max() / 16_000
    assert PAUSES_S[0] <= gap <= PAUSES_S[1]


def test_dead_air_counts_from_the_callers_end_wherever_the_pause_was_heard_to_begin() -> None:
    found = ended(turn(pause(END_MS + 40)), Setting(FixedPause(600)))
    assert found == Ended("a", 640.0, "pause")


def test_a_turn_that_is_ended_in_a_hesitation_is_cut_off() -> None:
    hesitant = turn(pause(1000, lasts_ms=700), pause(END_MS))
    assert ended(hesitant, Setting(FixedPause(600))).dead_air_ms is None
    assert ended(hesitant, Setting(FixedPause(900))).dead_air_ms == 900.0


def test_a_verdict_counts_once_it_is_known_and_by_the_settings_threshold() -> None:
    heard = turn(pause(END_MS, after_96=0.6, after_200=0.2, after_500=0.9))
    assert ended(heard, Setting(SmartTurn(), 0.5)) == Ended("a", 200.0, "verdict")
    assert ended(heard, Setting(SmartTurn(), 0.7)) == Ended("a", 560.0, "verdict")


def test_words_count_once_they_are_known() -> None:
    hanging = pause(1000, lasts_ms=800, text="I want two and", after_96=0.9)
    assert ended(turn(hanging, pause(END_MS, after_96=0.9)), Setting(SmartTurn())).dead_air_ms is None
    assert ended(turn(hanging, pause(END_MS, after_96=0.9)), Setting(Fused())).dead_air_ms == 360.0


def test_shares_and_means_have_an_interval_around_them() -> None:
    turns = [Ended("a", None, ""), *(Ended(str(ms), float(ms), "") for ms in (200, 300, 400))]
    found = score(turns)
    assert (found.cut_off, found.dead_air_ms) == (0.25, 300.0)
    assert found.cut_off_interval[0] <= 0.25 <= found.cut_off_interval[1]
    assert 200.0 <= found.dead_air_interval[0] <= 300.0 <= found.dead_air_interval[1] <= 400.0
    assert score(turns) == found


def test_the_setting_is_the_best_that_keeps_to_the_bound_or_the_nearest_to_it() -> None:
    heard = [turn(pause(1000, lasts_ms=500), pause(END_MS), part="tuned"), turn(pause(END_MS), part="tuned")]
    assert chosen("fixed-pause", heard, "cut_off", 0.0, "dead_air_ms").policy == FixedPause(600)
    assert chosen("fixed-pause", heard, "dead_air_ms", 300.0, "cut_off").policy == FixedPause(200)
    assert chosen("fixed-pause", heard, "dead_air_ms", 1.0, "cut_off").policy == FixedPause(200)


@pytest.mark.parametrize("name", ["fixed-pause", "smart-turn", "fused"])
def test_every_setting_that_is_tried_ends_every_turn(name: str) -> None:
    for setting in settings(name):
        assert ended(turn(pause(END_MS, text="and", after_96=0.1)), setting).reason != "never"


def test_the_report_has_every_policy_under_every_goal_scored_on_the_other_half() -> None:
    tuned = turn(pause(1000, lasts_ms=500), pause(END_MS, after_96=0.9, text="Yes."), part="tuned")
    scored = turn(pause(END_MS, after_96=0.9, text="Yes."), name="b")
    rows = compare([tuned, scored])
    assert [(row.policy, row.goal) for row in rows][:4] == [
        ("fixed-pause", "shipped"),
        ("fixed-pause", "300 ms"),
        ("fixed-pause", "600 ms"),
        ("fixed-pause", "5% cut off"),
    ]
    assert {row.policy for row in rows} == {"fixed-pause", "smart-turn", "fused"}
    assert all(turn.name == "b" for row in rows for turn in row.turns)
    assert table(rows).row_count == 12
    told = overlaps.score([], BargeIn())
    assert headline(rows, told).startswith(
        "BENCH turns scored=1 fixed_pause_shipped_cut=0.0 fixed_pause_shipped_ms=600 "
    )


def test_a_pause_that_is_answered_at_once_costs_a_call_more_unless_the_turn_ends_with_it() -> None:
    once = turn(pause(END_MS, text="Yes.", after_96=0.9))
    assert cost([once], Setting(Fused())) == Cost(1, 1.0, 0.0)
    dropped = turn(pause(1000, lasts_ms=400, text="I think"), pause(END_MS, text="I think so.", after_96=0.9))
    assert cost([dropped], Setting(Fused())) == Cost(1, 2.0, 1.0)


def test_a_pause_whose_words_or_sound_ask_for_more_costs_nothing() -> None:
    held = turn(pause(1000, lasts_ms=400, text="I think and"), pause(END_MS, text="Yes.", after_96=0.9))
    judged = turn(pause(1000, lasts_ms=400, text="I think", after_96=0.1), pause(END_MS, text="Yes.", after_96=0.9))
    assert cost([held], Setting(Fused())).drops_per_turn == 0
    # Its words are known 4 ms after the verdict.
    assert cost([judged], Setting(Fused())).drops_per_turn == 0


def test_the_budget_bounds_the_calls_of_a_conversation() -> None:
    hesitant = turn(*(pause(at, lasts_ms=400, text="I think") for at in (500, 1000, 1500, 2000)), pause(END_MS))
    assert cost([hesitant] * 40, Setting(Fused())).calls_per_turn <= 1.75 + 1 / 40
    assert cost([hesitant], Setting(Fused()), calls_per_turn=1.0) == Cost(1, 1.0, 0.0)


def over(stops: bool, *silences: Silence, name: str = "a", onset_ms: int = 300) -> Spoken:
    return Spoken(name, stops, onset_ms * MS, silences)


def test_an_overlap_is_stopped_by_its_words_or_its_length_and_not_by_a_listeners() -> None:
    assert stopped_ms(over(True, pause(600, text="Wait.")), BargeIn()) == 460  # known 150 ms after 600
    assert stopped_ms(over(True, pause(2000)), BargeIn()) == 800  # 0.6 s, known for sure while it goes on
    assert stopped_ms(over(False, pause(600, text="Right.")), BargeIn()) is None
    assert stopped_ms(over(False, pause(600)), BargeIn()) is None
    assert stopped_ms(Spoken("a", True, None, ()), BargeIn()) is None
    again = over(True, pause(600, lasts_ms=700, text="Right."), pause(1600, text="Right, but wait."))
    assert stopped_ms(again, BargeIn()) is not None


def test_what_is_missed_and_what_stops_the_agent_wrongly_are_shares_of_their_own_kind() -> None:
    told = overlaps.score(
        [
            over(True, pause(600, text="Wait."), name="a"),
            over(True, pause(600, text="Right."), name="b"),
            over(False, pause(600, text="Right."), name="c"),
            over(False, pause(600, text="Write."), name="d"),
            over(False, pause(600), name="e"),
        ],
        BargeIn(),
    )
    assert (told.missed, told.false_stops, told.stop_ms) == (0.5, pytest.approx(1 / 3), 460)
    assert told.missed_interval == (0.0, 1.0)


def test_an_overlap_is_the_same_after_json() -> None:
    heard = over(True, pause(600, lasts_ms=300, text="Wait.", after_96=0.5))
    assert Spoken.from_json(json.loads(json.dumps(heard.to_json()))) == heard


def verdict(speaker: int, probability: float, ms: float, silence_ms: int = 96) -> service.Verdict:
    return service.Verdict(speaker, 16_000, silence_ms, probability, ms)


def level(max_batch: int, *verdicts: service.Verdict) -> service.Level:
    return service.Level(2, max_batch, 10.0, 0.5, 1.0, 1, verdicts)


def test_verdicts_differ_when_the_batch_sizes_disagree_on_the_same_pause() -> None:
    one = level(1, verdict(0, 0.9, 40.0), verdict(1, 0.2, 40.0), verdict(1, 0.4, 40.0, silence_ms=200))
    eight = level(8, verdict(0, 0.905, 50.0), verdict(1, 0.7, 50.0))
    assert service.differing([one, eight]) == (1, 2)


def test_the_service_benchs_line_has_each_level_and_none_where_no_verdict_came() -> None:
    line = service.headline([level(1, verdict(0, 0.9, 40.0), verdict(0, 0.8, 60.0, 200)), level(8)])
    assert line.startswith(
        "BENCH turn-service p50_ms_2_batch_1=40.0 p99_ms_2_batch_1=60.0 cores_2_batch_1=0.5 p50_ms_2_batch_8=None "
    )
    assert service.table([level(1), level(8)]).row_count == 2


def test_each_speaker_begins_at_another_sample_of_the_same_speech() -> None:
    first, second = service.speech(2, 80.0)
    assert len(first) == len(second) == 80 * 16_000 * 2
    start = first.find(second[: 10 * 16_000 * 2])
    assert start > 0
    assert start % 2 == 0  # bytes of a sample


@pytest.mark.slow
async def test_the_service_bench_hears_verdicts_of_every_speaker_in_real_time(tmp_path) -> None:
    found = await service.level(2, 4, 6.0, {}, tmp_path / "turn.log")
    assert found.pauses > 0
    assert {each.speaker for each in found.verdicts} == {0, 1}
    assert all(each.ms > 0 for each in found.verdicts)
