"""A conversation, as the list of its processors."""

from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.processors.audio.audio_buffer_processor import AudioBufferProcessor
from pipecat.transports.base_transport import BaseTransport

from .agents import Agent
from .backends import Backends
from .services import AntiphonLLMService, AntiphonSTTService, AntiphonTTSService, AntiphonTurnProcessor
from .services.local_turn import LocalTurn
from .turns.policy import POLICIES
from .turns.strategies import committed_turns
from .turns.taker import TurnTaker


def build_pipeline(
    transport: BaseTransport,
    backends: Backends,
    agent: Agent,
    context: LLMContext,
    session_id: str,
    recorder: AudioBufferProcessor | None = None,
) -> Pipeline:
    """Caller in, agent out. `context` grows as the conversation does."""
    memory = LLMContextAggregatorPair(
        context,
        user_params=LLMUserAggregatorParams(user_turn_strategies=committed_turns(), empty_user_turn=None),
    )
    return Pipeline(
        [
            transport.input(),
            AntiphonTurnProcessor(replicas=backends.turn, session_id=session_id, local=LocalTurn()),
            TurnTaker(POLICIES[agent.turn_policy]),
            AntiphonSTTService(
                replicas=backends.asr,
                session_id=session_id,
                language=agent.language,
                context_ms=agent.asr_context_ms,
            ),
            memory.user(),
            AntiphonLLMService(
                replicas=backends.llm,
                session_id=session_id,
                system_prompt=agent.system_prompt,
                model=agent.model,
                max_token_count=agent.max_token_count,
                temperature=agent.temperature,
                function_call_timeout_secs=10.0,
            ),
            AntiphonTTSService(
                replicas=backends.tts,
                session_id=session_id,
                voice=agent.voice,
                language=agent.language,
                mode=agent.tts_mode,
            ),
            transport.output(),
            *([recorder] if recorder else []),
            memory.assistant(),
        ]
    )
