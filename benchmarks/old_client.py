"""An AutoTVM client that has never heard of this project, with our newest `llvm` package and without any log.

The client is hhb-tvm's, whose environment is built on the first call. It downloads the package over HTTP by itself and
builds the network with the records that it finds there; both networks run in turns in its process, on one thread, as
its runtime has no more. A ratio above 1 says that the package helps.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the old client's environment stands beside the tests

from tests.old_client.environment import find_or_build
from tests.registries import served
from tophub_registry.devices.processor import described, processor
from tophub_registry.records.families import family_of
from tophub_registry.records.target import Target

REGISTRY = Path(__file__).parents[1] / "registry_data"
HERE = f"llvm -mtriple=x86_64-linux-gnu -mcpu={processor()}"
TARGETS = [
    HERE,
    "llvm -mtriple=x86_64-linux-gnu -mcpu=x86-64-v3",
    f"{HERE} -keys={family_of(Target.parse(HERE))},cpu",
]
"""This processor, AVX2, and this processor asking for its family's records."""


def main() -> None:
    """Print a row for each target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet18_v1")
    parser.add_argument("--shape", default="1,3,224,224")
    parser.add_argument("--rounds", type=int, default=301)
    parser.add_argument("targets", nargs="*", default=TARGETS)
    options = parser.parse_args()
    client = find_or_build()
    package = max(REGISTRY.glob("llvm_v*.log"))
    sys.stdout.write(f"{options.model}, {package.stem}, {described()}, one thread\n\n")
    sys.stdout.write("| target | with the package, ms | without, ms | ratio |\n| --- | --- | --- | --- |\n")
    for target in options.targets:
        with served(REGISTRY) as server:
            arguments = (options.model, options.shape, package.stem.removeprefix("llvm_"), options.rounds, target)
            said = client.run("build_with_tophub", *arguments, location=server.url)
        tuned, untuned = said["seconds_tuned"] * 1e3, said["seconds_untuned"] * 1e3
        sys.stdout.write(f"| {target} | {tuned:.2f} | {untuned:.2f} | {said['speedup']:.3f} |\n")
        sys.stdout.flush()


main()
