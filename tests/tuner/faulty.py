"""A template with every fault that a config can have, for the tests of measuring; `fault` is the knob."""

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
]


class Faulty(Template):
    task = "faulty.test"

    def __init__(self, args):
        super().__init__(args)

    @property
    def flop(self):
        return 16

    def _space(self):
        return ConfigSpace([knob("fault", FAULTS)])

    def default(self, target):
        return self.space.config(0)

    def tensors(self, config):
        return [Tensor((16,), "float32"), Tensor((16,), "float32")]

    def pack(self, config, inputs):
        return inputs

    def unpack(self, config, output):
        return output

    def schedule(self, config):
        from tvm import s_tir, te, tirx

        fault = config.value("fault")
        if fault == "refused by the template":
            raise ValueError("this config makes no sense")
        if fault == "hangs in the compiler":
            time.sleep(60)
        if fault == "hangs in the compiler, holding Python's lock":
            ctypes.PyDLL(None).sleep(60)
        if fault == "crashes the compiler":
            os.kill(os.getpid(), 11)
        calls = {
            "hangs at run time": ("sleep", 60),
            "crashes at run time": ("abort",),
            "exits at run time": ("_exit", 3),
        }
        data = te.placeholder((16,), name="data")

        def body(i):
            if fault not in calls:
                return data[i] + 1
            name, *arguments = calls[fault]
            return data[i] + tirx.call_extern("int32", name, *arguments).astype("float32")

        function = te.create_prim_func([data, te.compute((16,), body, name="out")])
        sch = s_tir.Schedule(function.with_attr("global_symbol", "main"), debug_mask="none")
        if fault == "rejected by the compiler":
            (loop,) = sch.get_loops(sch.get_sblock("out"))
            sch.bind(loop, "threadIdx.x")  # there are no such threads on a CPU
        return sch
