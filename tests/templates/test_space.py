"""Config spaces: the order of enumeration, and index <-> entity both ways, without TVM."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tophub_registry.errors import InputError
from tophub_registry.records.record import Knob
from tophub_registry.templates.space import ConfigSpace, divisors, knob, reorder, split


def test_the_first_knob_varies_fastest():
    space = ConfigSpace([knob("a", [1, 2]), knob("b", [True, False])])
    entities = [[k.value for k in space.config(index).entity] for index in range(len(space))]
    assert entities == [[1, True], [2, True], [1, False], [2, False]]


def test_a_split_by_factors_leaves_no_tail_and_its_innermost_part_varies_slowest():
    assert split("t", 4, parts=3).options == (
        [-1, 1, 1],
        [-1, 2, 1],
        [-1, 4, 1],
        [-1, 1, 2],
        [-1, 2, 2],
        [-1, 1, 4],
    )


def test_a_verbose_split_takes_divisors_and_powers_of_two():
    assert sorted(size[-1] for size in split("t", 7, parts=2, policy="verbose").options) == [1, 2, 4, 7]
    assert sorted(size[-1] for size in split("t", 7, parts=2, policy="power2").options) == [1, 2, 4]


def test_a_split_keeps_what_its_filter_and_largest_factor_allow():
    assert [s[-1] for s in split("t", 64, parts=2, max_factor=8).options] == [1, 2, 4, 8]
    assert [s[-1] for s in split("t", 64, parts=2, keep=lambda size: size[-1] > 8).options] == [16, 32, 64]


@given(st.integers(1, 5000))
def test_divisors_divide(number):
    found = divisors(number)
    assert found == sorted(found)
    assert found == [candidate for candidate in range(1, number + 1) if number % candidate == 0]


@given(st.integers(1, 96), st.integers(1, 96), st.data())
def test_index_and_entity_lead_to_each_other(first, second, data):
    space = ConfigSpace(
        [split("x", first, parts=3, policy="verbose"), knob("u", [True, False]), split("y", second, parts=2)]
    )
    index = data.draw(st.integers(0, len(space) - 1))
    entity = space.config(index).entity
    assert space.find(entity) == index
    assert space.find(list(reversed(entity))) == index
    assert space.index(space.positions(index)) == index


def test_an_older_records_split_names_its_outermost_part():
    space = ConfigSpace([split("x", 64, parts=2)])
    assert space.find([Knob("x", "sp", [4, 16])]) == space.find([Knob("x", "sp", [-1, 16])])


@pytest.mark.parametrize(
    ("entity", "reason"),
    [
        ([Knob("x", "sp", [5, 16]), Knob("u", "ot", True)], "do not cover an axis of 64"),
        ([Knob("x", "sp", [-1, 7]), Knob("u", "ot", True)], "not an option of the knob x"),
        ([Knob("x", "sp", [-1, 2, 2]), Knob("u", "ot", True)], "not an option of the knob x"),
        ([Knob("x", "sp", []), Knob("u", "ot", True)], "not an option of the knob x"),
        ([Knob("x", "ot", 4), Knob("u", "ot", True)], "of kind ot, not sp"),
        ([Knob("x", "sp", [-1, 16]), Knob("u", "ot", 1)], "not an option of the knob u"),
        ([Knob("x", "sp", [-1, 16])], "instead of x, u"),
        ([Knob("x", "sp", [-1, 16]), Knob("v", "ot", True)], "instead of x, u"),
        ([Knob("x", "sp", [-1, 16])] * 2, "instead of x, u"),
    ],
)
def test_an_entity_outside_of_the_space_is_refused_with_the_reason(entity, reason):
    space = ConfigSpace([split("x", 64, parts=2), knob("u", [True, False])])
    with pytest.raises(InputError, match=reason):
        space.find(entity)


def test_an_index_outside_of_the_space_is_refused():
    space = ConfigSpace([knob("a", [1, 2])])
    for index in (-1, 2):
        with pytest.raises(IndexError):
            space.config(index)


def test_spaces_need_neither_tvm_nor_numpy():
    program = (
        "import sys; from tophub_registry.templates.registry import instantiate;"
        "t = ['TENSOR', [1, 64, 56, 56], 'float32']; k = ['TENSOR', [64, 64, 3, 3], 'float32'];"
        "a = [t, k, [1, 1], [1, 1, 1, 1], [1, 1], 'NCHW', 'NCHW', 'float32'];"
        "assert len(instantiate('conv2d_NCHWc.x86', a).space) > 0;"
        "assert not {'tvm', 'numpy', 'mxnet'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_space_is_narrowed_to_given_values_and_indexed_anew():
    space = ConfigSpace([split("x", 64, parts=2), split("c", 3, parts=2), knob("u", [True, False])])
    part = space.where({"x": 16, "c": 16, "u": False, "unknown": 1})
    assert part.dimensions == (1, 2, 1)
    for index in range(len(part)):
        entity = part.config(index).entity
        assert [entity[0].value, entity[2].value] == [[-1, 16], False]
        assert space.config(space.find(entity)).entity == entity


def test_loops_are_in_every_order_the_last_ones_exchanged_first():
    space = ConfigSpace([reorder("order", 3), knob("a", [1, 2])])
    orders = [space.config(index).value("order") for index in range(6)]
    assert orders == [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
    assert space.find([Knob("a", "ot", 2), Knob("order", "re", [1, 2, 0])]) == 6 + 3
    for wrong in ([0, 1], [0, 1, 1], [0, 1, True]):
        with pytest.raises(InputError, match="not an option of the knob order"):
            space.find([Knob("a", "ot", 2), Knob("order", "re", wrong)])
