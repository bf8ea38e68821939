"""Reading this machine's environment for a contribution: device, driver, compiler, threads, clocks."""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
from contextlib import suppress
from pathlib import Path

from tophub_registry._version import __version__
from tophub_registry.devices import gpu
from tophub_registry.devices.processor import physical_cores, processor
from tophub_registry.records.environment import Clocks, Environment
from tophub_registry.records.record import Provenance
from tophub_registry.records.target import Target

_CPUINFO = Path("/proc/cpuinfo")
_CLOCK = Path("/sys/devices/system/cpu/cpu0/cpufreq")
_MACHINE = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
_PATIENCE = 20.0  # seconds, for nvidia-smi


def read_environment(target: Target, said: Provenance) -> Environment:
    """Return this machine's environment.

    Parameters
    ----------
    target
        The device, as `devices.device.resolve` returns it.
    said
        Its description, as the process that measures gives it (`Measurer.describe`).

    Raises
    ------
    EnvironmentFailure
        The target is a GPU, and this machine has none.
    """
    import tvm

    on_gpu = target.kind == "cuda"
    return Environment(
        target=str(target),
        device=said.device or "unknown",
        architecture=gpu.architecture_of(gpu.this_gpu()) if on_gpu else processor(),
        vendor="NVIDIA" if on_gpu else _cpuinfo("vendor_id"),
        threads=said.threads,
        bind_threads=said.bind_threads,
        cores=physical_cores(),
        peak_gflops=said.peak_gflops,
        driver=_asked_of_gpu("driver_version") if on_gpu else None,
        compiler=_nvcc() if on_gpu else f"LLVM {tvm.target.codegen.llvm_version_major()}",
        clocks=_clocks_of_gpu() if on_gpu else _clocks_of_processor(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        tvm=str(tvm.__version__),
        tophub=__version__,
        machine=machine(),
    )


def machine() -> str | None:
    """Return an anonymous number of this machine; None if the system has no identity."""
    for path in _MACHINE:
        with suppress(OSError, UnicodeDecodeError):
            if identity := path.read_text(encoding="ascii").strip():
                return hashlib.sha256(f"tophub-registry {identity}".encode()).hexdigest()[:12]
    return None


def _clocks_of_processor() -> Clocks:
    return Clocks(
        now=_number(_cpuinfo("cpu MHz")),
        highest=_number(_read(_CLOCK / "cpuinfo_max_freq"), per=1000),
        governor=_read(_CLOCK / "scaling_governor"),
    )


def _clocks_of_gpu() -> Clocks:
    return Clocks(now=_number(_asked_of_gpu("clocks.sm")), highest=_number(_asked_of_gpu("clocks.max.sm")))


def _cpuinfo(name: str) -> str | None:
    """Return a value of /proc/cpuinfo, for the first CPU."""
    found = re.search(rf"^{name}\s*:\s*(.+)$", _read(_CPUINFO) or "", re.MULTILINE)
    return found[1].strip() if found else None


def _asked_of_gpu(what: str) -> str | None:
    return _output("nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits", "--id=0")


def _nvcc() -> str:
    found = re.search(r"release ([0-9.]+)", _output("nvcc", "--version") or "")
    return f"nvcc {found[1]}" if found else "nvcc"


def _output(*command: str) -> str | None:
    """Return what a program prints; None if there is no such program, or it fails."""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_PATIENCE)
        return done.stdout.strip() or None
    return None


def _read(path: Path) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text(encoding="utf-8").strip() or None
    return None


def _number(text: str | None, per: float = 1) -> float | None:
    with suppress(TypeError, ValueError):
        return float(text or "") / per or None
    return None
