"""One device for two kinds of work."""

import asyncio
import random

from antiphon_runtime.phases import Phases


async def test_one_kind_works_together_and_the_other_waits() -> None:
    phases, order = Phases(), list[str]()

    async def work(kind: str, name: str, begun: asyncio.Event, done: asyncio.Event) -> None:
        async with phases.hold(kind):
            order.append(name)
            begun.set()
            await done.wait()

    begun, done = [asyncio.Event() for _ in range(4)], [asyncio.Event() for _ in range(4)]
    async with asyncio.TaskGroup() as tasks:
        for number, (kind, name) in enumerate((("llm", "a"), ("llm", "b"), ("tts", "c"), ("llm", "d"))):
            tasks.create_task(work(kind, name, begun[number], done[number]))
        await asyncio.gather(begun[0].wait(), begun[1].wait())
        assert order == ["a", "b"]
        done[0].set()
        await asyncio.sleep(0)
        assert order == ["a", "b"]  # one of its kind still works, and the last came after the other kind
        done[1].set()
        await begun[2].wait()
        assert order == ["a", "b", "c"]
        done[2].set()
        await begun[3].wait()
        done[3].set()
    assert order == ["a", "b", "c", "d"]


async def test_whoever_is_cancelled_at_whatever_moment_takes_nothing_along() -> None:
    phases, chance, working = Phases(), random.Random(3), {"llm": 0, "tts": 0}
    both = 0

    async def work(kind: str) -> None:
        nonlocal both
        async with phases.hold(kind):
            working[kind] += 1
            both += all(working.values())
            try:
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
            finally:
                working[kind] -= 1

    running = [asyncio.create_task(work(chance.choice(("llm", "tts")))) for _ in range(500)]
    for task in running:
        if chance.random() < 0.5:
            task.cancel()
        if chance.random() < 0.3:
            await asyncio.sleep(0)
    await asyncio.gather(*running, return_exceptions=True)
    assert both == 0
    async with asyncio.timeout(60), phases.hold("llm"):
        assert working == {"llm": 0, "tts": 0}
