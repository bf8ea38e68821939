"""The model in each framework, ready to run: our compiler, plain apache-tvm, MXNet, PyTorch, and readers of ONNX.

Each is loaded in a process of its own, which imports no other. A run's inputs are where the framework wants them, and
it is over when its outputs can be read.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tophub_registry.bench.job import Job
from tophub_registry.bench.prepared import Array
from tophub_registry.bench.runner import Runner
from tophub_registry.bench.torch_runners import CompiledTorch, Torch
from tophub_registry.errors import EnvironmentFailure, InputError, MissingExtra, UsageError
from tophub_registry.frontends.without_torch import hide_torch

NO_RECORDS = "no-records"
"""Our compiler without any record."""

METASCHEDULE = "metaschedule"
"""The framework that needs a database."""

CPU_ONLY = frozenset({"openvino", "ncnn"})
"""The frameworks that are compared on CPUs only."""


class Ours(Runner):
    """The model compiled with the registry's records."""

    def __init__(self, job: Job, inputs: Sequence[Array]) -> None:
        hide_torch()
        from tophub_registry._version import __version__
        from tophub_registry.compiler.compiler import compile_model
        from tophub_registry.compiler.own_logs import check_useful

        records = self._logs(job)
        self._compiled = compile_model(job.prepared.read_model(), job.target, records=records, precision=job.precision)
        check_useful(self._compiled, records or [])
        self._inputs = inputs
        self.version = __version__
        layers = self._compiled.layers
        self.note = f"{sum(layer.match.recorded for layer in layers)} of {len(layers)} layers use tuned records"
        if unbuilt := self._compiled.left_out:
            self.note += f"; {len(unbuilt)} left out: {unbuilt[0]}"

    def _logs(self, job: Job) -> list[Path] | None:
        """Return the logs to take records from; None: the packages in the root."""
        return None if job.records is None else [*map(Path, job.records)]

    def outputs(self) -> list[Array]:
        return list(self._compiled.run(*self._inputs))

    def run(self) -> None:
        self._compiled.run(*self._inputs)

    def seconds(self, repeats: int) -> list[float]:
        return list(self._compiled.benchmark(*self._inputs, repeats=repeats))


class WithoutRecords(Ours):
    """The model compiled by our compiler with default configs only: what the records gain."""

    def _logs(self, job: Job) -> list[Path] | None:
        del job
        return []


_WEIGHTS = "layout_free_buffers"
"""TVM's function attribute that lists the arguments that are weights, which may be packed."""


class Untuned(Runner):
    """The model as plain apache-tvm compiles it."""

    note = "default pipeline"

    def __init__(self, job: Job, inputs: Sequence[Array]) -> None:
        hide_torch()
        try:
            import tvm
        except ImportError as error:
            raise MissingExtra("compile", error) from error
        from tvm import relax

        from tophub_registry.devices.device import compiled_for
        from tophub_registry.records.target import Target

        host = {"host": "llvm"} if job.on_gpu else {}
        target = tvm.target.Target(compiled_for(Target.parse(job.target)), **host)
        self._device = tvm.cuda(0) if job.on_gpu else tvm.cpu()
        module = self._ready(job.prepared.read_model().module, job, target)
        with target:
            executable = tvm.compile(module, target=target)
        self._main = relax.VirtualMachine(executable, self._device)["main"]
        self._inputs = [tvm.runtime.tensor(array, self._device) for array in inputs]
        self.version = str(tvm.__version__)

    def _ready(self, module: Any, job: Job, target: Any) -> Any:
        """Return the module for apache-tvm's default pipeline."""
        del job, target
        return module

    def outputs(self) -> list[Array]:
        found = self._main(*self._inputs)
        return [output.numpy() for output in ([found] if hasattr(found, "numpy") else found)]

    def run(self) -> None:
        self._main(*self._inputs)
        self._device.sync()


class MetaScheduled(Untuned):
    """The model with the best schedules of a MetaSchedule database, its weights packed in advance."""

    def _ready(self, module: Any, job: Job, target: Any) -> Any:
        import tvm
        from tvm import relax

        database = Path(str(job.database))
        measured = database / "database_tuning_record.json"
        try:
            self.note = f"{len(measured.read_bytes().splitlines())} trials"
        except OSError as error:
            raise InputError("not a MetaSchedule database", file=measured) from error
        with target:
            tuned = tvm.transform.Sequential(
                [
                    relax.transform.DecomposeOpsForInference(),
                    relax.transform.CanonicalizeBindings(),
                    relax.get_pipeline("zero"),
                    *([] if job.on_gpu else [relax.transform.AttachAttrLayoutFreeBuffers()]),
                    relax.transform.MetaScheduleApplyDatabase(str(database)),
                ]
            )(module)
            return tuned if job.on_gpu else _packed(tuned)


