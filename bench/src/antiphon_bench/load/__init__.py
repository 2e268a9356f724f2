"""Many callers at once: what they say, when they call, what each turn was like, and how many a platform bears."""
