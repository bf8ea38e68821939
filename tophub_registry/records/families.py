"""Families of hardware: on which other devices a kernel tuned for one device can be expected to do well.

For x86 processors a family is a level of the x86-64 psABI, which decides the width and number of vector registers;
for NVIDIA's GPUs it is a generation, by CUDA's compute capabilities. Sources: LLVM's table of processors (a test
compares ours with that of the installed TVM, which is also asked for names that are missing here), and NVIDIA's list
of compute capabilities.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

    from tophub_registry.records.target import Target


class Vectors(NamedTuple):
    """The vector registers of a processor, which kernels are tiled for.

    Attributes
    ----------
    family
        The level of the x86-64 psABI: `x86-64`, `x86-64-v2`, `x86-64-v3` (AVX2), `x86-64-v4` (AVX-512).
    lanes
        32-bit numbers in a vector register.
    registers
        How many such registers there are.
    """

    family: str
    lanes: int
    registers: int


_SSE = Vectors("x86-64", 4, 16)
_V2 = Vectors("x86-64-v2", 4, 16)
_AVX = Vectors("x86-64-v2", 8, 16)
_V3 = Vectors("x86-64-v3", 8, 16)
_V4 = Vectors("x86-64-v4", 16, 32)
_PHI = Vectors("x86-64-v3", 16, 32)  # AVX-512 without the parts that the psABI's fourth level asks for

_PROCESSORS = {
    _SSE: """
        amdfam10 athlon athlon-4 athlon-fx athlon-mp athlon-tbird athlon-xp athlon64 athlon64-sse3 atom
        barcelona bonnell btver1 c3 c3-2 core2 core_2_duo_sse4_1 core_2_duo_ssse3 generic geode i386 i486 i586
        i686 k6 k6-2 k6-3 k8 k8-sse3 lakemont nocona opteron opteron-sse3 penryn pentium pentium-m pentium-mmx
        pentium2 pentium3 pentium3m pentium4 pentium4m pentium_4 pentium_4_sse3 pentium_ii pentium_iii
        pentium_iii_no_xmm_regs pentium_m pentium_mmx pentium_pro pentiumpro prescott winchip-c6 winchip2
        x86-64 yonah""",
    _V2: """
        atom_sse4_2 atom_sse4_2_movbe core_aes_pclmulqdq core_i7_sse4_2 corei7 goldmont goldmont-plus
        goldmont_plus nehalem silvermont slm tremont westmere x86-64-v2""",
    _AVX: """
        bdver1 bdver2 bdver3 btver2 core-avx-i core_2nd_gen_avx core_3rd_gen_avx corei7-avx ivybridge
        sandybridge""",
    _V3: """
        alderlake arrowlake arrowlake-s arrowlake_s bdver4 broadwell clearwaterforest core-avx2
        core_4th_gen_avx core_4th_gen_avx_tsx core_5th_gen_avx core_5th_gen_avx_tsx gracemont grandridge
        haswell lunarlake meteorlake pantherlake raptorlake sierraforest skylake wildcatlake x86-64-v3 znver1
        znver2 znver3""",
    _V4: """
        cannonlake cascadelake cooperlake diamondrapids emeraldrapids graniterapids graniterapids-d
        graniterapids_d icelake-client icelake-server icelake_client icelake_server novalake rocketlake
        sapphirerapids skx skylake-avx512 skylake_avx512 tigerlake x86-64-v4 znver4 znver5""",
    _PHI: "knl knm mic_avx512",
}
PROCESSORS = {name: vectors for vectors, names in _PROCESSORS.items() for name in names.split()}
"""LLVM's x86 processors, by the names that `-mcpu` takes."""

_GPUS = {
    "sm_50": "gtx750 gtx750ti",
    "sm_52": "m40 m60 gtx960 gtx970 gtx980 gtx980ti titanx-maxwell",
    "sm_60": "p100",
    "sm_61": "p4 p40 1050 1050ti 1060 1070 1070ti 1080 1080ti gtx1060 gtx1070 gtx1080 gtx1080ti titanx titanxp",
    "sm_70": "v100 titanv",
    "sm_75": "t4 gtx1650 gtx1660 gtx1660ti rtx2060 rtx2070 rtx2080 rtx2080ti 2080ti titanrtx rtx6000 rtx8000",
    "sm_80": "a100 a30 a800",
    "sm_86": "a10 a16 a40 a2 rtx3060 rtx3060ti rtx3070 rtx3080 rtx3080ti rtx3090 rtx3090ti rtxa4000 rtxa5000 rtxa6000",
    "sm_89": "l4 l40 l40s rtx4060 rtx4060ti rtx4070 rtx4080 rtx4090 rtx6000ada",
    "sm_90": "h100 h100nvl h800 h20 h200 gh200",
    "sm_100": "b100 b200 gb200",
    "sm_103": "b300 gb300",
    "sm_120": "rtx5060 rtx5070 rtx5080 rtx5090",
}
_GENERATIONS = {model: generation for generation, models in _GPUS.items() for model in models.split()}

