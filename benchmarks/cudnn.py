"""The tuned kernels against cuDNN's, layer by layer, on the CUDA device at hand.

`python benchmarks/cudnn.py LOG TASKS... [--json FILE]`: TASKS are files made by `tophub extract MODEL --target cuda`,
LOG holds the records. Each distinct convolution and dense layer of the models is timed once: ours is the fastest
record among its templates, theirs is what PyTorch calls in float32 without TF32, channels first, with the algorithms
that cuDNN's own benchmark finds fastest. Needs a CUDA device, nvcc, TVM and PyTorch.

Both are captured in CUDA graphs of equally many launches on the same stream, which are replayed in turns; the time of
a launch is the median of the replays over their launches. So the overhead of launching counts on neither side, and the
caches are as warm for both. Before that, the graph's output is compared with PyTorch's. A Winograd kernel gets its
weights transformed, as AutoTVM measures it and a compiled model holds them; cuDNN gets them as they are.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.gpu.check import Job, build
from tophub_registry.devices.gpu import architecture_of
from tophub_registry.records.log import read_records
from tophub_registry.records.record import Record
from tophub_registry.records.task import TaskFile, describe
from tophub_registry.templates.registry import instantiate
from tophub_registry.templates.template import Template

TASKS = (
    "conv2d_nchw.cuda",
    "conv2d_nchw_winograd.cuda",
    "depthwise_conv2d_nchw.cuda",
    "group_conv2d_nchw.cuda",
    "dense_small_batch.gpu",
    "dense_large_batch.gpu",
)
WARM_UP = 5
SECONDS = 0.002  # how long a replay of the faster of the two lasts at least
LEAST, MOST = 10, 500  # launches in a graph


class Layer(NamedTuple):
    """A distinct layer: the arguments that its templates share, their tasks, and the models that have it."""

    args: list[Any]
    tasks: list[str]
    models: list[str]

    @property
    def name(self) -> str:
        """The shapes, and the stride."""
        return describe(self.tasks[0], self.args).split(maxsplit=1)[1]


class Row(NamedTuple):
    """A layer's times in microseconds, and how far the outputs are apart, relative to the largest number."""

    layer: str
    models: list[str]
    task: str
    ours: float
    cudnn: float
    ratio: float
    difference: float


def read_layers(paths: list[Path]) -> list[Layer]:
    """Return the distinct layers of some models, in the models' order."""
    layers: dict[str, Layer] = {}
    for path in paths:
        file = TaskFile.read(path)
        for task in file.tasks:
            if task.task not in TASKS:
                print(f"not compared: {task} of {file.model}", file=sys.stderr)
                continue
            layer = layers.setdefault(json.dumps(task.args), Layer(task.args, [], []))
            for known, name in ((layer.tasks, task.task), (layer.models, file.model)):
                if name not in known:
                    known.append(name)
    return list(layers.values())


def find_best(log: Path, layers: list[Layer]) -> list[Record | None]:
    """Return the fastest record of each layer, over all its templates."""
    best: dict[str, Record] = {}
    for record in read_records(log):
        key = json.dumps(record.input.args)
        if record.valid and record.target.kind == "cuda" and record.input.task in TASKS:
            known = best.get(key)
            if known is None or record.mean_cost < known.mean_cost:
                best[key] = record
    return [best.get(json.dumps(layer.args)) for layer in layers]


def theirs(layer: Layer, data: Any, weight: Any) -> Any:
    """Return PyTorch's output of a layer."""
    from torch.nn import functional

    if layer.tasks[0].startswith("dense"):
        return functional.linear(data, weight)
    _, _, strides, (top, left, bottom, right), dilation, *_ = layer.args
    groups = data.shape[1] // weight.shape[1]
    if (top, left) != (bottom, right):
        data, top, left = functional.pad(data, (left, right, top, bottom)), 0, 0
    return functional.conv2d(data, weight, None, tuple(strides), (top, left), tuple(dilation), groups)


def capture(launch: Any, count: int) -> Any:
    """Return a CUDA graph of `count` launches."""
    import torch
    import tvm_ffi

    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with tvm_ffi.use_torch_stream(torch.cuda.stream(side)):
        for _ in range(WARM_UP):
            launch()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with tvm_ffi.use_torch_stream(torch.cuda.graph(graph, stream=side)):
        for _ in range(count):
            launch()
    return graph


def replay(graph: Any, count: int) -> float:
    """Return the time of one of a graph's launches, in seconds."""
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    graph.replay()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3 / count


