"""Texts that nobody should send and somebody will."""

import random

SHAPES = (
    "{}" * 3,
    "<speak><break time='3s'/>{}</speak>",
    "**{}** _{}_ `{}`",
    "[{}]({})" * 5,
    "((((((({})))))))" * 4,
    "{} {} {}!?!?!?...",
    "# {}\n- {}\n- {}\n\n```\n{}\n```",
    "| {} | {} |\n|---|---|\n| {} | {} |",
    "&lt;{}&gt; &amp; &#x{};",
    "\x00{}\x07\x1b[31m{}",
)
RANGES = (
    (0x20, 0x7E),
    (0xA0, 0x24F),
    (0x300, 0x36F),
    (0x400, 0x4FF),
    (0x590, 0x6FF),
    (0x900, 0x97F),
    (0x2000, 0x206F),
    (0x2190, 0x22FF),
    (0x3040, 0x30FF),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3),
    (0xE000, 0xE0FF),
    (0xFE00, 0xFE0F),
    (0x1F300, 0x1F9FF),
    (0xE0020, 0xE007F),
)
FIXED = (
    "9" * 300,
    "$1,234,567,890.12 " * 8,
    "-" * 500,
    "a" * 1000,
    "e\u0301\u0302\u0303\u0304" * 40,
    "👩‍👩‍👧‍👦🏳️‍🌈" * 30,
    "\u202e" + "desrever" * 5,
    "https://" + "a." * 100 + "com/" + "%20" * 50,
    "3/4/2024 25:61 p.m. 1e999 0x1F −0.0 ½ ⅔ 12²",
    "Dr. Mr. Mrs. e.g. i.e. U.S.A. a.m. No. 5.",
    "\n\t \u00a0\u2003\ufeff",
    "�" * 50,
    "null\x00byte",
    "i" * 199 + " 🙂",
    "。。。！？、" * 20,
    "Ω≈ç√∫˜µ≤≥÷",
)


def nasty(count: int, seed: int = 0) -> list[str]:
    """So many texts, always the same ones for a seed."""
    rng = random.Random(seed)

    def scrap() -> str:
        kind = rng.randrange(4)
        if kind == 0:
            low, high = rng.choice(RANGES)
            return "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 12)))
        if kind == 1:
            return "".join(chr(rng.randint(*rng.choice(RANGES))) for _ in range(rng.randint(1, 20)))
        if kind == 2:
            return str(rng.randint(-(10 ** rng.randint(1, 18)), 10 ** rng.randint(1, 18))) + rng.choice("%$€°:/.-e")
        return "".join(rng.choices("aeioustrnl'-.", k=rng.randint(1, 40)))

    texts = list(FIXED)
    while len(texts) < count:
        shape = rng.choice(SHAPES)
        texts.append("".join(part + (scrap() if index else "") for index, part in enumerate(shape.split("{}"))))
    return texts[:count]
