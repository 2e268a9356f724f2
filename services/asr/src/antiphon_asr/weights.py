"""The weights that this service's backends need, pinned. Needs none of the backends' libraries."""

from antiphon_runtime.weights import WeightFile, WeightPackage, fetch_command

MOONSHINE_DIR = "moonshine-tiny-en"

# Moonshine AI's own quantized tiny-en, as its site offers it, by sha256. Later wheels have dropped the files.
MOONSHINE = WeightPackage(
    name="moonshine-voice",
    version="0.0.73",
    wheel_sha256=(
        "6461c8097ed78d054c46b4c821143008a07b5fa1f4169674493ccfa06c1407db",  # linux x86_64
        "c56de7614b18bbc65d8f4f2cb7432d8a258311aef38a49e9e16c8d06df8085f0",  # linux aarch64
        "fb4c81f2fa96674d336530bc1cf2f86b6a4fc8b3c02e138a7a5c768c283f8bc7",  # macOS 15 arm64
        "fd9895bec46f929ac3747fb83bede3826f7a32c3d0c9559b4b2840fa5e6d2bcd",  # win_amd64
    ),
    files=(
        WeightFile(
            "moonshine_voice/assets/tiny-en/encoder_model.ort",
            f"{MOONSHINE_DIR}/encoder_model.ort",
            "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
        ),
        WeightFile(
            "moonshine_voice/assets/tiny-en/decoder_model_merged.ort",
            f"{MOONSHINE_DIR}/decoder_model_merged.ort",
            "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
        ),
        WeightFile(
            "moonshine_voice/assets/tiny-en/tokenizer.bin",
            f"{MOONSHINE_DIR}/tokenizer.bin",
            "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d",
        ),
    ),
    licence="MIT",
)

WEIGHTS: tuple[WeightPackage, ...] = (MOONSHINE,)


def main() -> None:
    """`antiphon-asr-weights FOLDER`: verifies the weights there, and fetches what is missing."""
    fetch_command(WEIGHTS)
