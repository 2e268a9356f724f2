"""A model file in memory, and its vocabulary."""

import ctypes
from functools import lru_cache
from pathlib import Path

from antiphon_runtime.errors import ConfigError

from .library import Library

# Lines of prompts whose number of tokens is remembered.
LINES = 4096


class Weights:
    """`can_go_back` is whether a sequence's last tokens can be taken back: not with a recurrent state."""

    def __init__(self, library: Library, path: Path, gpu_layers: int) -> None:
        """Raises ConfigError when the file is no model that llama.cpp can load, or one without a chat template."""
        self.library = library
        c = library.c
        params = c.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        self.handle = c.llama_model_load_from_file(str(path).encode(), params)
        if not self.handle:
            raise ConfigError(f"llama.cpp cannot load {path}: {'; '.join(library.errors) or 'it does not say why'}")
        self.vocab = c.llama_model_get_vocab(self.handle)
        self.size = c.llama_vocab_n_tokens(self.vocab)
        self.can_go_back = not (c.llama_model_is_recurrent(self.handle) or c.llama_model_is_hybrid(self.handle))
        self.bos = self._mark(c.llama_vocab_bos(self.vocab))
        self.eos = self._mark(c.llama_vocab_eos(self.vocab))
        self._add_bos = c.llama_vocab_get_add_bos(self.vocab)
        self._line_tokens = lru_cache(LINES)(lambda line: len(self.tokens(line, first=False)))
        template = c.llama_model_chat_template(self.handle, None)
        if not template:
            raise ConfigError(f"{path} has no chat template")
        self.template = template.decode("utf-8", "replace")

    def tokens(self, text: bytes, *, first: bool) -> list[int]:
        """The tokens of `text`, the template's marks among them. `first`: nothing comes before it."""
        begin = first and self._add_bos and not text.startswith(self.bos.encode() or b"\0")
        room = len(text) + 8
        found = (ctypes.c_int32 * room)()
        count = self.library.c.llama_tokenize(self.vocab, text, len(text), found, room, begin, True)
        return found[:count]

    def count(self, text: bytes) -> int:
        """How many tokens `text` is, at most: line by line, of which a conversation's older ones are remembered."""
        return 1 + sum(map(self._line_tokens, text.splitlines(keepends=True)))

    def piece(self, token: int, *, marks: bool = False) -> bytes:
        """The token's bytes, which need not be whole characters. The template's marks are b"", unless asked for."""
        room = 64
        while True:
            text = ctypes.create_string_buffer(room)
            count = self.library.c.llama_token_to_piece(self.vocab, token, text, room, 0, marks)
            if count >= 0:
                return text.raw[:count]
            room = -count

    def is_end(self, token: int) -> bool:
        """Whether the answer ends here."""
        return bool(self.library.c.llama_vocab_is_eog(self.vocab, token))

    def close(self) -> None:
        self.library.c.llama_model_free(self.handle)

    def _mark(self, token: int) -> str:
        return self.piece(token, marks=True).decode("utf-8", "replace") if token >= 0 else ""
