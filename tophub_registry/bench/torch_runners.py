"""The model in PyTorch, ready to run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tophub_registry.bench.job import Job
from tophub_registry.bench.prepared import Array
from tophub_registry.bench.runner import Runner
from tophub_registry.errors import EnvironmentFailure, MissingExtra

_IMAGE = 4


class Torch(Runner):
    """The network in PyTorch: traced and frozen on the CPU, a CUDA graph on a GPU.

    On a GPU TF32 is allowed if the job's precision is `tf32`. For `float16` the weights are float16, and channels last.
    """

    compiled = False
    _forward: Callable[[], Any]

    def __init__(self, job: Job, inputs: Sequence[Array]) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingExtra("torch", error) from error
        if job.on_gpu and not torch.cuda.is_available():
            raise EnvironmentFailure("this PyTorch has no GPU", remedy="it needs one that was built for CUDA")
        torch.set_num_threads(job.threads)
        rounded = job.precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = rounded
        torch.backends.cudnn.benchmark = True
        self._torch = torch
        self._on_gpu = job.on_gpu
        self.version = str(torch.__version__)
        device = "cuda" if job.on_gpu else "cpu"
        module, is_static = _torch_module(job)
        module = module.to(device)
        tensors = [torch.from_numpy(array).to(device) for array in inputs]
        self._compiler = "torch.compile, " if self.compiled else ""
        self._how = f"TF32 {'on' if rounded else 'off'}"
        if job.precision == "float16":
            self._how = "float16, channels last"
            module = module.half().to(memory_format=torch.channels_last)
            tensors = [_in_half(tensor, torch) for tensor in tensors]
        with torch.inference_mode():
            if self.compiled:
                # Captured below on a GPU: PyTorch's own CUDA graphs take longer in Python than small networks run.
                module = torch.compile(module)
            if job.on_gpu:
                self._forward = self._captured(module, tensors, whole=is_static)
            elif self.compiled:
                self.note = "torch.compile"
                self._forward = lambda: module(*tensors)
            else:
                # The module of a program can't be switched to evaluation, but its trace can.
                frozen = torch.jit.freeze(torch.jit.trace(module, tensors).eval())
                frozen = torch.jit.optimize_for_inference(frozen)
                self.note = "traced and frozen"
                self._forward = lambda: frozen(*tensors)

    def _captured(self, module: Any, tensors: Sequence[Any], *, whole: bool) -> Callable[[], Any]:
        """Return a function that runs the module as a CUDA graph, or eagerly if it depends on the data."""
        torch = self._torch
        if not whole:
            self.note = f"{self._compiler}eager, as box suppression depends on the data; {self._how}"
            return lambda: module(*tensors)
        aside = torch.cuda.Stream()
        with torch.cuda.stream(aside):  # PyTorch needs a few runs before it can capture one
            for _ in range(3):
                module(*tensors)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = module(*tensors)
        self.note = f"{self._compiler}CUDA graph, {self._how}"

        def replay() -> Any:
            graph.replay()
            return found

        return replay

    def outputs(self) -> list[Array]:
        with self._torch.inference_mode():
            found = self._forward()
        half = self._torch.float16
        return [(output.float() if output.dtype == half else output).cpu().numpy() for output in found]

    def run(self) -> None:
        with self._torch.inference_mode():
            self._forward()
        if self._on_gpu:
            self._torch.cuda.synchronize()


class CompiledTorch(Torch):
    """The network in PyTorch, compiled by `torch.compile` in its default mode."""

    compiled = True


def _in_half(tensor: Any, torch: Any) -> Any:
    """Return an input of a network in float16: numbers with a point in it, and images with their channels last."""
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    return half.to(memory_format=torch.channels_last) if half.dim() == _IMAGE else half


def _torch_module(job: Job) -> tuple[Any, bool]:
    """Return the model as a PyTorch module, and whether its computation is independent of the data."""
    from tophub_registry.bench.torch_module import program_module, torch_module

    if job.prepared.torch.exists():
        return program_module(job.prepared.torch), True
    network = job.prepared.network()
    return torch_module(network), network.is_static
