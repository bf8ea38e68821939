"""Networks of text, sound and ids: recurrent layers, embeddings, causal convolutions and attention."""

from __future__ import annotations

from tests.frontends.mxnet.users.network import Network, conv, pool
from tophub_registry.frontends.mxnet import libraries


def crnn(F, draw):
    """Reads a line of text: convolutions, then recurrent layers over columns."""
    mx = libraries.mxnet()
    batch, width, height, units = draw.choice([1, 2]), draw.choice([40, 33]), 16, draw.choice([5, 8])
    columns = width // 2
    x = pool(F, conv(F, F.var("data"), 8, act="relu"))
    x = conv(F, x, 12, act="relu", norm=False)
    x = F.Pooling(x, kernel=(2, 2), stride=(2, 1), pad=(0, 1), pool_type="max")
    x = conv(F, x, 12, (4, 2), pad=0, act="relu")
    x = F.squeeze(x, axis=2) if draw.random() < 0.5 else F.Reshape(x, shape=(0, 0, -3))
    x = F.transpose(x, axes=(2, 0, 1))
    kind, both = draw.choice(["fused", "gluon", "unrolled"]), draw.random() < 0.6
    if kind == "gluon":
        layer = getattr(mx.gluon.rnn, draw.choice(["LSTM", "GRU"]))
        x = layer(units, draw.choice([1, 2]), bidirectional=both, input_size=12)(x)
    elif kind == "fused":
        mode = draw.choice(["lstm", "gru", "rnn_tanh"])
        cell = mx.rnn.FusedRNNCell(
            units, num_layers=draw.choice([1, 2]), mode=mode, bidirectional=both, prefix="fused_"
        )
        x, _ = cell.unroll(columns, x, layout="TNC", merge_outputs=True)
    else:
        cell = mx.rnn.LSTMCell(units, prefix="forth_")
        if both:
            cell = mx.rnn.BidirectionalCell(cell, mx.rnn.LSTMCell(units, prefix="back_"))
        x, _ = cell.unroll(columns, x, layout="TNC", merge_outputs=True)
    x = F.FullyConnected(F.Reshape(x, shape=(-3, 0)), num_hidden=11)
    shapes = {"data": (batch, 1, height, width)}
    if draw.random() < 0.3:
        return Network(F.softmax(F.Reshape(x, shape=(-4, -1, batch, 0)), axis=2), shapes)
    return Network(F.SoftmaxOutput(x, F.var("label"), name="softmax"), shapes)


def language_model(F, draw):
    """Predicts words. Its labels are reshaped, and its last layer may share the embedding's weights."""
    mx = libraries.mxnet()
    batch, time, words = draw.choice([1, 3]), draw.choice([4, 7]), 20
    size, units, layers = draw.choice([6, 9]), draw.choice([5, 6]), draw.choice([1, 2])
    kind, tied = draw.choice(["lstm", "gru", "rnn", "fused", "stacked", "residual", "gluon"]), draw.random() < 0.3
    if tied or kind == "residual":
        size = units
    table = F.var("embed_weight")
    x = F.Embedding(F.var("data"), input_dim=words, output_dim=size, weight=table, name="embed")
    if kind == "gluon":
        x = mx.gluon.rnn.LSTM(units, layers, layout="NTC", input_size=size)(x)
    else:
        if kind == "fused":
            cell = mx.rnn.FusedRNNCell(units, num_layers=layers, mode="lstm", dropout=0.2, prefix="lstm_")
            cell = cell.unfuse() if draw.random() < 0.5 else cell
        elif kind == "stacked":
            cell = mx.rnn.SequentialRNNCell()
            for layer in range(layers):
                cell.add(mx.rnn.LSTMCell(units, prefix=f"layer{layer}_"))
                cell.add(mx.rnn.DropoutCell(0.3, prefix=f"dropout{layer}_"))
        elif kind == "residual":
            cell = mx.rnn.ResidualCell(mx.rnn.GRUCell(units, prefix="residual_"))
        else:
            cells = {"lstm": mx.rnn.LSTMCell, "gru": mx.rnn.GRUCell, "rnn": mx.rnn.RNNCell}
            cell = cells[kind](units, prefix="cell_")
        x, _ = cell.unroll(time, inputs=x, layout="NTC", merge_outputs=True)
    x = F.Reshape(x, shape=(-1, units))
    x = F.FullyConnected(x, num_hidden=words, name="pred", **({"weight": table} if tied else {}))
    output = F.SoftmaxOutput(x, F.Reshape(F.var("softmax_label"), shape=(-1,)), name="softmax")
    return Network(output, {"data": (batch, time)}, {"data": (0, words)})


