"""The check of kernels against NumPy: a workload's inputs, and the expected output.

All configs of a workload get the same inputs, each in its own layout, and the reference is computed once.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tophub_registry.records.record import Config
    from tophub_registry.templates.template import Template, Tensor

_HALF_TOLERANCE = 5e-2
_ARRAYS = 48  # kept on the device


class WrongAnswer(Exception):  # noqa: N818  # what it is called in AutoTVM's MeasureErrorNo
    """A kernel's output differs from NumPy's."""


class ReferenceOutput:
    """A workload's inputs in the model's layout, between -1 and 1, and the expected output."""

    def __init__(self, template: Template) -> None:
        import numpy as np

        self.template = template
        workload = template.workload
        dtype = np.dtype(workload.dtype)
        rng = np.random.default_rng(7)
        span = 1 if dtype.kind == "f" else 8
        self.inputs = [(span * rng.uniform(-1, 1, shape)).astype(dtype) for shape in workload.inputs]
        wide = np.promote_types(dtype, np.float32)
        self.expected = workload.reference([values.astype(wide) for values in self.inputs])
        self._largest = float(np.abs(self.expected).max()) or 1.0
        self._tolerance = template.tolerance if dtype.itemsize >= wide.itemsize else _HALF_TOLERANCE

    def of(self, template: Template) -> bool:
        """Whether this is for a template's workload."""
        return type(self.template) is type(template) and self.template.args == template.args

    def check(self, config: Config, output: Any) -> float:
        """Return the largest error of a kernel's output, in the kernel's layout, as a fraction of its largest number.

        Raises
        ------
        WrongAnswer
            The error is more than rounding can explain.
        """
        import numpy as np

        difference = self.template.unpack(config, output) - self.expected
        error = float(np.abs(difference, out=difference).max()) / self._largest
        if np.isnan(error):
            raise WrongAnswer("the output contains NaN, or was not written completely")
        if error > self._tolerance:
            raise WrongAnswer(f"the output is off by {error:.2g} of its largest number")
        return error


class DeviceArrays:
    """A workload's arrays on a device, kept there for all configs with the same layout.

    Parameters
    ----------
    device
        A `tvm.runtime.Device`, here or behind RPC.
    """

    def __init__(self, reference: ReferenceOutput, device: Any) -> None:
        self.reference = reference
        self._device = device
        self._arrays: OrderedDict[tuple[str, Tensor], Any] = OrderedDict()

    def arguments(self, config: Config) -> list[Any]:
        """Return a kernel's arguments: the inputs in its layout, then an output filled with NaN."""
        while len(self._arrays) > _ARRAYS:
            self._arrays.popitem(last=False)
        *given, out = self.reference.template.tensors(config)
        keys = [(f"input {number}", tensor) for number, tensor in enumerate(given)]
        if not all(key in self._arrays for key in keys):
            packed = self.reference.template.pack(config, self.reference.inputs)
            for key, values in zip(keys, packed, strict=True):
                self._keep(key, values)
        return [*(self._arrays[key] for key in keys), self._output(out)]

    def _output(self, tensor: Tensor) -> Any:
        import numpy as np

        blank, output = ("blank", tensor), ("output", tensor)
        if output not in self._arrays or blank not in self._arrays:
            nothing = np.full(tensor.shape, np.nan if np.dtype(tensor.dtype).kind == "f" else -1, tensor.dtype)
            self._keep(blank, nothing)
            self._keep(output, nothing)
        self._arrays[blank].copyto(self._arrays[output])
        return self._arrays[output]

    def _keep(self, key: tuple[str, Tensor], values: Any) -> None:
        import numpy as np
        import tvm

        if key not in self._arrays:
            self._arrays[key] = tvm.runtime.tensor(np.ascontiguousarray(values), self._device)
