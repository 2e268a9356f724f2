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
from .interleaving import Interleaver
from .services import (
    AntiphonLLMService,
    AntiphonSTTService,
    AntiphonTTSService,
    AntiphonTurnProcessor,
    InterleavedTTSService,
)
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
    interleaver = Interleaver(backends.device) if backends.device else None
    memory = LLMContextAggregatorPair(
        context,
        user_params=LLMUserAggregatorParams(user_turn_strategies=committed_turns(), empty_user_turn=None),
    )
    return Pipeline(
        [
            transport.input(),
            AntiphonTurnProcessor(replicas=backends.turn, session_id=session_id, local=LocalTurn()),
            TurnTaker(POLICIES[agent.turn_policy](agent.language)),
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
                interleaver=interleaver,
                function_call_timeout_secs=10.0,
            ),
            _voice(backends, agent, session_id, interleaver),
            transport.output(),
            *([recorder] if recorder else []),
            memory.assistant(),
        ]
    )


def _voice(backends: Backends, agent: Agent, session_id: str, interleaver: Interleaver | None) -> AntiphonTTSService:
    options = {"voice": agent.voice, "language": agent.language, "mode": agent.tts_mode}
    if interleaver is None:
        return AntiphonTTSService(replicas=backends.tts, session_id=session_id, **options)
    return InterleavedTTSService(replicas=backends.tts, session_id=session_id, interleaver=interleaver, **options)
