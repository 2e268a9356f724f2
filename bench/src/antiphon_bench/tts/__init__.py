"""What a synthesizer's callers hear, and when."""
