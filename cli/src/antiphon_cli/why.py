"""Why turns took as long as they did, as the orchestrator remembers them."""

from collections.abc import Mapping
from typing import Any

import httpx
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from antiphon_bench.call import stages
from antiphon_bench.report import waterfall
from antiphon_runtime.errors import ConfigError

ANSWER_S = 10.0


def remembered(url: str, name: str, token: str | None = None) -> dict[str, Any]:
    """The call of this session, or the turn of this trace with its call, from the orchestrator at `url`.

    Raises ConfigError when it cannot be had.
    """
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=ANSWER_S, trust_env=False) as client:
            answer = client.get(f"/api/sessions/{name}")
            if answer.status_code != httpx.codes.NOT_FOUND:
                return _checked(answer)
            found = _checked(client.get(f"/api/traces/{name}"), missing=f"{url} remembers no call or trace {name}")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConfigError(f"{url} does not tell: {error or type(error).__name__}") from error
    return {**found, "turns": [turn for turn in found["turns"] if turn["trace_id"] == name]}


def _checked(answer: httpx.Response, missing: str = "") -> dict[str, Any]:
    if answer.status_code == httpx.codes.NOT_FOUND and missing:
        raise ConfigError(f"{missing}: it keeps the last hundred that have ended")
    if answer.is_error:
        raise ConfigError(f"{answer.url} answers {answer.status_code}: {answer.text[:200]}")
    return dict(answer.json())


def print_why(call: Mapping[str, Any], console: Console) -> None:
    """Each turn's waterfall and what slowed it."""
    console.print(Text(f"Call with {call['agent']}", style="bold") + Text(f"  {call['session_id']}", style="dim"))
    for turn in call["turns"]:
        console.print()
        head = Text(f"{turn['turn_id']}  {turn['outcome']}", style="bold")
        console.print(head + Text(f"  trace {turn['trace_id']}" if turn["trace_id"] else "", style="dim"))
        console.print(Padding(Text(turn["why"]), (0, 0, 0, 3)))
        if parts := stages(turn["stages"]):
            console.print(Padding(waterfall(parts), (0, 0, 0, 3)))
