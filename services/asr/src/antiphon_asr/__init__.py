"""The speech recognition service: antiphon.asr.v1.AsrService."""
