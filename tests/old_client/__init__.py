"""A real old client: hhb-tvm, a TVM 0.16 with AutoTVM, Relay and its own tophub, in an environment of its own."""
