"""`python vllm_weights.py FOLDER`: SmolLM2 as vLLM loads it, from the GGUF file that `antiphon models fetch` brings.

For the lane of the backend `vllm` (CONTRIBUTING.md). Needs transformers, accelerate and gguf.
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from antiphon_llm.weights import SMOLLM2, SMOLLM2_FILE
from antiphon_runtime.weights import DEFAULT_DIR, require


def main(folder: Path) -> None:
    source = require(DEFAULT_DIR, SMOLLM2)
    read = AutoModelForCausalLM.from_pretrained(source, gguf_file=SMOLLM2_FILE, dtype=torch.bfloat16)
    # What was read remembers that it was quantized, and so cannot be written.
    if hasattr(read.config, "quantization_config"):
        del read.config.quantization_config
    plain = LlamaForCausalLM(read.config).to(torch.bfloat16)
    plain.load_state_dict(read.state_dict())
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=SMOLLM2_FILE).save_pretrained(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
