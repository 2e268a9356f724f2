"""The antiphon command: the whole platform on one machine."""
