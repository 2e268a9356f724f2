"""Instruments for a speech recognizer: utterances sent to `antiphon.asr.v1.AsrService`, and how well it heard them."""
