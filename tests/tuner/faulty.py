"""A template with every fault that a config can have, for the tests of measuring; `fault` is the knob.

Its arguments are the faults of its configs. "none" and all that begins so is a sound config.
"""

import ctypes
import os
import time

from tophub_registry.templates.space import ConfigSpace, knob
from tophub_registry.templates.template import Template, Tensor

FAULTS = [
    "none",
    "refused by the template",
    "rejected by the compiler",
    "hangs in the compiler",
    "hangs in the compiler, holding Python's lock",
    "crashes the compiler",
    "hangs at run time",
    "crashes at run time",
    "exits at run time",
    "is killed at run time",
    "computes something else",
    "computes no numbers",
]


class PlusOne:
    flop = 16
    inputs = ((16,),)
    dtype = "float32"

    def reference(self, inputs):
        return inputs[0] + 1


class Faulty(Template):
    task = "faulty.test"

    @staticmethod
    def parse(_args):
        return PlusOne()

    def _space(self):
        return ConfigSpace([knob("fault", self.args)])

    def default(self, target):
        return self.space.config(0)

    def tensors(self, config):
        return [Tensor((16,), "float32"), Tensor((16,), "float32")]

    def schedule(self, config):
        fault = config.value("fault")
        if fault == "refused by the template":
            raise ValueError("this config makes no sense")
        if fault == "hangs in the compiler":
            time.sleep(60)
        if fault == "hangs in the compiler, holding Python's lock":
            ctypes.PyDLL(None).sleep(60)
        if fault == "crashes the compiler":
            os.kill(os.getpid(), 11)
        return super().schedule(config)

    def computation(self, config):
        from tvm import te, tirx

        fault = config.value("fault")
        calls = {
            "hangs at run time": ("sleep", 60),
            "crashes at run time": ("abort",),
            "exits at run time": ("_exit", 3),
            "is killed at run time": ("raise", 9),
        }
        data = te.placeholder((16,), name="data")

        def body(i):
            if fault == "computes something else":
                return data[i] + tirx.Select(i == 15, 1.01, 1.0)
            if fault == "computes no numbers":
                return data[i] * tirx.const(float("nan"), "float32")
            if fault in calls:
                name, *arguments = calls[fault]
                return data[i] + tirx.call_extern("int32", name, *arguments).astype("float32")
            return data[i] + 1

        return [data, te.compute((16,), body, name="out")]

    def apply(self, sch, config):
        (loop,) = sch.get_loops(sch.get_sblock("out"))
        if config.value("fault") == "rejected by the compiler":
            sch.bind(loop, "threadIdx.x")  # there are no such threads on a CPU
