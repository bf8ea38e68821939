"""Targets: kind and options, in any order, the string kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tophub_registry.errors import InputError
from tophub_registry.records.target import Target


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("cuda -model=1080ti", {"model": "1080ti"}),
        ("llvm -device=arm_cpu -mattr=+neon,+v8", {"device": "arm_cpu", "mattr": "+neon,+v8"}),
        ("llvm -target=aarch64-linux-gnu", {"mtriple": "aarch64-linux-gnu"}),
        ("llvm -mcpu skylake -model 'a b c'", {"mcpu": "skylake", "model": "a b c"}),
        ("llvm --system-lib -mcpu=x", {"system-lib": "1", "mcpu": "x"}),
        ("  cuda   -arch=sm_90  ", {"arch": "sm_90"}),
        ("llvm -mcpu=x -mcpu=x", {"mcpu": "x"}),
        ("llvm -model=it's'", {"model": "it's'"}),
    ],
)
def test_kind_and_options(text: str, options: dict[str, str]) -> None:
    target = Target.parse(text)
    assert target.attributes == options
    assert str(target) == text


@pytest.mark.parametrize("text", ["", " ", "-model=x", "llvm x", "llvm -mcpu=", "llvm - a", "llvm 'a", "llvm -=3", "8"])
def test_no_target(text: str) -> None:
    with pytest.raises(InputError):
        Target.parse(text)


def test_the_same_option_with_two_values() -> None:
    with pytest.raises(InputError, match="-mtriple twice"):
        Target.parse("llvm -target=a -mtriple=b")


def test_equality_ignores_order_and_old_names() -> None:
    one, other = Target.parse("llvm -target=x -mcpu=y"), Target.parse("llvm -mcpu=y  -mtriple=x")
    assert one == other
    assert hash(one) == hash(other)
    assert one != Target.parse("llvm -mcpu=y")


def test_one_option_more() -> None:
    assert str(Target.parse("cuda -model=a").with_option("arch", "sm_90")) == "cuda -arch=sm_90 -model=a"


def test_the_dict_of_todays_tvm() -> None:
    target = Target.parse("llvm -mcpu=znver4 -num-cores=2 -mattr=+a,+b")
    assert target.as_dict() == {"kind": "llvm", "mcpu": "znver4", "num-cores": 2, "mattr": ["+a", "+b"]}


words = st.text(st.sampled_from("abz019_.-+, "), min_size=1, max_size=8).filter(lambda word: word.strip() == word)


@pytest.mark.parametrize("value", ["''", "' '", "-a' '", "a' 'b", "''a''", "'a b'c'd e'", "a", "'a\u2028b'"])
def test_any_value_that_is_parsed_is_written_so_that_it_is_parsed_again(value: str) -> None:
    parsed = Target.parse(f"llvm -x={value}")
    made = Target(parsed.kind, parsed.options)
    assert Target.parse(str(made)) == parsed
    assert Target.parse(str(parsed.with_option("mcpu", "y"))).attributes["x"] == parsed.attributes["x"]


@pytest.mark.parametrize("number", ["00", "-0", "007", "\u0663", "9" * 19, "9" * 5000])
def test_digits_that_are_no_number_of_tvm_stay_a_word(number: str) -> None:
    assert Target.parse(f"llvm -x={number}").as_dict() == {"kind": "llvm", "x": number}


def test_an_option_can_not_change_the_kind_of_the_dict() -> None:
    with pytest.raises(InputError, match="'-kind=cuda'"):
        Target.parse("llvm -kind=cuda")


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z_-]{0,6}", fullmatch=True).filter(lambda k: k not in ("target", "kind")), words
    )
)
def test_what_is_written_is_read_again(options: dict[str, str]) -> None:
    target = Target("llvm", tuple(sorted(options.items())))
    assert Target.parse(str(target)) == target