def _packed(module: Any) -> Any:
    """Return a tuned module with its weights packed, as TVM's `static_shape_tuning_pipeline` does.

    Functions without weights are kept out of the pass that splits off the packing, which fails on a detector's.
    """
    import tvm
    from tvm import relax

    functions = dict(module.functions_items())
    apart = {name for name, function in functions.items() if _weightless(function)}
    others = tvm.IRModule({name: functions[name] for name in functions.keys() - apart})
    split = relax.transform.SplitLayoutRewritePreproc()(others)
    split.update(tvm.IRModule({name: functions[name] for name in apart}))
    return tvm.transform.Sequential([relax.transform.LiftTransformParams(), relax.transform.FoldConstant()])(split)


def _weightless(function: Any) -> bool:
    """Return whether a function has no weights to pack, according to TVM."""
    attributes = function.attrs
    return attributes is not None and _WEIGHTS in attributes and not list(attributes[_WEIGHTS])


class Hybridized(Runner):
    """The original model in MXNet, as gluoncv's users run it: hybridized, with static memory."""

    def __init__(self, job: Job, inputs: Sequence[Array]) -> None:
        hide_torch()
        from tophub_registry.frontends.mxnet import libraries

        mx = libraries.mxnet()
        if job.on_gpu and mx.context.num_gpus() == 0:
            raise EnvironmentFailure("this MXNet has no GPU", remedy="it needs one that was built for CUDA")
        context = mx.gpu(0) if job.on_gpu else mx.cpu()
        prepared = job.prepared
        if not prepared.symbol.exists():
            raise UsageError(f"{prepared.model} is not an MXNet model but one of {prepared.framework}")
        names = [*prepared.shapes]
        self._block = mx.gluon.SymbolBlock.imports(str(prepared.symbol), names, str(prepared.params), ctx=context)
        self._block.hybridize(static_alloc=True, static_shape=True)
        self._inputs = [mx.nd.array(array, ctx=context) for array in inputs]
        self.version = str(mx.__version__)

    def _forward(self) -> list[Any]:
        found = self._block(*self._inputs)
        return list(found) if isinstance(found, (list, tuple)) else [found]

    def outputs(self) -> list[Array]:
        return [output.asnumpy() for output in self._forward()]

    def run(self) -> None:
        for output in self._forward():
            output.wait_to_read()


class OnnxRuntime(Runner):
    """The network in ONNX Runtime; an ONNX model's own file."""

    def __init__(self, job: Job, inputs: Sequence[Array]) -> None:
        hide_torch()
        try:
            import onnxruntime

            model = _onnx_file(job)
        except ImportError as error:
            raise MissingExtra("onnx", error) from error
        provider: Any = "CPUExecutionProvider"
        if job.on_gpu:
            if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
                raise EnvironmentFailure("this ONNX Runtime has no GPU", remedy="pip install onnxruntime-gpu")
            provider = ("CUDAExecutionProvider", {"use_tf32": "0"})
            self.note = "TF32 off"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = job.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(model, options, providers=[provider])
        self._binding = self._session.io_binding()
        device = "cuda" if job.on_gpu else "cpu"
        for node, array in zip(self._session.get_inputs(), inputs, strict=True):
            self._binding.bind_ortvalue_input(node.name, onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0))
        for node in self._session.get_outputs():
            self._binding.bind_output(node.name, device)
        self.version = str(onnxruntime.__version__)

    def outputs(self) -> list[Array]:
        self.run()
        return list(self._binding.copy_outputs_to_cpu())

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)


