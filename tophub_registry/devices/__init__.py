"""The devices that code is made for and runs on: what a target leaves to this machine, and what a machine has.

Needs TVM, but for what a function asks of the operating system alone.
"""
