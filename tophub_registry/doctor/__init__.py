"""What is wrong with an installation, its root and its locations, and what to do about it.

Every check is isolated: whatever is broken, the others run. Nothing is changed. What may crash when it is imported is
not imported into this process: TVM is asked in a child process (`probe`), and of the others the metadata is read.
"""
