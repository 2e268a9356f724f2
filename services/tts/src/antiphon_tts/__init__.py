"""Antiphon's text-to-speech service. `service` has what it is served with: `SERVICE` and `build(settings)`."""
