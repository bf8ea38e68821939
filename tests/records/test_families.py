"""What a processor or GPU has in common with others: its family, from tables that LLVM's own confirms."""

from __future__ import annotations

import importlib.util

import pytest

from tophub_registry.records.families import (
    PROCESSORS,
    family_of,
    same_family,
    vectors_of,
    vectors_with,
    without_general_keys,
)
from tophub_registry.records.target import Target


@pytest.mark.skipif(importlib.util.find_spec("tvm") is None, reason="TVM is not installed")
def test_the_table_is_llvms():
    import tvm

    def features(name):
        return set(
            map(str, tvm.target.codegen.llvm_get_cpu_features(tvm.target.Target({"kind": "llvm", "mcpu": name})))
        )

    names = set(map(str, tvm.target.codegen.llvm_get_cpu_archlist(tvm.target.Target({"kind": "llvm"}))))
    assert names - set(PROCESSORS) == set()
    assert {name: PROCESSORS[name] for name in names} == {name: vectors_with(features(name)) for name in names}


@pytest.mark.parametrize(
    ("target", "family", "lanes", "registers"),
    [
        ("llvm -mcpu=znver3", "x86-64-v3", 8, 16),
        ("llvm -mcpu=x86-64-v3", "x86-64-v3", 8, 16),
        ("llvm -mcpu=znver4 -mtriple=x86_64-linux-gnu", "x86-64-v4", 16, 32),
        ("llvm -mcpu=sapphirerapids", "x86-64-v4", 16, 32),
        ("llvm -mcpu=nehalem", "x86-64-v2", 4, 16),
        ("llvm -mcpu=sandybridge", "x86-64-v2", 8, 16),
        ("llvm -mcpu=knl", "x86-64-v3", 16, 32),
        ("llvm -mcpu=nehalem -mattr=+avx2,+fma", "x86-64-v3", 8, 16),
        ("llvm -mattr=+avx512f", "x86-64-v4", 16, 32),
        ("llvm", "x86-64", 4, 16),
        ("c -mcpu=haswell", "x86-64-v3", 8, 16),
    ],
)
def test_what_a_processors_kernels_are_cut_to(target, family, lanes, registers):
    assert vectors_of(Target.parse(target)) == (family, lanes, registers)
    assert family_of(Target.parse(target)) == family


@pytest.mark.parametrize(
    ("target", "family"),
    [
        ("cuda -model=h100", "sm_90"),
        ("cuda -model=h200", "sm_90"),
        ("cuda -model=1080ti", "sm_61"),
        ("cuda -model=unheard-of", None),
        ("cuda -model=h100 -arch=sm_90a", "sm_90"),
        ("nvptx -model=t4", "sm_75"),
        ("cuda", None),
        ("llvm -mcpu=pentium9", None),
        ("llvm -mtriple=aarch64-linux-gnu -mcpu=znver4", None),
        ("llvm -device=arm_cpu -model=rk3399", None),
        ("opencl -device=mali", None),
    ],
)
def test_other_families_and_none(target, family):
    assert family_of(Target.parse(target)) == family


@pytest.mark.parametrize("name", ["znver99", "x86-64-v4,+avx", "é", "'", "x" * 10_000])
def test_of_a_processor_that_nobody_knows_llvm_says_nothing(name, capfd):
    assert vectors_of(Target("llvm", (("mcpu", name),))) is None
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("keys", [",' '", "cpu,'a,b c'", "cpu,' a'' b',x'y z'", "'cpu,a b'", "cpu,a"])
def test_without_general_keys_a_target_can_still_be_parsed(keys):
    target = without_general_keys(Target.parse(f"llvm -keys={keys}"))
    assert Target.parse(str(target)) == target


def test_a_family_is_shared_only_where_it_is_known():
    parse = Target.parse
    assert same_family(parse("llvm -mcpu=znver4"), parse("llvm -mcpu=icelake-server"))
    assert not same_family(parse("llvm -mcpu=haswell"), parse("llvm -mcpu=knl"))  # whose vectors are wider
    assert not same_family(parse("llvm -mcpu=pentium9"), parse("llvm -mcpu=pentium10"))
