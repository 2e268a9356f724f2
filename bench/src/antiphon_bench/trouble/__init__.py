"""Calls with a misbehaving line, model or service: a catalogue of cases, their judge, and a random mode."""
