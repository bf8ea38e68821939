"""A GPU's code where there is no GPU: TVM's CUDA, compiled by g++, runs on the processor, one thread after the other.

All is as for a GPU but for two things: the device's memory is the processor's, and `cuda_on_cpu.h` stands for CUDA. As
that changes TVM for good, the code runs in a process of its own: `python -m tests.gpu.cuda_on_cpu FOLDER...`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tvm
import tvm_ffi
from tvm import relax

from tophub_registry.bench.prepared import read_arrays, write_arrays
from tophub_registry.templates.mma import PASS_CONFIG

ARCH = "sm_90a"
_MODULE, _INPUTS, _OUTPUTS = "module.json", "inputs.npz", "outputs.npz"

_DECLARED = re.compile(r'^extern "C" __global__ void (?:__launch_bounds__\(\d+\) )?(\w+)\((.*)\);$', re.MULTILINE)

_VOLATILE = re.compile(r"^(.*\(volatile [^)]*\)\w+\)\[(?!0\]).*;)$", re.MULTILINE)
"""Statements by which the threads of a warp sum up; TVM counts on all of them being at the same one.

What has one place only, a result, is read and written between barriers, and by some threads alone.
"""

_DYNAMIC = re.compile(r"extern __shared__ __align__\(\d+\) uchar (\w+)\[\];")
"""Shared memory whose size the launch decides."""

_MOST_SHARED = 227 << 10

_COPY = re.compile(r"void ptx_cp_async_legacy(_pred)?_c[ag]_(\d+)_(\d+)_(\d+)\(([^)]*)\) \{.*?\n\}", re.DOTALL)
"""Functions that begin a copy into shared memory; the numbers are bytes: of the copy, and of elements on both sides."""

_COMMIT = re.compile(r'asm volatile\("cp\.async\.commit_group;"[^;]*\);')
_WAIT = re.compile(r'asm volatile\("cp\.async\.wait_group (\d+);"[^;]*\);')

_LAUNCHER = """
extern "C" int __tvm_ffi_{name}(void*, const TVMFFIAny* args, int32_t, TVMFFIAny*) {{
  dim3 grid{{1, 1, 1}}, block{{1, 1, 1}};
  {extents}
  gpu::launch(grid, block, [=] {{ {name}({arguments}); }});
  return 0;
}}
"""


class Launch(NamedTuple):
    """A function that is scheduled for a GPU, its inputs, and the shapes and types of its outputs."""

    kernel: Any
    inputs: Sequence[np.ndarray]
    outputs: Sequence[tuple[tuple[int, ...], str]]


def run_kernels(launches: Sequence[Launch]) -> list[np.ndarray]:
    """Run one function after the other, and return all their outputs."""
    builder = relax.BlockBuilder()
    arguments = [
        [relax.Var(f"x{i}_{j}", relax.TensorType(each.shape, str(each.dtype))) for j, each in enumerate(launch.inputs)]
        for i, launch in enumerate(launches)
    ]
    with builder.function("main", list(chain(*arguments))):
        with builder.dataflow():
            found = []
            for launch, taken in zip(launches, arguments, strict=True):
                kernel = launch.kernel.without_attr("global_symbol").with_attr("tirx.is_scheduled", True)
                types = [relax.TensorType(shape, dtype) for shape, dtype in launch.outputs]
                call = relax.call_tir(builder.add_func(kernel, "kernel"), relax.Tuple(taken), out_ty=types)
                result = builder.emit(call)
                found += [result] if len(types) == 1 else [result[i] for i in range(len(types))]
            output = builder.emit_output(relax.Tuple(found))
        builder.emit_func_output(output)
    return run_module(builder.get(), list(chain(*(launch.inputs for launch in launches))))


def run_module(module: tvm.IRModule, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Run `main`, in Relax, of a module whose kernels are scheduled for a GPU."""
    (outputs,) = run_modules([(module, inputs)])
    return outputs


def run_modules(programs: Sequence[tuple[tvm.IRModule, Sequence[np.ndarray]]]) -> list[list[np.ndarray]]:
    """Run `main` of several modules, each with its inputs, in one process."""
    with tempfile.TemporaryDirectory(prefix="cuda-on-cpu-") as name:
        folders = [Path(name) / str(number) for number in range(len(programs))]
        for folder, (module, inputs) in zip(folders, programs, strict=True):
            folder.mkdir()
            (folder / _MODULE).write_text(tvm.ir.save_json(module))
            write_arrays(folder / _INPUTS, inputs)
        command = [sys.executable, "-m", "tests.gpu.cuda_on_cpu", *map(str, folders)]
        subprocess.run(command, cwd=Path(__file__).parents[2], check=True)
        return [read_arrays(folder / _OUTPUTS) for folder in folders]


