"""A framework is restricted to the target's instructions where it can be, and its note says which it uses."""

from __future__ import annotations

import pytest

from tophub_registry.bench.instructions import note, restriction, settings
from tophub_registry.records.target import Target


@pytest.mark.parametrize(
    ("target", "processor", "family"),
    [
        ("llvm -mcpu=x86-64-v3", "znver4", "x86-64-v3"),
        ("llvm -mcpu=znver3", "rocketlake", "x86-64-v3"),
        ("llvm -mcpu=nehalem", "haswell", "x86-64-v2"),
        ("llvm -mcpu=x86-64-v3", "haswell", None),
        ("llvm -mcpu=rocketlake", "znver4", None),
        ("llvm -mcpu=x86-64-v3 -mattr=+avx512f", "znver4", None),
        ("cuda -model=h100", "znver4", None),
        ("llvm -mcpu=x86-64-v3", "no-such-processor", None),
    ],
)
def test_only_a_greater_processor_restricts(target: str, processor: str, family: str | None) -> None:
    assert restriction(Target.parse(target), processor) == family


def test_there_are_no_settings_without_a_restriction() -> None:
    assert settings(None) == settings("x86-64-v2") == {}
    assert settings("x86-64-v3")["ONEDNN_MAX_CPU_ISA"] == "AVX2"


@pytest.mark.parametrize(
    ("framework", "family", "said"),
    [
        ("openvino", "x86-64-v3", "restricted to x86-64-v3"),
        ("openvino", "x86-64-v2", "not restricted to x86-64-v2"),
        ("onnxruntime", "x86-64-v3", "not restricted to x86-64-v3"),
        ("ncnn", "x86-64-v3", "not restricted to x86-64-v3"),
        ("no-records", "x86-64-v3", ""),
        ("onnxruntime", None, ""),
    ],
)
def test_a_note_says_which_instructions_are_used(framework: str, family: str | None, said: str) -> None:
    assert note(framework, family) == said
