"""A conversation, as the list of its processors."""

from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.aggregators.llm_response_universal import (
    LLMAssistantAggregatorParams,
    LLMUserAggregatorParams,
)
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.transports.base_transport import BaseTransport
from pipecat.utils.context.llm_context_summarization import (
    LLMAutoContextSummarizationConfig,
    LLMContextSummaryConfig,
)

from .agents import Agent
from .audio_gaps import GapFiller
from .backends import Backends
from .interleaving import Interleaver
from .manners.closing import LastWords
from .manners.idle import IdleWatch, Silence
from .manners.phrases import lines_of
from .manners.spokesman import Spokesman
from .records.recorder import CallRecorder
from .services import (
    AntiphonSTTService,
    AntiphonTTSService,
    AntiphonTurnProcessor,
    InterleavedTTSService,
    SpeculativeLLMService,
)
from .services.local_turn import LocalTurn
from .services.response_limits import ResponseLimits
from .services.tool_calls_in_context import ContextPair
from .session import Session
from .turns.policy import POLICIES
from .turns.reply_gate import ReplyGate
from .turns.speculation import Budget
from .turns.strategies import committed_turns
from .turns.taker import TurnTaker
from .turns.typed import TypedTurns

# After the first, which is on the first pause.
LATER_VERDICTS_MS = (200, 500, 1200)


def build_pipeline(
    session: Session,
    transport: BaseTransport,
    backends: Backends,
    gaps: GapFiller,
    spokesman: Spokesman,
    recorder: CallRecorder | None = None,
) -> Pipeline:
    """Caller in, agent out."""
    agent = session.agent
    interleaver = Interleaver(backends.device) if backends.device else None
    memory = _memory(session, may_speculate=interleaver is None)
    return Pipeline(
        [
            transport.input(),
            gaps,
            *_ears(session, backends, passthrough=recorder is not None),
            *_typed_turns(session),
            memory.user(),
            SpeculativeLLMService(
                replicas=backends.llm,
                session_id=session.session_id,
                system_prompt=agent.system_prompt,
                model=agent.model,
                max_token_count=agent.max_token_count,
                temperature=agent.temperature,
                interleaver=interleaver,
                limits=ResponseLimits(agent.max_tool_rounds, session.limit_reached),
            ),
            IdleWatch(Silence(agent.idle_after_s, agent.answer_within_s, agent.tool_timeout_s), spokesman.manners.idle),
            _voice(backends, agent, session.session_id, interleaver),
            spokesman,
            LastWords(backends.phrases, lines_of(agent), session.playout),
            ReplyGate(session.playout),
            transport.output(),
            *([recorder] if recorder else []),
            memory.assistant(),
        ]
    )


def _ears(session: Session, backends: Backends, *, passthrough: bool) -> list[FrameProcessor]:
    """They are the last to hear the caller, unless `passthrough`, for a call that is recorded."""
    agent, session_id = session.agent, session.session_id
    return [
        AntiphonTurnProcessor(
            replicas=backends.turn,
            session_id=session_id,
            verdict_silence_ms=sorted({agent.first_pause_ms, *LATER_VERDICTS_MS}),
            local=LocalTurn(),
        ),
        TurnTaker(POLICIES[agent.turn_policy](agent.language)),
        AntiphonSTTService(
            replicas=backends.asr,
            session_id=session_id,
            language=agent.language,
            context_ms=agent.asr_context_ms,
            audio_passthrough=passthrough,
        ),
    ]


def _typed_turns(session: Session) -> list[FrameProcessor]:
    """The place where typed turns begin, for an agent that takes them."""

    async def refuse() -> None:
        if session.door:
            await session.door.refuse("too_many_messages", "typed texts wait until the caller has spoken")

    return [TypedTurns(refuse)] if session.agent.allow_send_text else []


def _memory(session: Session, *, may_speculate: bool) -> ContextPair:
    """On a GPU that model and voice share, an answer that may be thrown away keeps the voice of another waiting."""
    agent = session.agent
    budget = Budget(agent.llm_calls_per_turn if may_speculate else 1.0)
    return ContextPair(
        session.context,
        user_params=LLMUserAggregatorParams(
            user_turn_strategies=committed_turns(budget, agent.language, session.playout),
            empty_user_turn=None,
        ),
        assistant_params=remembering(agent.summarize_at_token_count),
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
