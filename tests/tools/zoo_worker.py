"""Stands for the zoo's worker: what becomes of a model is decided by its name."""

import json
import os
import signal
import sys
import time
from pathlib import Path

FOUND = {"layers": 3, "tasks": 2, "untuned": {"convolution": 1}, "untranslated": {}}
AGREES = {"difference": 2e-6, "flat": 0, "detections": 0, "moved": 0, "others": 0, "own_difference": None}


def tell(**fields):
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def main():
    name = sys.argv[1]
    tell(stage="extract", processor="llvm -mcpu=znver4", device="A processor")
    tell(**FOUND)
    if name == "vgg11":
        tell(compiled=True, agrees=True, own_others=None, **AGREES)
    elif name == "vgg13":  # takes too long
        Path(os.environ.get("ZOO_STARTED", os.devnull)).write_text(str(os.getpid()))
        time.sleep(60)
    elif name == "vgg16":  # takes too much memory, in a process of its own
        if os.fork() == 0:
            taken = bytearray(os.urandom(1)) * 2**29
            time.sleep(60)
            del taken
        time.sleep(60)
    elif name == "vgg19":
        sys.stderr.write("it is over\n")
        os.kill(os.getpid(), signal.SIGSEGV)
    elif name == "alexnet":
        sys.exit("no such thing")
    else:
        tell(untranslated={"topk": 2}, whose="ours", why="can't translate topk")
    tell(done=True)


if __name__ == "__main__":
    main()
