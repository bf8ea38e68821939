"""AutoTVM's templates on today's TVM: config spaces in plain Python, computations and schedules on TVM.

The names here are for other distributions' templates; see `registry`.
"""

from tophub_registry.templates.convolution_workloads import Conv2d, TransposedConv2d
from tophub_registry.templates.product_workloads import Matmul
from tophub_registry.templates.space import ConfigSpace, knob, split
from tophub_registry.templates.template import Template, Tensor
from tophub_registry.templates.workloads import Workload

__all__ = ["ConfigSpace", "Conv2d", "Matmul", "Template", "Tensor", "TransposedConv2d", "Workload", "knob", "split"]