FAMILIES = ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4")
"""The levels of the x86-64 psABI, each of which includes those before it."""

GENERAL_KEYS = frozenset({"cpu", "gpu", *FAMILIES})
"""Keys that do not name a specific device."""

_NEEDED = {
    "x86-64-v2": {"cx16", "popcnt", "sse3", "sse4.1", "sse4.2", "ssse3"},
    "x86-64-v3": {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"},
    "x86-64-v4": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}
"""The features that each level of the psABI adds to the one before, as LLVM names them."""


def vectors_of(target: Target) -> Vectors | None:
    """Return the vector registers of an x86 processor; None for another target or an unknown processor.

    Without `-mcpu` these are what every x86-64 processor has. `-mattr` counts too.
    """
    attributes = target.attributes
    triple = attributes.get("mtriple", "x86_64")
    if target.kind not in ("llvm", "c") or "device" in attributes or not re.match(r"x86_64|i\d86", triple):
        return None
    name = attributes.get("mcpu", "x86-64")
    known = PROCESSORS.get(name) or _asked_of_llvm(name)
    if known is None:
        return None
    more = {each[1:] for each in attributes.get("mattr", "").split(",") if each.startswith("+")}
    if "avx512f" in more:
        return max(known, _V4, key=lambda each: each.lanes)
    if "avx2" in more:
        return max(known, _V3, key=lambda each: each.lanes)
    return max(known, _AVX, key=lambda each: each.lanes) if "avx" in more else known


def vectors_with(features: Collection[str]) -> Vectors:
    """Return the vector registers of a processor with these features, as LLVM names them."""
    family, *_ = FAMILIES
    for level, needed in _NEEDED.items():
        if not needed <= set(features):
            break
        family = level
    if "avx512f" in features:
        return Vectors(family, 16, 32)
    return Vectors(family, 8 if "avx" in features else 4, 16)


@functools.lru_cache(maxsize=1024)  # names come from logs
def _asked_of_llvm(name: str) -> Vectors | None:
    """Ask the LLVM of the installed TVM about a processor that is newer than our table."""
    if importlib.util.find_spec("tvm") is None:
        return None
    import tvm

    try:
        if name not in map(str, tvm.target.codegen.llvm_get_cpu_archlist(tvm.target.Target({"kind": "llvm"}))):
            return None  # asked about it, LLVM would complain on standard error
        asked = tvm.target.Target({"kind": "llvm", "mcpu": name})
        return vectors_with(set(map(str, tvm.target.codegen.llvm_get_cpu_features(asked))))
    except (AttributeError, ValueError, tvm.TVMError):  # an old TVM, or one without LLVM
        return None


def family_of(target: Target) -> str | None:
    """Return the family of a target's hardware, such as `x86-64-v3` or `sm_90`; None if unknown."""
    if target.kind in ("cuda", "nvptx"):
        architecture = re.match(r"sm_\d+", target.attributes.get("arch", ""))
        return architecture[0] if architecture else _GENERATIONS.get(target.model)
    vectors = vectors_of(target)
    return None if vectors is None else vectors.family


def keyed(target: Target) -> Target:
    """Return a target with its family as its only key: `llvm -keys=x86-64-v4 -mcpu=znver4`.

    AutoTVM clients look up records by the target's keys, by default `cpu`, and take the fastest record of any
    processor. They find one with this key only if they ask for it: `-keys=x86-64-v4,cpu`.
    """
    family = family_of(target)
    return target if family is None else target.with_option("keys", family)


def without_general_keys(target: Target) -> Target:
    """Return a target without general keys, such as `cpu` or a family, which do not distinguish devices."""
    options = {**target.attributes}
    said = options.pop("keys", "").replace("'", "")  # a quotation that is split can't be written
    keys = [key for key in said.split(",") if key and key not in GENERAL_KEYS]
    if keys:
        options["keys"] = ",".join(keys)
    return type(target)(target.kind, tuple(sorted(options.items())))


def same_family(one: Target, other: Target) -> bool:
    """Return whether two targets are of the same family, as far as known."""
    family = family_of(one)
    return family is not None and family == family_of(other) and vectors_of(one) == vectors_of(other)
