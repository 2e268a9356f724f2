"""A conversation, as the list of its processors."""

from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMAssistantAggregatorParams,
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.processors.audio.audio_buffer_processor import AudioBufferProcessor
from pipecat.transports.base_transport import BaseTransport
from pipecat.utils.context.llm_context_summarization import (
    LLMAutoContextSummarizationConfig,
    LLMContextSummaryConfig,
)

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
        assistant_params=remembering(agent.summarize_at_token_count),
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
                # It is the last to hear the caller, unless the call is recorded.
                audio_passthrough=recorder is not None,
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


def remembering(most_tokens: int) -> LLMAssistantAggregatorParams:
    """A context that is summarized while an answer is given, once it has about `most_tokens`; 0 for never.

    All but the last two exchanges become one message of at most a quarter of that, so what is sent before it changes
    only then. A token counts as four characters.
    """
    if not most_tokens:
        return LLMAssistantAggregatorParams()
    config = LLMAutoContextSummarizationConfig(
        max_context_tokens=most_tokens,
        max_unsummarized_messages=None,
        summary_config=LLMContextSummaryConfig(
            target_context_tokens=max(1, most_tokens // 4), min_messages_after_summary=4
        ),
    )
    return LLMAssistantAggregatorParams(
        enable_auto_context_summarization=True, auto_context_summarization_config=config
    )


def _voice(backends: Backends, agent: Agent, session_id: str, interleaver: Interleaver | None) -> AntiphonTTSService:
    options = {"voice": agent.voice, "language": agent.language, "mode": agent.tts_mode}
    if interleaver is None:
        return AntiphonTTSService(replicas=backends.tts, session_id=session_id, **options)
    return InterleavedTTSService(replicas=backends.tts, session_id=session_id, interleaver=interleaver, **options)
