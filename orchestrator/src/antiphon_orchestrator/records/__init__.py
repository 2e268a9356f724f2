"""Recordings of calls: written as they grow, off the event loop, both sides aligned by the clock."""
