"""The layers of NeMo's Magpie decoder on one new position a row, over the slots' keys and values."""

from typing import Any

import torch
from torch.nn import functional

from .slots import Slots


class CachedDecoder:
    """`read` runs NeMo's own decoder over a new stream's context; `step` its modules over the newest position."""

    def __init__(self, magpie: Any, slots: Slots) -> None:
        self._magpie = magpie
        self._decoder = magpie.decoder
        self._slots = slots
        options = magpie.inference_parameters
        layers = range(len(self._decoder.layers))
        self._guided = set(layers if options.apply_prior_to_layers is None else options.apply_prior_to_layers)
        wanted = layers if options.estimate_alignment_from_layers is None else options.estimate_alignment_from_layers
        self._aligned = [layer for layer in wanted if layer in magpie.transcript_decoder_layers]

    def read(self, context: Any, first: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Fills the rows' slots from a context of NeMo's; what `step` returns, for the position of `first`.

        `first` is (rows, 1, width), what comes before the first frame.
        """
        magpie, slots = self._magpie, self._slots
        voice, mask = context.additional_decoder_input, context.additional_decoder_mask.bool()
        text, text_mask = context.cond, context.cond_mask.bool()
        inputs = torch.cat([voice, first.to(voice.dtype)], 1)
        heard = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        if slots.shape.branches == 2:
            no_text, no_text_mask, no_voice, no_voice_mask, _ = magpie.prepare_dummy_cond_for_cfg(
                text, text_mask, voice, mask
            )
            inputs = torch.cat([inputs, torch.cat([no_voice, inputs[:, -1:]], 1)])
            heard = torch.cat([heard, torch.cat([no_voice_mask.bool(), heard[:, -1:]], 1)])
            text, text_mask = torch.cat([text, no_text]), torch.cat([text_mask, no_text_mask.bool()])
        self._decoder.reset_cache(use_cache=True)
        try:
            output = self._decoder(inputs, heard, cond=text, cond_mask=text_mask)
            self._keep(slots.both(rows), heard, text_mask)
        finally:
            # NeMo's other methods would go on with it.
            self._decoder.reset_cache(use_cache=False)
        slots.position[rows] = inputs.shape[1] - 1
        attention = [layer["cross_attn_probabilities"][0][: len(rows), :, -1] for layer in output["attn_probabilities"]]
        return output["output"][:, -1], self._scores(attention)

    def _keep(self, rows: torch.Tensor, heard: torch.Tensor, text_mask: torch.Tensor) -> None:
        slots, positions, tokens = self._slots, heard.shape[1], text_mask.shape[1]
        slots.known[rows] = False
        slots.known[rows, :positions] = heard
        slots.text_known[rows] = False
        slots.text_known[rows, :tokens] = text_mask
        for number, layer in enumerate(self._decoder.layers):
            own, cross = layer.self_attention.cache, layer.cross_attention.cache
            slots.keys[number, rows, :, :positions] = own["self_k"].transpose(1, 2)
            slots.values[number, rows, :, :positions] = own["self_v"].transpose(1, 2)
            slots.text_keys[number, rows, :, :tokens] = cross["cross_k"].transpose(1, 2)
            slots.text_values[number, rows, :, :tokens] = cross["cross_v"].transpose(1, 2)

    def step(
        self, embedded: torch.Tensor, rows: torch.Tensor, length: int, width: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One position more: `embedded` is (rows, 1, width of the model), what the last frames were.

        Attends to at most `length` positions and `width` text tokens. Returns the hidden state of all branches,
        (branches x rows, width of the model), and what the rows attend to, (rows, `width`).
        """
        slots = self._slots
        both = slots.both(rows)
        at = slots.position[rows].repeat(slots.shape.branches)
        slots.known[both, at] = torch.ones_like(at, dtype=torch.bool)
        known = slots.known[both, :length][:, None, None]
        text_known = slots.text_known[both, :width][:, None, None]
        near = slots.prior[rows, :width].repeat(slots.shape.branches, 1)[:, None, None]
        x = embedded.to(slots.keys.dtype).repeat(slots.shape.branches, 1, 1)
        if self._decoder.position_embeddings is not None:
            x = x + self._decoder.position_embeddings(at)[:, None]
        attention = []
        for number, layer in enumerate(self._decoder.layers):
            x = x + self._listen(layer, number, layer.norm_self(x), (both, at, known))
            guide = near if number in self._guided else None
            heard, probabilities = self._look(layer, number, layer.norm_xattn_query(x), (both, text_known, guide))
            attention.append(probabilities[: len(rows), :, 0])
            x = x + heard
            x = x + self._feed_forward(layer, layer.norm_pos_ff(x))
        return self._decoder.norm_out(x)[:, 0], self._scores(attention)

    def _listen(
        self, layer: Any, number: int, x: torch.Tensor, where: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        """Attention to what has been said, which gets one position more."""
        both, at, known = where
        slots, attention = self._slots, layer.self_attention
        query, key, value = attention.qkv_net(x).view(len(x), 3, attention.n_heads, attention.d_head).unbind(1)
        slots.keys[number, both, :, at] = key
        slots.values[number, both, :, at] = value
        length = known.shape[-1]
        heard = functional.scaled_dot_product_attention(
            query[:, :, None],
            slots.keys[number, both, :, :length],
            slots.values[number, both, :, :length],
            attn_mask=known,
            scale=attention.scale,
        )
        return attention.o_net(heard.transpose(1, 2).flatten(2))

    def _look(
        self, layer: Any, number: int, x: torch.Tensor, where: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attention to the text, drawn near to where the row is; and its probabilities, (rows, heads, 1, tokens)."""
        both, known, near = where
        slots, attention, width = self._slots, layer.cross_attention, where[1].shape[-1]
        query = attention.q_net(x).view(len(x), 1, attention.n_heads, attention.d_head).transpose(1, 2)
        scores = query @ slots.text_keys[number, both, :, :width].transpose(2, 3) * attention.scale
        probabilities = scores.masked_fill(~known, float("-inf")).float().softmax(-1)
        if near is not None:
            probabilities = probabilities * (near + torch.finfo(near.dtype).tiny)
            probabilities = probabilities / probabilities.sum(-1, keepdim=True)
        seen = probabilities.to(x.dtype) @ slots.text_values[number, both, :, :width]
        return attention.o_net(seen.transpose(1, 2).flatten(2)), probabilities

    @staticmethod
    def _feed_forward(layer: Any, x: torch.Tensor) -> torch.Tensor:
        out = layer.pos_ff(x, torch.ones(x.shape[:2], device=x.device, dtype=x.dtype))
        return out[0] if isinstance(out, tuple) else out

    def _scores(self, attention: list[torch.Tensor]) -> torch.Tensor:
        """The mean over heads and over the layers that tell where in the text the model is, (rows, tokens)."""
        return torch.stack([attention[layer].float().mean(1) for layer in self._aligned]).mean(0)
