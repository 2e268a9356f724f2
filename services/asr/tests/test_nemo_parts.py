"""The parts of the backend `nemo` that need no model: arithmetic, echoes, words."""

import pytest

pytest.importorskip("numpy")

import itertools

from antiphon_asr.backends import Word
from antiphon_asr.backends.nemo.context import HOP, RATE_HZ, Context
from antiphon_asr.backends.nemo.tokens import Echo, Token, before, words

CONTEXTS = [Context(70, 0), Context(70, 1), Context(56, 3), Context(70, 6), Context(70, 13)]
MS = 16


@pytest.mark.parametrize(
    ("context", "ms", "first_mel", "next_mel"),
    [
        (c, ms, first, later)
        for c, ms, first, later in zip(
            CONTEXTS, (80, 160, 320, 560, 1120), (9, 9, 25, 49, 105), (8, 16, 32, 56, 112), strict=True
        )
    ],
)
def test_a_context_takes_what_nemos_own_configuration_says(
    context: Context, ms: int, first_mel: int, next_mel: int
) -> None:
    assert (context.ms, context.first_mel, context.next_mel) == (ms, first_mel, next_mel)
    assert context.mel_after(3) == first_mel + 2 * next_mel
    # One encoder frame for each eight mel frames, the first one included.
    assert context.frames_after(5) == (context.mel_after(5) - 1) // 8 + 1


@pytest.mark.parametrize("context", CONTEXTS)
def test_steps_within_is_the_inverse_of_samples_after(context: Context) -> None:
    for steps in range(1, 40):
        assert context.steps_within(context.samples_after(steps)) == steps
        assert context.steps_within(context.samples_after(steps) - 1) == steps - 1


# The silence behind an end, in milliseconds: least and most over all ends.
PADDING_MS = {80: (80, 160), 160: (160, 320), 320: (160, 480), 560: (160, 720), 1120: (160, 1280)}


@pytest.mark.parametrize("context", CONTEXTS)
def test_an_end_is_padded_to_the_edge_of_a_step(context: Context) -> None:
    silences, extra = [], []
    for end in range(5 * RATE_HZ, 5 * RATE_HZ + 2 * context.next_mel * HOP):
        steps = context.steps_to_flush(end)
        silences.append(context.samples_after(steps) - end)
        extra.append(steps - context.steps_within(end))
    least, most = PADDING_MS[context.ms]
    assert least * MS <= min(silences) < (least + 1) * MS
    assert (most - 1) * MS < max(silences) <= most * MS
    assert set(extra) <= {1, 2}


def test_the_seeds_padding_is_right_for_the_small_contexts_only() -> None:
    # (R + 1) * shift mel frames, where shift has R + 1 in it already.
    seeds_ms = {context.ms: (context.right + 1) * context.next_mel * 10 for context in CONTEXTS if context.left == 70}
    assert seeds_ms == {80: 80, 160: 320, 560: 3920, 1120: 15_680}
    for ms, padding in seeds_ms.items():
        assert (padding <= PADDING_MS[ms][1]) is (ms <= 160)


def tokens(*pairs: tuple[int, int]) -> list[Token]:
    return [Token(id, frame) for id, frame in pairs]


def test_what_a_flush_has_said_is_no_part_of_the_next_utterance() -> None:
    echo = Echo(end_frame=50, said=(7, 8), last_frame=54)
    late = tokens((7, 49), (8, 52), (9, 53), (7, 60))
    assert echo.without(late) == tokens((9, 53), (7, 60))


def test_a_token_that_no_flush_could_have_said_is_lost_from_no_utterance() -> None:
    assert Echo(50, (), 54).without(tokens((3, 48), (4, 50))) == tokens((3, 48), (4, 50))
    assert Echo(50, (7,), 54).without(tokens((7, 47), (3, 48))) == tokens((3, 48))


def test_the_same_word_again_is_new() -> None:
    echo = Echo(end_frame=50, said=(7,), last_frame=54)
    assert echo.without(tokens((7, 51), (7, 53))) == tokens((7, 53))
    assert echo.without(tokens((7, 55))) == tokens((7, 55))


def test_a_token_from_before_the_end_is_dropped_even_if_the_flush_did_not_say_it() -> None:
    assert Echo(50, (7,), 54).without(tokens((3, 48), (4, 50))) == tokens((4, 50))


def test_growing_tokens_never_change_what_was_kept() -> None:
    echo = Echo(end_frame=50, said=(7, 8, 9), last_frame=58)
    stream = tokens((8, 49), (1, 51), (9, 52), (7, 57), (9, 60))
    kept = [echo.without(stream[:count]) for count in range(len(stream) + 1)]
    assert all(longer[: len(shorter)] == shorter for shorter, longer in itertools.pairwise(kept))


PIECES = {1: "▁how", 2: "▁a", 3: "re", 4: "▁you", 5: "?"}


def spelled(ids: list[int]) -> str:
    return "".join(PIECES[id] for id in ids).replace("▁", " ").strip()


def begins(id: int) -> bool:
    return PIECES[id].startswith("▁")


def test_a_word_that_is_being_said_at_the_end_is_finished() -> None:
    heard = tokens((1, 2), (2, 8), (3, 10), (4, 12))
    assert before(heard, 9, begins) == 3
    assert before(heard, 8, begins) == 1
    assert before(heard, 0, begins) == 0
    assert before(tokens((1, 2), (3, 30)), 9, begins) == 1


def test_words_begin_with_their_first_piece_and_are_as_sure_as_their_least_sure() -> None:
    heard = [Token(1, 2, 0.9), Token(2, 8, 0.8), Token(3, 10, 0.5), Token(4, 12, 0.7), Token(5, 13, 0.95)]
    assert words(heard, spelled, begins, 1280) == (
        Word("how", 2 * 1280, 3 * 1280, 0.9),
        Word("are", 8 * 1280, 11 * 1280, 0.5),
        Word("you?", 12 * 1280, 14 * 1280, 0.7),
    )
    assert words([], spelled, begins, 1280) == ()
