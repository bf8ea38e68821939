"""Whole models' errors on a GPU where factors are rounded, ours beside PyTorch's, over several random inputs.

An error is the largest difference of an output from float64's, computed by PyTorch, relative to the largest number of
that output. One input's says little: which output is the largest differs from input to input. So there are many, and
their geometric mean. Models are folders, as `tophub bench MODEL --prepare` and `elsewhere.py restore` write them.

    python benchmarks/rounding.py --models resnet18_v1 resnet50_v1 --target "cuda -model=h100" --log cuda.log
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np
from precisions import error, parser_of

from tophub_registry.bench.prepared import Array, Prepared

Outputs = list[Array]
_IMAGE = 4


def drawn(prepared: Prepared, inputs: int) -> list[list[Array]]:
    """Return normally distributed inputs, a list of arrays for each run."""
    rng = np.random.default_rng(0)
    return [
        [rng.normal(size=shape).astype(prepared.dtypes[name]) for name, shape in prepared.shapes.items()]
        for _ in range(inputs)
    ]


def ours(model: str, precision: str, options: argparse.Namespace) -> list[Outputs]:
    """Return the outputs of a model that our compiler compiled."""
    from tophub_registry.frontends.without_torch import hide_torch

    hide_torch()
    from tophub_registry.compiler.compiler import compile_model

    prepared = Prepared.read(Path(model))
    compiled = compile_model(prepared.read_model(), options.target, records=options.log, precision=precision)
    return [[*compiled.run(*arrays)] for arrays in drawn(prepared, options.inputs)]


def theirs(prepared: Prepared, runs: Sequence[Sequence[Array]], precision: str) -> list[Outputs]:
    """Return the outputs that PyTorch computes in a precision, or in `float64`."""
    import torch

    from tophub_registry.bench.torch_module import torch_module

    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    module = torch_module(prepared.network()).cuda()
    if precision == "float64":
        module = module.double()
    elif precision == "float16":
        module = module.half().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        return [
            [found.double().cpu().numpy() for found in module(*(arranged(array, precision) for array in arrays))]
            for arrays in runs
        ]


def arranged(array: Array, precision: str) -> Any:
    """Return an input on the GPU in a precision: in float16 an image's channels are last in memory."""
    import torch

    tensor = torch.from_numpy(array).cuda()
    if precision == "float64":
        return tensor.double()
    if precision != "float16":
        return tensor
    half = tensor.half()
    return half.to(memory_format=torch.channels_last) if half.dim() == _IMAGE else half


def main() -> None:
    """Print a row for each model and precision."""
    parser = parser_of(__doc__)
    parser.add_argument("--inputs", type=int, default=16)
    parser.add_argument("--processes", type=int, default=16, help="how many models are compiled at once")
    options = parser.parse_args()
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        asked = {
            (model, precision): pool.submit(ours, model, precision, options)
            for model in options.models
            for precision in options.precisions
        }
        columns = ("model", "precision", "error: ours", "PyTorch", "ours / PyTorch")
        sys.stdout.write(f"| {' | '.join(columns)} |\n{'| --- ' * len(columns)}|\n")
        for model in options.models:
            prepared = Prepared.read(Path(model))
            runs = drawn(prepared, options.inputs)
            exact = theirs(prepared, runs, "float64")
            for precision in options.precisions:
                mine = mean_error(asked[model, precision].result(), exact)
                row = f"| {prepared.model} | {precision} | {mine:.1e} |"
                if precision == "3xtf32":  # nobody else's
                    sys.stdout.write(f"{row} | |\n")
                    continue
                other = mean_error(theirs(prepared, runs, precision), exact)
                sys.stdout.write(f"{row} {other:.1e} | {mine / other:.2f} |\n")
            sys.stdout.flush()


def mean_error(found: Sequence[Outputs], exact: Sequence[Outputs]) -> float:
    """Return the geometric mean of the runs' errors."""
    return geometric_mean(error(one, other) for one, other in zip(found, exact, strict=True))


if __name__ == "__main__":
    main()
