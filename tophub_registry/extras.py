"""The optional dependencies: which extra installs which modules, and the check that they are there."""

from __future__ import annotations

from importlib.util import find_spec

from tophub_registry.errors import MissingExtra

_COMPILE = ("numpy", "tvm", "xgboost")

EXTRAS = {
    "compile": _COMPILE,
    "tune": (*_COMPILE, "pebble", "threadpoolctl"),
    "mxnet": ("mxnet", "gluoncv"),
    "onnx": ("onnx", "onnxruntime"),
    "torch": ("torch",),
    "report": ("jinja2", "plotly"),
    "sign": ("cryptography",),
    "bench": ("openvino", "ncnn", "pnnx"),
}
"""The modules that each extra installs. If two extras install the same module, the smaller one comes first."""


def require(extra: str) -> None:
    """Raise MissingExtra if a module of an extra is not installed; nothing is imported."""
    for module in EXTRAS[extra]:
        if find_spec(module) is None:
            raise MissingExtra(extra, ModuleNotFoundError(name=module))


def is_installed(extra: str) -> bool:
    """Return whether all modules of an extra are installed; nothing is imported."""
    return all(find_spec(module) is not None for module in EXTRAS[extra])


def extra_with(module: str | None) -> str | None:
    """Return the smallest extra that installs a module; None if there is none."""
    top = (module or "").partition(".")[0]
    return next((extra for extra, modules in EXTRAS.items() if top in modules), None)
