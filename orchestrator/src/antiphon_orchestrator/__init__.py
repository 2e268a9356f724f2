"""Conversations: Pipecat pipelines over Antiphon's four gRPC services."""