class OpenVino(Runner):
    """The network in OpenVINO; an ONNX model's own file."""

    note = "float32, latency hint"

    def __init__(self, job: Job, inputs: Sequence[Array]) -> None:
        hide_torch()
        _check_on_cpu(job, "OpenVINO")
        try:
            import openvino

            model = _onnx_file(job)
        except ImportError as error:
            raise MissingExtra("bench", error) from error
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",  # otherwise bfloat16 on a processor that has it
            "INFERENCE_NUM_THREADS": job.threads,
        }
        core = openvino.Core()
        try:
            compiled = core.compile_model(core.read_model(model), "CPU", settings)
        except RuntimeError as error:
            *_, reason = str(error).strip().splitlines() or [""]  # the lines before it name OpenVINO's sources
            raise UsageError(f"OpenVINO can't read this model: {reason}") from error
        self._outputs = range(len(compiled.outputs))
        self._request = compiled.create_infer_request()
        for index, array in enumerate(inputs):
            self._request.set_input_tensor(index, openvino.Tensor(array))
        self.version = str(openvino.__version__).partition("-")[0]

    def outputs(self) -> list[Array]:
        self.run()
        return [self._request.get_output_tensor(index).data.copy() for index in self._outputs]

    def run(self) -> None:
        self._request.infer()


class Ncnn(Runner):
    """The network in ncnn, translated from ONNX by pnnx."""

    note = "float32, translated by pnnx"

    def __init__(self, job: Job, inputs: Sequence[Array]) -> None:
        hide_torch()
        _check_on_cpu(job, "ncnn")
        try:
            import ncnn

            from tophub_registry.bench.ncnn_model import ncnn_model, pnnx_program

            program = pnnx_program()
            model = _onnx_bytes(job)
        except ImportError as error:
            raise MissingExtra("bench", error) from error
        self._net = ncnn.Net()
        for name in dir(self._net.opt):
            if name.startswith(_SMALL_FLOATS):
                setattr(self._net.opt, name, False)
        self._net.opt.num_threads = job.threads
        with tempfile.TemporaryDirectory(prefix="tophub-ncnn-") as folder:
            parameters, weights = ncnn_model(model, program, Path(folder))
            if self._net.load_param(str(parameters)) or self._net.load_model(str(weights)):
                raise EnvironmentFailure("ncnn can't load what pnnx translated")
        # ncnn has no integers of 64 bits.
        arrays = [array.astype("int32") if array.dtype == "int64" else array for array in inputs]
        self._inputs = [ncnn.Mat(array, batch_index=0).clone() for array in arrays]
        self._shapes = [array.shape for array in job.prepared.references()]
        self.version = version("ncnn")

    def outputs(self) -> list[Array]:
        found = [blob.numpy(batch_index=0).copy() for blob in self._forward()]
        if not all(np.isfinite(array).all() for array in found):
            raise EnvironmentFailure("ncnn's outputs are not finite: pnnx can't translate this model")
        # ncnn drops axes of size one.
        return [
            array.reshape(shape) if array.size == math.prod(shape) else array
            for array, shape in zip(found, self._shapes, strict=True)
        ]

    def _forward(self) -> list[Any]:
        extractor = self._net.create_extractor()
        for name, blob in zip(self._net.input_names(), self._inputs, strict=True):
            extractor.input(name, blob)
        results = [extractor.extract(name) for name in self._net.output_names()]
        if any(status for status, _ in results):
            raise EnvironmentFailure("ncnn can't run what pnnx translated")
        return [blob for _, blob in results]

    def run(self) -> None:
        self._forward()


_SMALL_FLOATS = ("use_bf16", "use_fp16")
"""What ncnn's options of storing, packing and computing in 16 bits begin with."""


def _check_on_cpu(job: Job, framework: str) -> None:
    if job.on_gpu:
        raise UsageError(f"{framework} is compared on CPUs only", remedy="--target llvm")


def _onnx_bytes(job: Job) -> bytes:
    """Return the model as ONNX with its weights inside."""
    model = _onnx_file(job)
    if isinstance(model, bytes):
        return model
    import onnx

    return bytes(onnx.load(model).SerializeToString())


def _onnx_file(job: Job) -> bytes | str:
    """Return the model for what reads ONNX: an ONNX model's own file, or the translated network."""
    if job.prepared.onnx.exists():
        return str(job.prepared.onnx)
    from tophub_registry.bench.onnx_model import onnx_model

    return onnx_model(job.prepared.network())


RUNNERS: Mapping[str, Callable[[Job, Sequence[Array]], Runner]] = {
    "tophub": Ours,
    NO_RECORDS: WithoutRecords,
    "gluoncv": Hybridized,
    "pytorch": Torch,
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "ncnn": Ncnn,
    "tvm": Untuned,
    METASCHEDULE: MetaScheduled,
    "pytorch-compile": CompiledTorch,
}
"""Runners by their names on the command line."""
