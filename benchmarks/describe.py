"""How fast `leadpp describe` asks, what it does when a server fails, and what a table of descriptions takes in tokens.

    python -m benchmarks.describe DESCRIPTIONS.csv [--latency 0.5] [--rows 96] [--out benchmarks/results/describe.md]

A server on loopback answers with the texts of the file, a table of finished descriptions, after a stated time; nothing
leaves this machine. Tokens are those of CLIP's byte-pair encoding, which are about as many as a language model counts.
"""

import argparse
import asyncio
import os
import platform
import re
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from leadpp.config import build_config
from leadpp.errors import LLMError
from leadpp.io.artifacts import write_text
from leadpp.stages.describe import Words, describe
from leadpp.text.descriptions import read_descriptions
from leadpp.text.llm import open_chat
from tests.descriptions import class_of
from tests.llm_server import (
    CUT,
    ENDLESS,
    HTML,
    MALFORMED,
    REFUSAL,
    WRONG_SCHEMA,
    Asked,
    LLMServer,
    Told,
    failing,
    too_many,
)

FAULTS: Mapping[str, Told] = {
    "429, no `Retry-After`": too_many(),
    "429, `Retry-After: 1`": too_many("1"),
    "500": failing(500),
    "slower than the timeout (1 s)": Told(delay_s=2.0),
    "connection cut in the body": CUT,
    "malformed JSON": MALFORMED,
    "JSON of another schema": WRONG_SCHEMA,
    "a refusal": REFUSAL,
    "100,000 characters": ENDLESS,
    "2 MiB": Told(body=b"x" * (1 << 21)),
    "an empty reply": Told(text=""),
    "HTML": HTML,
    "401": failing(401, "no key"),
    "404": failing(404, "no such model"),
}
_LISTED = re.compile(r"no usable description of 1 of 1 classes: '.*?' \((.*)\); \S+ lists them")
QUESTION = [{"role": "user", "content": "What does a wren look like?"}]


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What everything is measured on."""

    texts: Mapping[str, str]
    """A finished description of each class."""
    tokens: Callable[[str], int]

    def answer(self, asked: Asked) -> str:
        """Answer as a language model that wrote the texts would."""
        return self.texts[class_of(asked)]

    def describe(self, folder: Path, server: LLMServer, names: Sequence[str], **llm: Any) -> dict[str, Any]:  # noqa: ANN401 - settings
        """Have some of the classes described; a mistake is returned in words."""
        (folder / "names.txt").write_text("\n".join(names), encoding="utf-8")
        settings = {"base_url": server.url, "model": "small", "domain": "birds", "min_words": 50, "max_words": 85}
        config = build_config({"llm": settings | llm})
        try:
            return describe(folder / "d.csv", words=Words(names=folder / "names.txt"), config=config)
        except LLMError as error:
            return {"error": str(error)}


def throughput(ground: Ground, *, latency_s: float, rows: int) -> list[str]:
    """Measure rows a second at several numbers of requests at once, each of which can do one row a latency."""
    lines = ["| requests at once | rows/s | best possible | share |", "|---|---|---|---|"]
    for concurrency in (1, 4, 16):
        names = list(ground.texts)[: min(rows, 16 * concurrency)]
        with tempfile.TemporaryDirectory() as folder, LLMServer(answer=ground.answer, latency_s=latency_s) as server:
            began = time.perf_counter()
            ground.describe(Path(folder), server, names, concurrency=concurrency, attempts=1)
            rate, best = len(names) / (time.perf_counter() - began), concurrency / latency_s
        lines.append(f"| {concurrency} | {rate:.2f} | {best:.2f} | {rate / best:.0%} |")
    return lines


def faults(ground: Ground) -> list[str]:
    """Show what becomes of a class whose requests fail twice and then do not, and of one that fails for good."""
    lines = ["| fault | twice, then well: requests, seconds | for good: requests | and is told |", "|---|---|---|---|"]
    name = next(iter(ground.texts))
    for fault, told in FAULTS.items():
        with tempfile.TemporaryDirectory() as folder, LLMServer(answer=ground.answer, faults=[told, told]) as server:
            began = time.perf_counter()
            found = ground.describe(Path(folder), server, [name], timeout_s=1.0, attempts=3)
            seconds, often = time.perf_counter() - began, len(server.asked)
        well = f"{often}, {seconds:.1f}" if "error" not in found else "stops at once" if often == 1 else "–"
        with tempfile.TemporaryDirectory() as folder, LLMServer(answer=partial(_always, told)) as server:
            found = ground.describe(Path(folder), server, [name], timeout_s=1.0, attempts=3, retries=1)
            said = found["error"].replace(server.url, "URL").replace("|", "¦")
            listed = _LISTED.search(said)
            said = f"listed: {listed[1]}" if listed else said
        lines.append(f"| {fault} | {well} | {len(server.asked)} | {said} |")
    return lines


def _always(told: Told, asked: Asked) -> Told:
    del asked
    return told


def crowd() -> str:
    """Tell how many requests a server meets in the second for which it wanted to be left alone."""
    with LLMServer(faults=[too_many("1")], latency_s=0.05) as server:

        async def talk() -> None:
            async with open_chat(base_url=server.url, model="small", concurrency=16) as chat:
                await asyncio.gather(*(chat.ask(QUESTION, max_tokens=9) for _ in range(64)))

        asyncio.run(talk())
    first = server.asked[0].at_s
    early = sum(0.1 < asked.at_s - first < 0.95 for asked in server.asked)
    return (
        f"64 requests, 16 at once, the first answered 429 with `Retry-After: 1`: {early} came in the second after it."
    )


def tokens(ground: Ground, *, prices: tuple[float, float]) -> list[str]:
    """Count what a whole table takes, with one description a class and with three."""
    price_in, price_out = prices
    lines = [
        f"| described | requests | tokens in | tokens out | a class | cost at {price_in:g} and {price_out:g} |",
        "|---|---|---|---|---|---|",
    ]
    for per_class in (1, 3):
        with (
            tempfile.TemporaryDirectory() as folder,
            LLMServer(answer=partial(_varied, ground), tokens=ground.tokens) as server,
        ):
            out = Path(folder) / "d.csv"
            ground.describe(Path(folder), server, list(ground.texts), per_class=per_class, concurrency=16)
            done = sum(map(len, read_descriptions(out).values()))
        sent = sum(ground.tokens(asked.words) for asked in server.asked)
        said = sum(ground.tokens(_varied(ground, asked)) for asked in server.asked)
        cost = (sent * price_in + said * price_out) / 1e6
        count = len(ground.texts)
        each = f"{sent / count:.0f} + {said / count:.0f}"
        row = f"{done} of {count * per_class} | {len(server.asked)} | {sent:,} | {said:,} | {each} | {cost:.3f}"
        lines.append(f"| {row} |")
    return lines


def _varied(ground: Ground, asked: Asked) -> str:
    """Answer a second and third time with a text that is as long, and another."""
    text = ground.answer(asked)
    often = asked.words.count(text[:40])
    return f"{text[:-1]}, seen {['', 'closely', 'in full'][min(often, 2)]}." if often else text


def clip_tokens() -> Callable[[str], int]:
    """Return a counter of the tokens of CLIP's vocabulary."""
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    return lambda text: len(tokenizer.encode(text))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("descriptions", type=Path, help="finished descriptions, such as the reference's of 200 birds")
    parser.add_argument("--latency", type=float, default=0.5, help="seconds that the server takes for each answer")
    parser.add_argument("--rows", type=int, default=96, help="the most rows of a measurement of throughput")
    parser.add_argument("--prices", type=float, nargs=2, default=(0.15, 0.60), help="of a million tokens in and out")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    texts = {name: own[0] for name, own in read_descriptions(options.descriptions).items()}
    page = write_page(Ground(texts=texts, tokens=clip_tokens()), options)
    print(page)
    if options.out:
        write_text(options.out, page)


def write_page(ground: Ground, options: argparse.Namespace) -> str:
    """Measure everything and return it as a page."""
    began = os.getloadavg()[0]
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, a load of {began:.0f} from other jobs"
    parts = [
        "# Asking a language model",
        f"`python -m benchmarks.describe {options.descriptions.name}`. {machine}. The server is a thread of the same "
        "process and answers with the finished texts of the file; a row is asked for, checked and on disk (fsync).",
        f"## Throughput, {options.latency:g} s an answer",
        "\n".join(throughput(ground, latency_s=options.latency, rows=options.rows)),
        "## When the server fails",
        "One class, three attempts. First two requests fail (five retries, timeout 1 s), then all (one retry).",
        "\n".join(faults(ground)),
        crowd(),
        f"## Tokens of {len(ground.texts)} classes, one description each and three",
        "Tokens by CLIP's vocabulary. The shipped prompt, 50 to 85 words; replies that the rules refuse are asked for "
        "again, up to three times, and counted. A further description has the earlier ones in its prompt. Prices are "
        "of a million tokens in and out, and an example.",
        "\n".join(tokens(ground, prices=(options.prices[0], options.prices[1]))),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
