"""Which finished descriptions pass the rules for a language model's replies, and which rule refuses the others.

    python -m benchmarks.replies DESCRIPTIONS.csv ...

The files are tables of texts that are known to be good, or known to be bad; each is read as `--descriptions` is.
"""

import argparse
from collections import Counter
from pathlib import Path

from leadpp.text.descriptions import read_descriptions
from leadpp.text.replies import check_description, count_words, failed_rules
from leadpp.text.visible import plain_words, visible_words


def measure(path: Path, *, min_words: int, max_words: int) -> tuple[str, list[str]]:
    """Return a row of a table, and a line for each text that is refused."""
    classes = read_descriptions(path)
    others = tuple(classes)
    refused: Counter[str] = Counter()
    lines, shares = [], []
    for name, text in ((name, text) for name, texts in classes.items() for text in texts):
        _, reason = check_description(text, name=name, others=others, min_words=min_words, max_words=max_words)
        lines += [f"- {name}: {reason}"] if reason else []
        refused.update(failed_rules(text, name=name, others=others, min_words=min_words, max_words=max_words))
        shares.append(50 * len(visible_words(plain_words(text))) / max(1, count_words(text)))
    shares.sort()
    spread = " / ".join(f"{shares[int(place * (len(shares) - 1))]:.1f}" for place in (0, 0.05, 0.5, 1))
    rules = ", ".join(f"{rule} {count}" for rule, count in refused.most_common()) or "none"
    passed = len(shares) - len(lines)
    return f"| {path.name} | {passed} of {len(shares)} | {rules} | {spread} |", lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--min-words", type=int, default=50)
    parser.add_argument("--max-words", type=int, default=85)
    parsed = parser.parse_args()
    found = [measure(path, min_words=parsed.min_words, max_words=parsed.max_words) for path in parsed.files]
    print("| file | pass | refused by | words for what can be seen, in 50: least / 5 % / median / most |")
    print("|---|---|---|---|")
    print("\n".join(row for row, _ in found))
    print("\n".join(["", *(line for _, lines in found for line in lines)]))


if __name__ == "__main__":
    main()
