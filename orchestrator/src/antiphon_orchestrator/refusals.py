"""Reasons for which a caller's messages and audio are refused, with the words that the caller is told."""

# Labels of antiphon_caller_messages_refused_total.
MESSAGES = {
    "malformed": "not a message that can be read",
    "message_too_long": "a message is too long",
    "too_many_messages": "messages come too fast",
    "type_not_allowed": "messages of this type are not allowed",
    "text_not_allowed": "this agent takes no typed text: its allow_send_text is off",
    "text_unusable": "this typed text cannot be used",
    "frame_not_allowed": "frames of this kind are not allowed: send audio and message frames",
    "channel_not_allowed": "a call has one data channel: close the first before opening another",
}
# Labels of antiphon_caller_audio_refused_total.
AUDIO = {
    "audio_empty": "an audio frame without samples",
    "audio_too_long": "an audio frame is longer than a second",
    "audio_odd_length": "an audio frame ends within a sample: samples have 2 bytes for each channel",
    "audio_rate": "audio of this rate is not allowed: 8000 to 48000 Hz are, and 2 changes of it a second",
    "audio_channels": "audio of so many channels is not allowed: 1 or 2 are",
    "audio_float32": "audio of 32-bit floats is not allowed: send 16-bit little-endian integers",
    "audio_mu_law": "mu-law audio is not allowed: send 16-bit little-endian integers",
    "audio_a_law": "A-law audio is not allowed: send 16-bit little-endian integers",
    "audio_8_bit": "audio of 8-bit samples is not allowed: send 16-bit little-endian integers",
    "audio_big_endian": "big-endian audio is not allowed: send 16-bit little-endian integers",
    "audio_container": "audio files and compressed audio are not allowed: send bare 16-bit little-endian integers",
}