def main() -> None:
    """Compile and run what `run_modules` wrote."""
    _install()
    for folder in map(Path, sys.argv[1:]):
        _run(folder)


def _run(folder: Path) -> None:
    target = tvm.target.Target({"kind": "cuda", "arch": ARCH}, host="llvm")
    with tvm.transform.PassContext(opt_level=3, config=PASS_CONFIG):
        executable = tvm.compile(tvm.ir.load_json((folder / _MODULE).read_text()), target=target)
    device = tvm.cuda(0)
    inputs = [tvm.runtime.tensor(each, device) for each in read_arrays(folder / _INPUTS)]
    found = relax.VirtualMachine(executable, device)["main"](*inputs)
    write_arrays(folder / _OUTPUTS, [each.numpy() for each in ([found] if hasattr(found, "numpy") else found)])


def _install() -> None:
    """Let TVM take the processor for a GPU."""
    tvm_ffi.register_global_func("device_api.cuda", tvm_ffi.get_global_func("device_api.cpu"), override=True)
    generate = tvm_ffi.get_global_func("target.build.cuda")

    def build(module: tvm.IRModule, target: tvm.target.Target) -> Any:
        return _built(module, generate(module, target).inspect_source())

    tvm_ffi.register_global_func("target.build.cuda", build, override=True)


def _built(module: tvm.IRModule, code: str) -> Any:
    """Return the kernels of some CUDA code as a module from which TVM's host code launches them as from a GPU's."""
    functions = {str(function.attrs["global_symbol"]): function for _, function in module.functions_items()}
    launchers = [
        _launcher(name, declared.split(","), list(map(str, functions[name].attrs["tirx.kernel_launch_params"])))
        for name, declared in _DECLARED.findall(code)
    ]
    code = _emulated(_VOLATILE.sub(r"\1 __syncwarp();", code))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for header in ("cuda.h", "cuda_fp16.h"):
            (folder / header).write_text(f'#include "{Path(__file__).with_suffix(".h")}"\n')
        (folder / "code.cc").write_text("\n".join([code, "#include <tvm/ffi/c_api.h>", *launchers]))
        include = [f"-I{each}" for each in (folder, *tvm_ffi.libinfo.include_paths())]
        command = ["g++", "-std=c++17", "-O2", "-w", "-shared", "-fPIC", *include, "code.cc", "-o", "code.so"]
        subprocess.run(command, cwd=folder, check=True)
        return tvm.runtime.load_module(str(folder / "code.so"))


def _emulated(code: str) -> str:
    """Replace what is written in PTX, and memory whose size is not known to the compiler."""

    def copy(found: re.Match[str]) -> str:
        predicated, size, to, from_, arguments = found.groups()
        at = f"(char*)dst + dst_off * {to}"
        begin = f"gpu::copy_async({at}, (char*)src + src_off * {from_}, {size});"
        body = f"if (predicate) {begin} else std::memset({at}, 0, {size});" if predicated else begin
        return f"void ptx_cp_async_legacy{predicated or ''}_cg_{size}_{to}_{from_}({arguments}) {{ {body} }}"

    code = _DYNAMIC.sub(rf"static uchar \1[{_MOST_SHARED}] __attribute__((aligned(1024)));", code)
    return _WAIT.sub(r"gpu::wait_group(\1);", _COMMIT.sub("gpu::commit();", _COPY.sub(copy, code)))


def _launcher(name: str, declared: Sequence[str], tags: Sequence[str]) -> str:
    """Return a function by which TVM launches a kernel: its arguments, then how many blocks and threads."""
    types = [each.strip().rsplit(" ", 1)[0].replace("__restrict__", "") for each in declared]
    members = ["v_ptr" if "*" in each else "v_int64" for each in types]
    extents = [
        each.replace("blockIdx", "grid").replace("threadIdx", "block") for each in tags if "shared_memory" not in each
    ]
    return _LAUNCHER.format(
        name=name,
        arguments=", ".join(
            f"({type_})args[{i}].{its}" for i, (type_, its) in enumerate(zip(types, members, strict=True))
        ),
        extents=" ".join(f"{its} = (int)args[{len(types) + i}].v_int64;" for i, its in enumerate(extents)),
    )


if __name__ == "__main__":
    main()
