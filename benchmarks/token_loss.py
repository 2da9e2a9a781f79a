"""How much of long descriptions a text tower does not read, what each way with them reads, and what that does.

    python -m benchmarks.token_loss CSV [CSV ...] [--seeds 1000 1001 ...] [--per-species 20] [--out PAGE.md]

CSV are files of descriptions. The first part counts with CLIP's own tokenizer (77 tokens, marks of start and end
included) and needs no weights; which sentences a summary keeps is chosen by the shipped ``world-clip`` in CLIP's place.
The second part draws worlds of imaginary birds and measures how well ``world-clip`` names their pictures (true boxes)
by the same descriptions, read through windows of several widths, and mixed with names. Without ``--seeds`` it is left
out.
"""

import argparse
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

from leadpp.models.teacher import OpenClipTeacher
from leadpp.text.descriptions import read_descriptions
from leadpp.text.encoding import LongText, average_texts, encode_texts, mix_vectors
from leadpp.text.prototypes import unit_rows
from leadpp.text.splitting import TokenCounter, sentences
from tools.world_measures import Exam, draw_exam

STAND_IN = "builtin:world-clip"
WAYS: tuple[LongText, ...] = ("truncate", "summary", "split")
WINDOWS = (112, 68, 48, 32)
SHARES = (0.25, 0.5, 0.75)
_LEAST_LETTERS, _MOST_WORDS = 4, 12
_LITTLE = frozenset("with this that their from have into which also over they more such often while making".split())

HEAD_LOSS = """\
| file | texts | words, mean | tokens, mean | most | over 77 | tokens not read, mean | of all tokens | lose a sentence \
| sentences lost |
|---|---|---|---|---|---|---|---|---|---|"""
HEAD_READ = """\
| file | truncate | summary | split | sentences a text | kept by summary | pieces of split |
|---|---|---|---|---|---|---|"""


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="*", metavar="CSV")
    parser.add_argument("--seeds", type=int, nargs="*", default=[], help="of the worlds; none leaves them out")
    parser.add_argument("--per-species", type=int, default=20, help="pictures of each of the 40 species")
    parser.add_argument("--out", type=Path, help="write the page here as well")
    asked = parser.parse_args(words)
    seeds = f" --seeds {' '.join(map(str, asked.seeds))} --per-species {asked.per_species}" if asked.seeds else ""
    made = f"python -m benchmarks.token_loss {' '.join(path.name for path in asked.files)}{seeds}"
    lines = ["# What a text tower does not read", "", f"`{made}`", ""]
    stand_in = OpenClipTeacher.load(STAND_IN, pretrained="")
    if asked.files:
        lines += files_page(asked.files, ClipWindow(stand_in))
    if asked.seeds:
        lines += world_page(asked.seeds, per_species=asked.per_species, teacher=stand_in)
    print("\n".join(lines))
    if asked.out:
        asked.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


class ClipWindow:
    """A tower that counts as CLIP does; what it encodes comes from a stand-in, so that it can choose sentences."""

    def __init__(self, stand_in: OpenClipTeacher) -> None:
        self.tokenizer: Any = open_clip.get_tokenizer("ViT-B-16")
        self.context_tokens: int = self.tokenizer.context_length
        self.encode_texts = stand_in.encode_texts

    def count_tokens(self, text: str) -> int:
        """Count as CLIP's tokenizer does, marks included."""
        return len(self.tokenizer.encode(text)) + 2


