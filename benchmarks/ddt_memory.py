"""Peak memory of the DDT fit for few and for many photographs, each in a process of its own.

    python benchmarks/ddt_memory.py [--counts 128 2000] [--architecture resnet50] [--size 448] [--batch 8]

Photographs are generated, the network has random weights: neither matters to memory. The fit is the package's own,
with pictures made one batch at a time, as the reader hands them over.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import torch

from leadpp.functional.randomness import generator_for
from leadpp.models.backbone import create_backbone
from leadpp.models.localizer import Localizer, LocalizerSettings


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[128, 2000])
    parser.add_argument("--architecture", default="resnet50")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--stages", type=int, default=1)
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        print(json.dumps(measure(options)))
        return
    print(f"{options.architecture}, {options.size} px, {options.stages} stage(s), batches of {options.batch}\n")
    print("| photographs | peak memory (MiB) | seconds |\n|---|---|---|")
    peaks = []
    for count in options.counts:
        found = json.loads(subprocess.run(command(options, count), check=True, capture_output=True, text=True).stdout)
        peaks.append(found["peak_mib"])
        print(f"| {count:,} | {found['peak_mib']:.0f} | {found['seconds']:.0f} |", flush=True)
    print(f"\nlargest over smallest: {max(peaks) / min(peaks):.3f}")


def command(options: argparse.Namespace, count: int) -> list[str]:
    settings = {name: getattr(options, name) for name in ("architecture", "size", "batch", "stages")}
    flags = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    return [sys.executable, __file__, *flags, "--measure", str(count)]


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Fit on ``options.measure`` generated photographs; return the process's peak memory and the time of the fit."""
    network = create_backbone(options.architecture, pretrained=False)
    localizer = Localizer(network, LocalizerSettings(size=options.size, stages=options.stages))
    begin = time.perf_counter()
    localizer.fit(pictures(options.measure, size=options.size, batch=options.batch))
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_mib": peak_kib / 1024, "seconds": time.perf_counter() - begin}


def pictures(count: int, *, size: int, batch: int) -> Iterator[torch.Tensor]:
    for start in range(0, count, batch):
        generator = generator_for(0, "pictures", start)
        shape = (min(batch, count - start), 3, size, size)
        yield torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


if __name__ == "__main__":
    main()
