"""The sentences that an agent has ready, and their sound, made before it is needed."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import grpc

from antiphon.common.v1 import audio_pb2
from antiphon.tts.v1 import tts_pb2 as pb
from antiphon_runtime.client import DialError, Replicas

from ..agents import Agent

log = logging.getLogger(__name__)

RATE_HZ = 24_000
# One phrase takes less, unless the service is overloaded or gone.
RENDER_S = 10.0
MOST_KEPT = 256


class Occasion(StrEnum):
    """Occasion on which a phrase is said."""

    APOLOGY = "apology"
    FAREWELL = "farewell"
    GOODBYE = "goodbye"
    FILLER = "filler"
    PROMPT = "prompt"
    TIME_UP = "time_up"


# By language; English for all others.
DEFAULTS: dict[str, dict[Occasion, str]] = {
    "en": {
        Occasion.APOLOGY: "Sorry, something went wrong. Could you say that again?",
        Occasion.FAREWELL: "I am sorry, I cannot help you right now. Please call again later. Goodbye.",
        Occasion.GOODBYE: "I will hang up now. Goodbye.",
        Occasion.FILLER: "One moment, please.",
        Occasion.PROMPT: "Are you still there?",
        Occasion.TIME_UP: "We have reached the end of the time for this call. Goodbye.",
    },
    "de": {
        Occasion.APOLOGY: "Entschuldigung, da ist etwas schiefgegangen. Können Sie das bitte wiederholen?",
        Occasion.FAREWELL: "Es tut mir leid, ich kann Ihnen gerade nicht helfen. Bitte rufen Sie später wieder an.",
        Occasion.GOODBYE: "Ich lege jetzt auf. Auf Wiederhören.",
        Occasion.FILLER: "Einen Moment, bitte.",
        Occasion.PROMPT: "Sind Sie noch da?",
        Occasion.TIME_UP: "Die Zeit für dieses Gespräch ist um. Auf Wiederhören.",
    },
    "es": {
        Occasion.APOLOGY: "Perdón, algo ha ido mal. ¿Puede repetirlo, por favor?",
        Occasion.FAREWELL: "Lo siento, ahora mismo no puedo ayudarle. Por favor, llame más tarde. Adiós.",
        Occasion.GOODBYE: "Voy a colgar. Adiós.",
        Occasion.FILLER: "Un momento, por favor.",
        Occasion.PROMPT: "¿Sigue ahí?",
        Occasion.TIME_UP: "Se ha agotado el tiempo de esta llamada. Adiós.",
    },
    "fr": {
        Occasion.APOLOGY: "Pardon, il y a eu un problème. Pouvez-vous répéter, s'il vous plaît ?",
        Occasion.FAREWELL: "Je suis désolé, je ne peux pas vous aider pour l'instant. Rappelez plus tard. Au revoir.",
        Occasion.GOODBYE: "Je vais raccrocher. Au revoir.",
        Occasion.FILLER: "Un instant, s'il vous plaît.",
        Occasion.PROMPT: "Êtes-vous toujours là ?",
        Occasion.TIME_UP: "Le temps prévu pour cet appel est écoulé. Au revoir.",
    },
}


def default_phrase(occasion: Occasion, language: str) -> str:
    """`language` is a BCP 47 tag."""
    return DEFAULTS.get(language.partition("-")[0].lower(), DEFAULTS["en"])[occasion]


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence in a voice; "" is the service's own voice and language."""

    text: str
    voice: str = ""
    language: str = ""


@dataclass(frozen=True, slots=True)
class Spoken:
    """16-bit mono at 24 kHz, and when each word begins in it, in milliseconds."""

    pcm: bytes
    words: tuple[tuple[str, float], ...]


class PhraseBook:
    """Lines that have been spoken once, shared by all conversations of the process: saying one needs no service.

    Of more than 256 the one that was longest of no use is forgotten.
    """

    def __init__(self, voices: Replicas) -> None:
        self._voices = voices
        self._spoken: OrderedDict[Line, Spoken] = OrderedDict()
        # One at a time: they are in no hurry, and the voices have callers.
        self._learning = asyncio.Lock()

    def get(self, line: Line) -> Spoken | None:
        if line in self._spoken:
            self._spoken.move_to_end(line)
        return self._spoken.get(line)

    async def learn(self, lines: Iterable[Line]) -> None:
        """Has what is not known yet spoken. A service that fails leaves it unknown, to be tried again."""
        for line in lines:
            async with self._learning:
                if line in self._spoken:
                    continue
                try:
                    async with asyncio.timeout(RENDER_S):
                        self._spoken[line] = await self._render(line)
                except (DialError, TimeoutError, grpc.aio.AioRpcError) as error:
                    log.warning("a phrase could not be spoken: %s", error)
                    return
                if len(self._spoken) > MOST_KEPT:
                    self._spoken.popitem(last=False)

    async def _render(self, line: Line) -> Spoken:
        config = pb.SynthesizeConfig(
            audio=audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=RATE_HZ),
            voice=line.voice,
            language_code=line.language,
        )
        pcm, words = bytearray(), []
        async with await self._voices.open(pb.SynthesizeRequest(config=config)) as stream:
            await stream.write(pb.SynthesizeRequest(text=line.text))
            await stream.done_writing()
            async for event in stream:
                if event.WhichOneof("event") == "audio":
                    pcm += event.audio.pcm
                elif event.WhichOneof("event") == "spoken":
                    words.append((event.spoken.text, float(event.spoken.start_ms)))
        return Spoken(bytes(pcm), tuple(words))


def lines_of(agent: Agent) -> dict[Occasion, Line]:
    """Return the phrases of an agent: its own, else its language's defaults; those set to "" are left out."""
    own = agent.phrases.model_dump()
    texts = {o: default_phrase(o, agent.language) if own[o] is None else own[o] for o in Occasion}
    return {o: Line(text, agent.voice, agent.language) for o, text in texts.items() if text}
