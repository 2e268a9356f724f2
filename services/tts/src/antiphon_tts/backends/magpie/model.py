"""Magpie's decoder over slots: any streams at any frame in one step, with guidance, prior and sampling for each.

NeMo's own loop keeps its cache in the modules, one generation at a time, and projects every position at every step.
This one runs the same modules on the newest position, over keys and values of its own. A step looks at the host once:
when its result is read.
"""

from collections.abc import Sequence
from typing import Any

import torch
from nemo.collections.tts.modules.magpietts_modules import SpecialAudioToken
from torch.nn import functional

from .alignment import attend, prior
from .decoder import CachedDecoder
from .drawing import draw, random_numbers
from .prompt import END_RULES, Prompt, Stepped
from .slots import Shape, Slots

# Batches attend to a multiple of so many positions, and of so many text tokens, so that there are few shapes.
POSITIONS, TOKENS = 128, 64
SCOPES = {"any": 0, "all": 1, "zero_cb": 2}


class SlotModel:
    """A NeMo MagpieTTSModel with slots. Used by one thread; see `loading` for what kinds of model there may be.

    With `buckets` all shapes are fixed, as compiled steps and CUDA graphs want them: batches are filled up to one of
    these sizes, and attend to as much as there can be. `compiled` is a mode of torch.compile, "" for none.
    """

    def __init__(self, magpie: Any, slots: Slots, *, buckets: Sequence[int] = (), compiled: str = "") -> None:
        self.magpie = magpie
        self.slots = slots
        self.frames_per_step: int = magpie.frame_stacking_factor
        self._buckets = tuple(buckets)
        self._options = magpie.inference_parameters
        self._decoder = CachedDecoder(magpie, slots)
        self._context = int(magpie._baked_embedding_T)
        self._forbidden = self._tokens(SpecialAudioToken.get_forbidden_tokens(magpie.codebook_size))
        self._table = torch.cat([embedding.weight for embedding in magpie.audio_embeddings]).detach()
        each = magpie.num_all_tokens_per_codebook
        self._offsets = torch.arange(slots.shape.codes, device=slots.device) * each
        self._advance = torch.compile(self._advanced, mode=compiled) if compiled else self._advanced

    @torch.inference_mode()
    def prefill(self, slots: Sequence[int], prompts: Sequence[Prompt]) -> list[Stepped]:
        """Reads the prompts into free slots, and makes the first frames of each."""
        magpie, state = self.magpie, self.slots
        for slot, prompt in zip(slots, prompts, strict=True):
            self._admit(slot, prompt)
        lengths = torch.tensor([len(prompt.tokens) for prompt in prompts])
        text = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            text[row, : len(prompt.tokens)] = torch.tensor(prompt.tokens)
        speakers = torch.tensor([prompt.speaker for prompt in prompts], device=state.device)
        batch = {"text": text.to(state.device), "text_lens": lengths.to(state.device), "speaker_indices": speakers}
        rows = torch.tensor(list(slots), device=state.device)
        hidden, scores = self._decoder.read(magpie.prepare_context_tensors(batch), self._first(len(prompts)), rows)
        return self._told(self._emitted(rows, hidden, scores), len(prompts))

    @torch.inference_mode()
    def step(self, slots: Sequence[int], positions: int, tokens: int) -> list[Stepped]:
        """The next frames of the slots. `positions` is the most that one of them has, `tokens` its longest text."""
        shape = self.slots.shape
        length = min(_rounded(positions + 1, POSITIONS), shape.positions)
        width = min(_rounded(tokens, TOKENS), shape.tokens)
        size = len(slots)
        if self._buckets:
            size = next((size for size in self._buckets if size >= len(slots)), len(slots))
            length, width = shape.positions, shape.tokens
        padded = [*slots, *[self.slots.count] * (size - len(slots))]
        rows = torch.tensor(padded).to(self.slots.device, non_blocking=True)
        return self._told(self._advance(rows, length, width), len(slots))

    def positions(self, steps: int) -> int:
        """What a slot has after so many steps."""
        return self._context + steps

    def is_lost(self, error: Exception) -> bool:
        """Whether the device is gone for good: a CUDA error stays until the process ends."""
        return isinstance(error, torch.AcceleratorError)

    def _admit(self, slot: int, prompt: Prompt) -> None:
        state, drawing = self.slots, prompt.drawing
        state.position[slot] = state.step[slot] = 0
        state.length[slot] = len(prompt.tokens)
        state.attended[slot] = 1
        state.counts[slot] = 0
        state.prior[slot] = 1.0
        state.temperature[slot], state.top_k[slot] = drawing.temperature, drawing.top_k
        kind = drawing.end_rule.removeprefix("argmax_").removeprefix("or_multinomial_")
        state.end_scope[slot], state.end_drawn[slot] = SCOPES[kind], "multinomial" in drawing.end_rule
        state.endless[slot] = prompt.frames > 0
        shape = state.shape
        state.uniforms[slot] = random_numbers(drawing.seed, shape.steps, shape.codes).to(state.device)

    def _first(self, rows: int) -> torch.Tensor:
        shape = self.slots.shape
        codes = torch.full((rows, shape.codebooks, shape.frames), self.magpie.audio_bos_id, device=self.slots.device)
        return self._embedded(codes)

    def _embedded(self, codes: torch.Tensor) -> torch.Tensor:
        """What the decoder is given of the codes (rows, codebooks, frames): their mean embedding, (rows, 1, width)."""
        return functional.embedding(codes.transpose(1, 2).flatten(1) + self._offsets, self._table).mean(1)[:, None]

    def _advanced(self, rows: torch.Tensor, length: int, width: int) -> torch.Tensor:
        embedded = self._embedded(self.slots.codes[rows])
        hidden, scores = self._decoder.step(embedded, rows, length, width)
        return self._emitted(rows, hidden, scores)

    def _emitted(self, rows: torch.Tensor, hidden: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Draws the step's codes from `hidden` (branches x rows, width), and keeps what the next step needs.

        Returns (rows, 2): the text token attended to, and how many of the frames are speech.
        """
        state, shape = self.slots, self.slots.shape
        step = state.step[rows]
        endless = state.endless[rows] | (step * shape.frames < self._options.min_generated_frames)
        likeliest = self._without(self._guided(self.magpie.final_proj(hidden)), endless, shape.codes).argmax(2)
        drawn = self._draw(hidden, rows, step, endless)
        frames = self._frames(likeliest, drawn, rows)
        attended = self._follow(rows, scores, step)
        codes = drawn.view(-1, shape.frames, shape.codebooks).transpose(1, 2)
        # Nothing above writes what it reads: a step that fails can be run again.
        state.codes[rows] = codes
        at = (step * shape.frames)[:, None] + torch.arange(shape.frames, device=rows.device)
        state.history[rows[:, None], :, at] = codes.transpose(1, 2).to(torch.int16)
        state.position[rows] = (state.position[rows] + 1).clamp(max=shape.positions - 1)
        state.step[rows] = (step + 1).clamp(max=shape.steps - 1)
        return torch.stack([attended, frames], 1)

    def _draw(
        self, hidden: torch.Tensor, rows: torch.Tensor, step: torch.Tensor, endless: torch.Tensor
    ) -> torch.Tensor:
        """One code after the other with the local transformer, (rows, codes): frame by frame, codebook by codebook."""
        state, local = self.slots, self.magpie._lt_helper
        uniforms = state.uniforms[rows, step]
        heat, top_k = state.temperature[rows], state.top_k[rows]
        inputs = local.local_transformer_in_projection(hidden[:, None])
        drawn: list[torch.Tensor] = []
        for number in range(state.shape.codes):
            mask = torch.ones(inputs.shape[:2], device=inputs.device, dtype=inputs.dtype)
            latest = local.local_transformer(inputs, mask)["output"][:, -1]
            out = local.local_transformer_out_projections[number](local.local_transformer_audio_out_projection(latest))
            logits = self._without(self._guided(out), endless, 1)[:, 0]
            drawn.append(draw(logits, uniforms[:, number], heat, top_k))
            heard = local.audio_in_projection(local.audio_embeddings[number](drawn[-1]))[:, None]
            heard = local.local_transformer_in_projection(heard).repeat(state.shape.branches, 1, 1)
            inputs = torch.cat([inputs, heard], 1)
        return torch.stack(drawn, 1)

    def _frames(self, likeliest: torch.Tensor, drawn: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """How many of the step's frames come before the end of speech, by each row's rule."""
        state, shape = self.slots, self.slots.shape
        end = likeliest == self.magpie.audio_eos_id, drawn == self.magpie.audio_eos_id
        scope, use_drawn = state.end_scope[rows][:, None], state.end_drawn[rows][:, None]

        def by_frame(is_end: torch.Tensor) -> torch.Tensor:
            each = is_end.view(-1, shape.frames, shape.codebooks)
            choices = torch.stack([each.any(2), each.all(2), each[:, :, 0]], 2)
            return choices.gather(2, scope[:, :, None].expand(-1, shape.frames, 1))[:, :, 0]

        ended = by_frame(end[0]) | (by_frame(end[1]) & use_drawn)
        return (ended.long().cumsum(1) == 0).sum(1)

    def _follow(self, rows: torch.Tensor, scores: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        """Where in its text each row is, by `scores` (rows, tokens); writes what the next step's attention is to be."""
        state, options = self.slots, self._options
        width, window = scores.shape[1], options.attention_prior_lookahead_window
        counts, lengths = state.counts[rows, :width], state.length[rows]
        attended = attend(scores.float(), state.attended[rows], counts, lengths, window)
        counts = counts.scatter_add(1, attended[:, None], torch.ones_like(attended)[:, None])
        near = prior(attended, counts, lengths, window, options.attention_prior_epsilon)
        began = (step * self.slots.shape.frames >= options.start_prior_after_n_audio_steps)[:, None]
        began = began & options.apply_attention_prior
        state.counts[rows, :width] = torch.where(began, counts, state.counts[rows, :width])
        state.prior[rows, :width] = torch.where(began, near, 1.0)
        state.attended[rows] = torch.where(began[:, 0], attended, state.attended[rows])
        return attended

    def _guided(self, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.float()
        if self.slots.shape.branches == 1:
            return logits
        scale = self._options.cfg_scale
        conditional, unconditional = logits.chunk(2)
        return scale * conditional + (1.0 - scale) * unconditional

    def _without(self, logits: torch.Tensor, endless: torch.Tensor, codebooks: int) -> torch.Tensor:
        """(rows, codebooks, tokens) without what may not be drawn."""
        logits = logits.view(len(endless), codebooks, -1).index_fill(2, self._forbidden, float("-inf"))
        end = torch.arange(logits.shape[2], device=logits.device) == self.magpie.audio_eos_id
        return logits.masked_fill(endless[:, None, None] & end, float("-inf"))

    def _told(self, result: torch.Tensor, rows: int) -> list[Stepped]:
        """The step's one look at the host."""
        return [Stepped(attended, frames) for attended, frames in result[:rows].tolist()]

    def _tokens(self, tokens: Sequence[int]) -> torch.Tensor:
        return torch.tensor(list(tokens), device=self.slots.device)


def shape_of(magpie: Any, *, guidance: bool, tokens: int) -> Shape:
    """What the model needs to remember of a stream whose text has at most so many tokens."""
    layer = magpie.decoder.layers[0]
    steps = magpie.inference_parameters.max_decoder_steps // magpie.frame_stacking_factor
    return Shape(
        layers=len(magpie.decoder.layers),
        branches=2 if guidance else 1,
        heads=layer.self_attention.n_heads,
        head_width=layer.self_attention.d_head,
        text_heads=layer.cross_attention.n_heads,
        text_head_width=layer.cross_attention.d_head,
        positions=int(magpie._baked_embedding_T) + 1 + steps,
        tokens=tokens,
        steps=steps,
        codebooks=magpie.num_audio_codebooks,
        frames=magpie.frame_stacking_factor,
    )


def default_rule(magpie: Any) -> str:
    rule = str(magpie.inference_parameters.eos_detection_method)
    return rule if rule in END_RULES else END_RULES[0]


def _rounded(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
