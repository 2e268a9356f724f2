"""Thirty turns of a telephone call, and what each answer must do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SYSTEM = """You are the telephone agent of the Harbour Festival of Curious Things. Answer in at most two short spoken
sentences, without lists, symbols or markdown. Use only the knowledge below; when it does not say, say that you do not
know. Call a tool as soon as you have all that it needs, and do not ask for confirmation. Do not talk about anything but
the festival.

"""


def _tool(name: str, description: str, /, **properties: str) -> dict[str, Any]:
    schema = {field: {"type": kind} for field, kind in properties.items()}
    parameters = {"type": "object", "properties": schema, "required": list(schema)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TOOLS: tuple[dict[str, Any], ...] = (
    _tool("reserve", "Reserves places at an event", title="string", name="string", places="integer"),
    _tool("cancel_reservation", "Cancels a reservation by its number", reservation="string"),
    _tool("note_diet", "Notes what a visitor must not eat", name="string", diet="string"),
    _tool("send_programme", "Sends the programme to an address", email="string"),
    _tool("check_places", "Says how many places are left at an event", title="string"),
    _tool("end_call", "Ends the call after the goodbye"),
)


@dataclass(frozen=True, slots=True)
class Scripted:
    """A caller's line. `call` is what must be called, with these arguments; `result` is then given back.

    `facts` are patterns of which each must be in the answer, `must` of instructions that it must show, `never` of what
    must not be in it.
    """

    line: str
    call: str = ""
    arguments: Mapping[str, Any] | None = None
    result: Any = None
    facts: Sequence[str] = ()
    must: Sequence[str] = ()
    never: Sequence[str] = ()


UNKNOWN = (r"(don't|do not|not) (know|have|sure)|no information|can't say|cannot say|unable|doesn't say",)
ONLY_FESTIVAL = (r"festival|can't|cannot|only|unable|sorry",)
SCRIPT: tuple[Scripted, ...] = (
    Scripted("Hi there, what is this festival about, and when is it?", facts=(r"june|friday",)),
    Scripted("How much is a weekend pass?", facts=(r"95|ninety[- ]five",)),
    Scripted("And do my kids pay? One is five, the other is nine.", facts=(r"free|under seven",)),
    Scripted("How do I get there by tram?", facts=(r"\b4\b|four", r"customs house")),
    Scripted("Who is talking about glaciers?", facts=(r"reyes",)),
    Scripted("What time is that?", facts=(r"11:30|eleven[- ]thirty|half past eleven",)),
    Scripted("Which room?", facts=(r"harbour hall",)),
    Scripted(
        "Are there still places for it?",
        "check_places",
        {"title": "Listening to Glaciers"},
        {"left": 87},
        (r"87|eighty[- ]seven",),
    ),
    Scripted(
        "Great, reserve two places for Listening to Glaciers, my name is Dana Whitfield.",
        "reserve",
        {"title": "Listening to Glaciers", "name": "Dana Whitfield", "places": 2},
        {"reservation": "K417"},
        (r"k ?417",),
    ),
    Scripted("Is there anything with baking on Friday?", facts=(r"bread before wheat",)),
    Scripted("What does it cost?", facts=(r"18|eighteen",)),
    Scripted(
        "One of us can't eat gluten. Can you note that for Dana Whitfield?",
        "note_diet",
        {"name": "Dana Whitfield", "diet": "gluten"},
        {"noted": True},
        (r"gluten|noted",),
    ),
    Scripted("What is the weather going to be like?", must=UNKNOWN, never=(r"sunny|rainy|degrees",)),
    Scripted("Okay. Which event has the whales?", facts=(r"jazz for whales",)),
    Scripted("Can I bring my dog to that one?", facts=(r"yes|welcome|can|allowed",)),
    Scripted("And to the baking?", facts=(r"\bnot?\b|n't",)),
    Scripted("My mother uses a wheelchair. Can she get to the Attic Room?", facts=(r"stairs|no lift|\bnot?\b|n't",)),
    Scripted("Can you help me with my tax return?", must=ONLY_FESTIVAL, never=(r"deduct|form \d",)),
    Scripted("What is on the Roof Terrace on Saturday night?", facts=(r"moonrise",)),
    Scripted(
        "Book four places for that under Marcus Whitfield.",
        "reserve",
        {"title": "Moonrise Concert", "name": "Marcus Whitfield", "places": 4},
        {"reservation": "M203"},
        (r"m ?203",),
    ),
    Scripted(
        "Actually, please cancel K417.",
        "cancel_reservation",
        {"reservation": "K417"},
        {"cancelled": True},
        (r"cancel",),
    ),
    Scripted(
        "If I cancel a paid event the day before, do I get my money back?",
        facts=(r"48|forty[- ]eight|\bno\b|n't|\bnot\b",),
    ),
    Scripted("Who do I call for a group of twelve?", facts=(r"group",)),
    Scripted("What does Jonas Lindqvist do on Saturday?", facts=(r"fermented",)),
    Scripted("My daughter is ten. What could she do with Lena Fischer on Saturday?", facts=(r"little surgeons",)),
    Scripted(
        "I have a headache. What pill should I take?",
        must=(r"medical|first aid|0555|can't|cannot|sorry",),
        never=(r"ibuprofen|aspirin|paracetamol",),
    ),
    Scripted(
        "Please send the programme to dana at example dot com.",
        "send_programme",
        {"email": "dana@example.com"},
        {"sent": True},
        (r"sent|send|on its way",),
    ),
    Scripted("When does the box office close?", facts=(r"20:30|eight[- ]thirty|half past eight|8:30",)),
    Scripted("What was the first event I asked about?", facts=(r"glacier",)),
    Scripted("That's all, thank you. Goodbye!", "end_call", {}, {"ended": True}, never=(r"anything else",)),
)
