"""A model as the judge, for who has one: the same three questions, in words."""

import json
import re

import grpc

from antiphon.llm.v1 import llm_pb2_grpc

from ..llm.talk import ask
from .rules import Score
from .script import Scripted
from .telephone import Answer

PROMPT = """You judge one turn of a telephone agent. Answer only with JSON like
{"tool_use": true, "instruction": true, "grounding": true}.
tool_use: the expected call was made with arguments of the same meaning, or none was expected and none made.
instruction: the answer advances the caller's wish in at most two spoken sentences, and declines what is not about its
subject.
grounding: nothing contradicts the knowledge.

"""
TOKENS = 80


async def judged(target: str, due: Scripted, answer: Answer, known: str, by_rules: Score) -> Score:
    """The judge's scores; those by rules where it does not answer in the form that it was asked for."""
    expected = {"name": due.call, "arguments": dict(due.arguments or {})} if due.call else None
    turn = {"caller": due.line, "agent": answer.text, "calls": answer.calls, "expected_call": expected}
    messages = [
        {"role": "system", "content": f"{PROMPT}Knowledge:\n{known}"},
        {"role": "user", "content": json.dumps(turn)},
    ]
    async with grpc.aio.insecure_channel(target) as channel:
        verdict = await ask(llm_pb2_grpc.LlmServiceStub(channel), messages, TOKENS, 0)
    found = re.search(r"\{.*\}", verdict.text, re.DOTALL)
    try:
        said = json.loads(found[0]) if found else {}
        return Score(*(bool(said[name]) for name in ("tool_use", "instruction", "grounding")))
    except (ValueError, KeyError, TypeError):
        return by_rules
