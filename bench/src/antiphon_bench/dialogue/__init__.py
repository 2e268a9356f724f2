"""A scripted conversation with tools and a knowledge base, scored by rules."""
