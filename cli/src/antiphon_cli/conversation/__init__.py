"""What Antiphon's conversation costs and gains, beside a plain Pipecat bot on the same services."""
