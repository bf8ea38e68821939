"""The devices that code is compiled for and runs on: completing targets, processor features, threads and peak.

Needs TVM, except for functions that ask only the operating system.
"""
