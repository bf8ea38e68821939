"""The cost model: predicts a config's speed from its workload and knobs, without building it.

It is learned from the trials of many workloads, so that it also ranks the configs of a workload that nobody measured.
"""