def compare(layer: Layer, record: Record, path: str, turns: int) -> Row:
    """Time a layer's kernel and cuDNN's in turns."""
    import numpy as np
    import torch
    import tvm

    template = instantiate(record.input.task, layer.args)
    rng = np.random.default_rng(7)
    inputs = [rng.uniform(-1, 1, shape).astype(template.workload.dtype) for shape in template.workload.inputs]
    packed = [np.ascontiguousarray(array) for array in template.pack(record.config, inputs)]
    *_, out = template.tensors(record.config)
    device = tvm.cuda(0)
    output = tvm.runtime.tensor(np.full(out.shape, np.nan, out.dtype), device)
    arguments = [*(tvm.runtime.tensor(array, device) for array in packed), output]
    kernel = tvm.runtime.load_module(path)["main"]
    data, weight = (torch.from_numpy(array).cuda() for array in inputs)

    def launch_ours() -> None:
        kernel(*arguments)

    def launch_theirs() -> None:
        theirs(layer, data, weight)

    launches = (launch_ours, launch_theirs)
    few = [capture(launch, LEAST) for launch in launches]
    fastest = min(replay(graph, LEAST) for _ in range(3) for graph in few)
    count = min(MOST, max(LEAST, math.ceil(SECONDS / fastest)))
    graphs = [capture(launch, count) for launch in launches]

    output.copyfrom(np.full(out.shape, np.nan, out.dtype))
    torch.cuda.synchronize()
    graphs[0].replay()
    torch.cuda.synchronize()
    expected = theirs(layer, data, weight).cpu().numpy()
    computed = template.unpack(record.config, output.numpy())
    difference = float(np.abs(computed - expected).max() / max(1.0, np.abs(expected).max()))

    costs = [[replay(graph, count) for graph in graphs] for _ in range(turns)]
    ours, cudnn = (statistics.median(column) * 1e6 for column in zip(*costs, strict=True))
    return Row(layer.name, layer.models, record.input.task, ours, cudnn, ours / cudnn, difference)


def show(row: Row) -> str:
    """Return a line of the table."""
    task = row.task.removesuffix(".cuda").removesuffix(".gpu")
    return f"{row.layer:<38} {task:<24} {row.ours:>9.1f} {row.cudnn:>9.1f} {row.ratio:>6.2f}"


def sums(rows: list[Row], models: list[str]) -> dict[str, dict[str, float]]:
    """Return the summed times in microseconds over each model's distinct layers, and over all."""
    parts = {model: [row for row in rows if model in row.models] for model in models} | {"all": rows}
    return {
        name: {
            "layers": len(part),
            "ours": (ours := sum(row.ours for row in part)),
            "cudnn": (cudnn := sum(row.cudnn for row in part)),
            "ratio": ours / cudnn if cudnn else math.nan,
        }
        for name, part in parts.items()
    }


def build_all(layers: list[Layer], records: list[Record | None], folder: str) -> list[str]:
    """Build each record's kernel on all the processors; an empty path where there is none."""
    import tvm

    arch = architecture_of(tvm.cuda(0))
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {}
        for number, (layer, record) in enumerate(zip(layers, records, strict=True)):
            if record is None:
                print(f"no record: {layer.name} ({', '.join(layer.tasks)})", file=sys.stderr)
                continue
            job, path = Job(record.input.task, layer.args, record.config), str(Path(folder) / f"{number}.so")
            futures[number] = pool.submit(build, job, arch, path), path
        paths = [""] * len(layers)
        for number, (future, path) in futures.items():
            if problem := future.result():
                print(f"does not build: {layers[number].name}: {problem}", file=sys.stderr)
            else:
                paths[number] = path
    return paths


def main() -> int:
    """Print the table and the sums; 1 where a layer has no record or its kernel is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("tasks", type=Path, nargs="+")
    parser.add_argument("--turns", type=int, default=21, help="how often each graph is replayed")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()

    os.environ.setdefault("TVM_FFI_DISABLE_TORCH_C_DLPACK", "1")  # or TVM compiles an extension that is not used here
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = True

    layers = read_layers(options.tasks)
    records = find_best(options.log, layers)
    rows, problems = [], 0
    cudnn = torch.backends.cudnn.version()
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, cuDNN {cudnn}")
    print(f"{'layer':<38} {'ours':<24} {'ours, µs':>9} {'cuDNN, µs':>9} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        paths = build_all(layers, records, folder)
        for layer, record, path in zip(layers, records, paths, strict=True):
            if record is None or not path:
                problems += 1
                continue
            try:
                row = compare(layer, record, path, options.turns)
            except Exception as error:  # noqa: BLE001  # one layer's failure does not cost the others
                print(f"failed: {layer.name}: {type(error).__name__}: {str(error)[-500:]}", file=sys.stderr)
                problems += 1
                continue
            if not row.difference <= Template.tolerance:
                print(f"wrong: {layer.name} differs by {row.difference}", file=sys.stderr)
                problems += 1
            rows.append(row)
            print(show(row), flush=True)
    models = list(dict.fromkeys(model for layer in layers for model in layer.models))
    total = sums(rows, models)
    for name, part in total.items():
        print(
            f"{name}: {part['layers']} distinct layers, {part['ours']:.0f} µs, cuDNN {part['cudnn']:.0f} µs,", end=" "
        )
        print(f"ratio {part['ratio']:.3f}")
    if problems:
        print(f"{problems} of {len(layers)} layers are not in the sums, or wrong", file=sys.stderr)
    if options.json:
        facts = {
            "device": torch.cuda.get_device_name(),
            "torch": torch.__version__,
            "cudnn": cudnn,
            "log": options.log.name,
        }
        content = {**facts, "turns": options.turns, "layers": [row._asdict() for row in rows], "sums": total}
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