def wavenet(F, draw):
    """Convolves sound causally: padded, cut off, or shorter each time."""
    batch, time, levels, width = draw.choice([1, 2]), draw.choice([40, 64]), 16, draw.choice([6, 8])
    embeds, x, skips = draw.random() < 0.5, F.var("data"), []
    if embeds:
        x = F.transpose(F.Embedding(x, input_dim=levels, output_dim=width), axes=(0, 2, 1))
    else:
        x = F.Convolution(x, num_filter=width, kernel=(1,))
    for dilate in (1, 2, 4, 8):
        how, y = draw.choice(["padded", "cut", "shorter"]), x
        if how == "padded":
            rows = F.expand_dims(x, axis=2)
            rows = F.Pad(rows, mode="constant", pad_width=(0, 0, 0, 0, 0, 0, dilate, 0), constant_value=0)
            y = F.reshape(rows, shape=(0, 0, -1))
        halves = []
        for _ in range(2):
            pad = dilate if how == "cut" else 0
            z = F.Convolution(y, num_filter=width, kernel=(2,), dilate=(dilate,), pad=(pad,))
            halves.append(F.slice_axis(z, axis=2, begin=0, end=-dilate) if how == "cut" else z)
        z = F.tanh(halves[0]) * F.sigmoid(halves[1])
        skips.append(F.slice_axis(F.Convolution(z, num_filter=width, kernel=(1,)), axis=-1, begin=-20, end=None))
        before = F.slice_axis(x, axis=2, begin=dilate, end=None) if how == "shorter" else x
        x = F.Convolution(z, num_filter=width, kernel=(1,)) + before
    y = F.relu(F.Convolution(F.relu(F.add_n(*skips)), num_filter=width, kernel=(1,)))
    y = F.Convolution(y, num_filter=levels, kernel=(1,))
    if draw.random() < 0.5:
        y = F.Deconvolution(y, kernel=(4,), stride=(2,), pad=(1,), num_filter=levels)
    if draw.random() < 0.5:
        y = F.Pooling(y, kernel=(3,), stride=(2,), pool_type=draw.choice(["max", "avg"]))
    shape = (batch, time) if embeds else (batch, 1, time)
    return Network(F.softmax(y, axis=1), {"data": shape}, {"data": (0, levels)} if embeds else {})


def text_cnn(F, draw):
    """Classifies sentences by convolutions over words."""
    batch, time, size, maxima = draw.choice([1, 3]), draw.choice([9, 12]), draw.choice([5, 8]), []
    x = F.Embedding(F.var("data"), input_dim=30, output_dim=size)
    x = F.Reshape(x, shape=(batch, 1, time, size))
    for words in (2, 3, 4):
        y = F.Activation(F.Convolution(x, kernel=(words, size), num_filter=6), act_type="relu")
        maxima.append(F.Pooling(y, pool_type="max", kernel=(time - words + 1, 1), stride=(1, 1)))
    x = F.Dropout(F.Reshape(F.Concat(*maxima, dim=1), shape=(batch, -1)))
    output = F.SoftmaxOutput(F.FullyConnected(x, num_hidden=2), F.var("softmax_label"))
    return Network(output, {"data": (batch, time)}, {"data": (0, 30)})


