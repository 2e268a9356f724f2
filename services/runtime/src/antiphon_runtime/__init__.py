"""What every Antiphon process shares. Knows nothing about speech."""
