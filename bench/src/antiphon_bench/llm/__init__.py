"""The language model under load, and beside a voice on one device."""
