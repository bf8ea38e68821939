"""Recurrent layers, unrolled over time: one product for all inputs of a layer, then one for each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from tvm import relax

from tophub_registry.frontends.mxnet.site import Array, Expression, Site, constant
from tophub_registry.frontends.mxnet.translator import Translator

_op: Any = relax.op

_GATES = {"rnn_relu": 1, "rnn_tanh": 1, "gru": 3, "lstm": 4}
_MOST_STEPS = 1024
"""Steps beyond which the unrolled network would take minutes to compile."""


class _Weights(NamedTuple):
    """The weights `[gates * size, in]` and biases of a layer in one direction, for its input and for its state."""

    of_input: Array
    of_state: Array
    input_bias: Array
    state_bias: Array


State = tuple[Expression, ...]
"""The output `[batch, size]` and, of an LSTM, the cell."""


def _recurrent(site: Site) -> Sequence[Expression]:
    """Return the last layer's outputs `[time, batch, directions * size]`, and the last states of all layers."""
    attributes = site.attributes
    mode, size = attributes.word("mode", "lstm"), attributes.number("state_size", 1)
    both = attributes.flag("bidirectional", default=False)
    directions, layers = 1 + both, attributes.number("num_layers", 1)
    time, batch, width = site.shape_of(0)
    if attributes.text.get("projection_size", "None") != "None" or attributes.flag(
        "use_sequence_length", default=False
    ):
        site.refuse("with a projection or sequence lengths")
    if time * layers * directions > _MOST_STEPS:
        site.refuse(f"of {time * layers * directions} steps")
    weights = _weights(site.array(1), _GATES[mode], size, width, layers, directions)
    states = [site.tensor(index) for index in range(2, len(site))]
    data, last = site.tensor(0), []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            place = layer * directions + direction
            first = tuple(_row(site, state, place, (batch, size)) for state in states)
            steps, final = _run(site, data, next(weights), first, mode, backwards=direction == 1)
            outputs.append(steps)
            last.append(final)
        data = outputs[0] if directions == 1 else site.emit(_op.concat(outputs, axis=2), "directions")
    return [data, *(_op.stack([final[index] for final in last], axis=0) for index in range(len(states)))]


def _weights(flat: Array, gates: int, size: int, width: int, layers: int, directions: int) -> Iterator[_Weights]:
    """Yield the weights of each layer and direction: in MXNet's vector all matrices come first, then all biases."""
    places = [(layer, direction) for layer in range(layers) for direction in range(directions)]
    rows, start, matrices = gates * size, 0, []
    for layer, _ in places:
        pair = []
        for columns in (width if layer == 0 else size * directions, size):
            pair.append(flat[start : start + rows * columns].reshape(rows, columns))
            start += rows * columns
        matrices.append(pair)
    for of_input, of_state in matrices:
        yield _Weights(of_input, of_state, flat[start : start + rows], flat[start + rows : start + 2 * rows])
        start += 2 * rows


def _run(  # what a layer is made of
    site: Site, data: Expression, weights: _Weights, state: State, mode: str, *, backwards: bool
) -> tuple[Expression, State]:
    """Return a layer's outputs `[time, batch, size]` in one direction, and its last state."""
    time, batch, width = map(int, data.ty.shape)
    rows = len(weights.input_bias)
    flat = site.emit(_op.reshape(data, (time * batch, width)), "flat")
    product = site.emit(_op.matmul(flat, constant(np.ascontiguousarray(weights.of_input.T))), "input")
    # Except for the new gate of a GRU, both biases are added at once.
    bias = weights.input_bias if mode == "gru" else weights.input_bias + weights.state_bias
    inputs = site.emit(_op.reshape(_op.add(product, constant(bias)), (time, batch, rows)), "inputs")
    recurrent = constant(np.ascontiguousarray(weights.of_state.T))
    outputs: list[Expression] = []
    for step in range(time)[:: -1 if backwards else 1]:
        given = _row(site, inputs, step, (batch, rows))
        fed_back = site.emit(_op.matmul(state[0], recurrent), "state")
        if mode == "gru":
            fed_back = site.emit(_op.add(fed_back, constant(weights.state_bias)), "biased")
        state = _CELLS[mode](site, given, fed_back, state)
        outputs.append(state[0])
    return site.emit(_op.stack(outputs[:: -1 if backwards else 1], axis=0), "outputs"), state


def _plain(activation: Callable[[Expression], Expression]) -> Callable[[Site, Expression, Expression, State], State]:
    def cell(site: Site, given: Expression, fed_back: Expression, _: State) -> State:
        return (site.emit(activation(_op.add(given, fed_back)), "output"),)

    return cell


def _lstm(site: Site, given: Expression, fed_back: Expression, state: State) -> State:
    """Gates: input, forget, new, output."""
    gates = _gates(site, site.emit(_op.add(given, fed_back), "gates"), 4)
    kept = site.emit(_op.multiply(_op.sigmoid(gates[1]), state[1]), "kept")
    new = site.emit(_op.multiply(_op.sigmoid(gates[0]), _op.tanh(gates[2])), "new")
    cell = site.emit(_op.add(kept, new), "cell")
    return site.emit(_op.multiply(_op.sigmoid(gates[3]), _op.tanh(cell)), "output"), cell


def _gru(site: Site, given: Expression, fed_back: Expression, state: State) -> State:
    """Gates: reset, update, new; the reset gate acts on the product with the state."""
    of_input, of_state = _gates(site, given, 3), _gates(site, fed_back, 3)
    reset, update = (site.emit(_op.sigmoid(_op.add(of_input[gate], of_state[gate])), "gate") for gate in range(2))
    new = site.emit(_op.tanh(_op.add(of_input[2], _op.multiply(reset, of_state[2]))), "new")
    difference = site.emit(_op.subtract(state[0], new), "difference")
    return (site.emit(_op.add(new, _op.multiply(update, difference)), "output"),)


_CELLS: Mapping[str, Callable[[Site, Expression, Expression, State], State]] = {
    "gru": _gru,
    "lstm": _lstm,
    "rnn_relu": _plain(_op.nn.relu),
    "rnn_tanh": _plain(_op.tanh),
}


def _gates(site: Site, joined: Expression, count: int) -> list[Expression]:
    size = int(joined.ty.shape[1]) // count
    return [
        site.emit(_op.strided_slice(joined, [1], [gate * size], [(gate + 1) * size]), "part") for gate in range(count)
    ]


def _row(site: Site, tensor: Expression, index: int, shape: tuple[int, int]) -> Expression:
    part = site.emit(_op.strided_slice(tensor, [0], [index], [index + 1]), "row")
    return site.emit(_op.reshape(part, shape), "step")


TRANSLATORS: Mapping[str, Translator] = {"RNN": _recurrent}
