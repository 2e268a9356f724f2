"""The turn service: who is speaking, and whether they sound finished."""