def recommender(F, draw):
    """Scores an item for a user: products of embeddings, or a deep network beside a wide one."""
    batch = draw.choice([1, 6])
    shapes = dict.fromkeys(("user", "item"), (batch,))
    user = F.Embedding(F.var("user"), input_dim=12, output_dim=8)
    item = F.Embedding(F.var("item"), input_dim=9, output_dim=8)
    numbers = {"user": (0, 12), "item": (0, 9)}
    if draw.random() < 0.5:
        pair = F.FullyConnected(user, num_hidden=6) * F.relu(F.FullyConnected(item, num_hidden=6))
        score = F.Flatten(F.sum(pair, axis=1, keepdims=True))
        return Network(F.LinearRegressionOutput(score, F.var("score_label")), shapes, numbers)
    features = F.var("features")
    shapes["features"] = (batch, 5)
    x = F.Concat(user, item, features, dim=1)
    for units in (16, 8):
        x = F.Activation(F.FullyConnected(x, num_hidden=units), act_type="relu")
    wide = F.dot(features, F.var("wide_weight", shape=(5, 1)))
    if draw.random() < 0.6:
        output = F.LogisticRegressionOutput(F.FullyConnected(x, num_hidden=1) + wide, F.var("softmax_label"))
    else:
        output = F.Concat(wide, x, dim=1)
    return Network(output, shapes, numbers)


def bert(F, draw):
    """Encodes sentences of different lengths as GluonNLP does: by MXNet's own attention, or by plain products."""
    batch, time, width, heads = draw.choice([1, 2]), draw.choice([5, 8]), 12, draw.choice([2, 3])
    words, types, lengths = (F.var(name) for name in ("words", "types", "lengths"))
    x = F.Embedding(words, input_dim=20, output_dim=width) + F.Embedding(types, input_dim=2, output_dim=width)
    places = F.Embedding(F.contrib.arange_like(words, axis=1), input_dim=20, output_dim=width)
    x = F.LayerNorm(F.broadcast_add(x, F.expand_dims(places, axis=0)), eps=1e-12)
    steps = F.reshape(F.contrib.arange_like(x, axis=1), shape=(1, -1))
    mask = F.broadcast_lesser(steps, F.reshape(lengths, shape=(-1, 1)))
    mask = F.broadcast_mul(F.expand_dims(mask, axis=1), F.expand_dims(F.ones_like(mask), axis=2))

    def dense(x, units):
        return F.FullyConnected(x, num_hidden=units, flatten=False)

    if draw.random() < 0.5:
        z = dense(F.transpose(x, axes=(1, 0, 2)), 3 * width)
        scores = F.contrib.interleaved_matmul_selfatt_qk(z, heads=heads)
        scores = F.where(F.repeat(mask, repeats=heads, axis=0), scores, F.ones_like(scores) * -1e9)
        y = F.contrib.interleaved_matmul_selfatt_valatt(z, F.softmax(scores, axis=-1), heads=heads)
        y = F.transpose(y, axes=(1, 0, 2))
    else:

        def projected():
            apart = F.transpose(F.reshape(dense(x, width), shape=(0, 0, heads, -1)), axes=(0, 2, 1, 3))
            return F.reshape(apart, shape=(-1, 0, 0), reverse=True)

        scores = F.batch_dot(F.contrib.div_sqrt_dim(projected()), projected(), transpose_b=True)
        every = F.broadcast_axis(F.expand_dims(mask, axis=1), axis=1, size=heads)
        every = F.reshape(every, shape=(-1, 0, 0), reverse=True)
        shares = F.softmax(F.where(every, scores, -1e18 * F.ones_like(scores)), axis=-1)
        y = F.batch_dot(F.Dropout(F.broadcast_mul(shares, every)), projected())
        y = F.transpose(F.reshape(y, shape=(-1, heads, 0, 0), reverse=True), axes=(0, 2, 1, 3))
        y = F.reshape(y, shape=(0, 0, -1))
    x = F.LayerNorm(x + dense(y, width))
    x = F.LayerNorm(x + dense(F.LeakyReLU(dense(x, 20), act_type="gelu"), width))
    first = F.reshape(F.slice_axis(x, axis=1, begin=0, end=1), shape=(0, -1))
    masked = F.SequenceMask(F.transpose(x, axes=(1, 0, 2)), lengths, use_sequence_length=True)
    output = F.Group([masked, F.tanh(F.FullyConnected(first, num_hidden=width))])
    shapes = {"words": (batch, time), "types": (batch, time), "lengths": (batch,)}
    return Network(output, shapes, {"words": (0, 20), "types": (0, 2), "lengths": (1, time + 1)})


KINDS = (crnn, language_model, wavenet, text_cnn, recommender, bert)
