"""Asks TVM what it can do. The doctor runs this file's text in a process of its own, since TVM may crash.

Each step prints a line of JSON, so that what is known before a crash is not lost. It needs nothing but TVM.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def version() -> dict[str, Any]:
    """Import TVM: its version and its place."""
    import tvm

    return {"version": str(tvm.__version__), "place": str(tvm.__file__)}


def processor() -> dict[str, Any]:
    """Ask LLVM about this processor, and the one in $TOPHUB_PROCESSOR."""
    import tvm

    llvm = tvm.target.codegen
    name = str(llvm.llvm_get_system_cpu())
    lesser = os.environ.get("TOPHUB_PROCESSOR") or name
    known = lesser in map(str, llvm.llvm_get_cpu_archlist(tvm.target.Target({"kind": "llvm"})))
    found = {"llvm": int(llvm.llvm_version_major()), "processor": name, "features": features(name)}
    return {**found, "lesser_is_known": known, "lesser_features": features(lesser) if known else []}


def features(name: str) -> list[str]:
    """Return the features of a processor, by LLVM's names."""
    import tvm

    target = tvm.target.Target({"kind": "llvm", "mcpu": name})
    return sorted(map(str, tvm.target.codegen.llvm_get_cpu_features(target)))


def serialising() -> dict[str, Any]:
    """Serialise IR, which crashes with an apache-tvm-ffi that does not fit."""
    import tvm
    from tvm import te

    shape = te.placeholder((1,), name="data")
    function = te.create_prim_func([shape, te.compute((1,), lambda i: shape[i] + 1, name="more")])
    return {"serialised": len(tvm.ir.save_json(tvm.IRModule({"main": function})))}


def gpu() -> dict[str, Any]:
    """Look for a GPU through TVM."""
    import tvm

    return {"cuda": bool(tvm.runtime.enabled("cuda")), "gpu": bool(tvm.cuda(0).exist)}


def main() -> None:
    """Run the steps, each for itself."""
    for step in (version, processor, serialising, gpu):
        sys.stdout.write(json.dumps({"started": step.__name__}) + "\n")
        sys.stdout.flush()
        try:
            found = step()
        except Exception as error:  # noqa: BLE001  # it is reported
            found = {"errors": {step.__name__: f"{type(error).__name__}: {error}"[:400]}}
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
        if step is version and "errors" in found:
            return


if __name__ == "__main__":
    main()