class NarrowTower:
    """A tower that reads no more than ``limit`` of its tokens, marks included, and cuts what is longer."""

    def __init__(self, teacher: OpenClipTeacher, limit: int) -> None:
        self.teacher = teacher
        self.context_tokens = limit
        self.count_tokens = teacher.count_tokens

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed what lies within the window, unit rows (N, D)."""
        words: Any = self.teacher.tokenizer
        clip: Any = self.teacher.clip
        tokens = words(list(texts))
        tokens[tokens[:, self.context_tokens - 1] != 0, self.context_tokens - 1] = words.eot_token_id
        tokens[:, self.context_tokens :] = 0
        return unit_rows(clip.encode_text(tokens))


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """What a window does to one text."""

    tokens: int
    """Of the whole text, without marks."""
    unread: int
    """Tokens behind the window."""
    sentences: int
    lost: int
    """Sentences of which no token is read."""
    tail: str
    """The words of which no token is read."""


def loss_of(text: str, counter: TokenCounter) -> Loss:
    """Find where the window ends in a text.

    A sentence is lost if the tokens before it fill the window; a word likewise.
    """
    marks = counter.count_tokens("")
    room = counter.context_tokens - marks
    tokens = counter.count_tokens(text) - marks
    words = re.findall(r"\S+\s*", text)
    parts = sentences(text)
    return Loss(
        tokens=tokens,
        unread=max(0, tokens - room),
        sentences=len(parts),
        lost=sum(before >= room for before in _tokens_before(parts, counter)),
        tail="".join(
            word for word, before in zip(words, _tokens_before(words, counter), strict=True) if before >= room
        ),
    )


def _tokens_before(parts: Sequence[str], counter: TokenCounter) -> Iterator[int]:
    marks = counter.count_tokens("")
    before = ""
    for part in parts:
        yield counter.count_tokens(before) - marks
        before += part


def files_page(files: Sequence[Path], tower: ClipWindow) -> Iterator[str]:
    """Yield the lines about files of descriptions."""
    texts = {path.name: [text for own in read_descriptions(path).values() for text in own] for path in files}
    losses = {name: [loss_of(text, tower) for text in own] for name, own in texts.items()}
    yield f"## Descriptions and CLIP's {tower.context_tokens} tokens"
    yield ""
    yield "A text's tokens and the most are counted with both marks, what is not read without. The last columns: texts"
    yield "of which at least one sentence is not read at all, and the share of such sentences in all."
    yield ""
    yield HEAD_LOSS
    for name, own in texts.items():
        yield loss_row(name, own, losses[name], over=tower.context_tokens)
    yield ""
    yield "Most frequent words there (a word counts once a text):"
    yield ""
    for name, found in losses.items():
        yield f"- {name}: {', '.join(f'{word} {count}' for word, count in frequent_words(found))}"
    yield ""
    yield "## How much each way reads"
    yield ""
    yield "Share of all tokens that the tower is given and reads. The sentences of a summary are chosen by world-clip"
    yield "in CLIP's place, which changes which are kept, and hardly how many."
    yield ""
    yield HEAD_READ
    for name, own in texts.items():
        yield read_row(name, own, losses[name], tower)
    yield ""


def loss_row(name: str, texts: Sequence[str], losses: Sequence[Loss], *, over: int) -> str:
    """Write what is lost of one file."""
    count, tokens = len(texts), sum(loss.tokens for loss in losses)
    most = max(loss.tokens for loss in losses) + 2
    long = sum(loss.tokens + 2 > over for loss in losses)
    unread = sum(loss.unread for loss in losses)
    losing = sum(loss.lost > 0 for loss in losses)
    lost, every = sum(loss.lost for loss in losses), sum(loss.sentences for loss in losses)
    words = sum(len(text.split()) for text in texts)
    return (
        f"| {name} | {count} | {words / count:.1f} | {tokens / count + 2:.1f} | {most} | {long} ({long / count:.1%}) "
        f"| {unread / count:.1f} | {unread / tokens:.1%} | {losing} ({losing / count:.1%}) | {lost / every:.1%} |"
    )


def frequent_words(losses: Sequence[Loss]) -> list[tuple[str, int]]:
    """Count in how many texts each word of some length is not read, the most frequent first."""
    counts: Counter[str] = Counter()
    for loss in losses:
        words = re.findall(r"[a-z]+", loss.tail.lower())
        counts.update({word for word in words if len(word) >= _LEAST_LETTERS} - _LITTLE)
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:_MOST_WORDS]


def read_row(name: str, texts: Sequence[str], losses: Sequence[Loss], tower: ClipWindow) -> str:
    """Write how much of one file each way reads."""
    tokens = sum(loss.tokens for loss in losses)
    short = encode_texts(texts, encoder=tower, long_text="summary").shortened or tuple(texts)
    kept = sum(tower.count_tokens(text) - 2 for text in short)
    pieces = encode_texts(texts, encoder=tower, long_text="split").pieces
    count, every = len(texts), sum(loss.sentences for loss in losses)
    sentences_kept = sum(len(sentences(text)) for text in short)
    return (
        f"| {name} | {1 - sum(loss.unread for loss in losses) / tokens:.1%} | {kept / tokens:.1%} | 100% "
        f"| {every / count:.2f} | {sentences_kept / count:.2f} | {pieces / count:.2f} |"
    )


def world_page(seeds: Sequence[int], *, per_species: int, teacher: OpenClipTeacher) -> Iterator[str]:
    """Yield the lines about drawn worlds."""
    rows = [measure_world(seed, per_species=per_species, teacher=teacher) for seed in seeds]
    counts = f"{len(seeds)} worlds (seeds {', '.join(map(str, seeds))}), 40 species with {per_species} pictures each"
    yield "## Zero-shot naming in a drawn world"
    yield ""
    yield f"{counts};"
    yield f"crops by true boxes. The tower is world-clip, whose own window is {WINDOWS[0]} tokens; a narrower one cuts"
    yield "its tokens. Share named right in percent: the mean over the worlds, and in brackets the least and the most"
    yield "difference, world by world, from `truncate` of the same window (of mixes: from the descriptions alone)."
    yield ""
    yield f"| words | window | {' | '.join(WAYS)} |"
    yield "|---|---|" + "---|" * len(WAYS)
    for key in [key for key in rows[0] if key[0] != "mix"]:
        if key[2] == WAYS[0]:
            cells = [_cell(rows, (*key[:2], way), beside=key) for way in WAYS]
            yield f"| {key[0]} | {key[1]} | {' | '.join(cells)} |"
    yield ""
    yield "| prototypes | named right |"
    yield "|---|---|"
    alone = ("mix", 0, "0")
    for key in [key for key in rows[0] if key[0] == "mix"]:
        words = {"0": "descriptions alone", "1": "names alone"}.get(key[2], f"--text.mix names={key[2]}")
        yield f"| {words} | {_cell(rows, key, beside=alone)} |"


Key = tuple[str, int, str]


def _cell(rows: Sequence[dict[Key, float]], key: Key, *, beside: Key) -> str:
    if key not in rows[0]:
        return "–"
    mean = 100 * sum(row[key] for row in rows) / len(rows)
    if key == beside:
        return f"{mean:.1f}"
    gaps = [100 * (row[key] - row[beside]) for row in rows]
    return f"{mean:.1f} ({min(gaps):+.1f} to {max(gaps):+.1f})"


def measure_world(seed: int, *, per_species: int, teacher: OpenClipTeacher) -> dict[Key, float]:
    """Name the pictures of one world by descriptions read in each way through each window, and by mixes."""
    with tempfile.TemporaryDirectory() as folder:
        exam = draw_exam(Path(folder) / "pictures.npy", per_species=per_species, seed=seed)
    images = torch.cat([teacher.encode_images(part) for part in torch.split(exam.views["crop"], 128)])
    joined = [" ".join(own) for own in zip(exam.descriptions, *exam.further, strict=True)]
    found: dict[Key, float] = {}
    for words, texts, windows in (
        ("one description", exam.descriptions, WINDOWS),
        ("three in one", joined, WINDOWS[:2]),
    ):
        for window in windows:
            for way in WAYS:
                vectors = encode_texts(texts, encoder=NarrowTower(teacher, window), long_text=way).vectors
                found[words, window, way] = right(images, vectors, exam)
    each = [text for own in zip(exam.descriptions, *exam.further, strict=True) for text in own]
    several = average_texts(encode_texts(each, encoder=teacher).vectors, [len(each) // len(joined)] * len(joined))
    found["three apart, averaged", WINDOWS[0], WAYS[0]] = right(images, several, exam)
    described, named = (encode_texts(texts, encoder=teacher).vectors for texts in (exam.descriptions, exam.names))
    for share in (0.0, *SHARES, 1.0):
        found["mix", 0, f"{share:g}"] = right(images, mix_vectors(described, named, share=share), exam)
    return found


def right(images: Tensor, vectors: Tensor, exam: Exam) -> float:
    """Return the share of pictures whose nearest prototype is that of their species."""
    return float(((images @ vectors.T).argmax(dim=1) == exam.labels).float().mean())


if __name__ == "__main__":
    main()
