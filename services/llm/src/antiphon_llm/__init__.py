"""The language model service: antiphon.llm.v1.LlmService."""
