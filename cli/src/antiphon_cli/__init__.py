"""The antiphon command: the whole platform on one machine."""

from loguru import logger

# Pipecat greets on stderr when it is imported, which this command does for its frames' format only.
logger.disable("pipecat")
