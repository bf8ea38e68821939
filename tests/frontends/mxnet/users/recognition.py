"""Networks that recognize images, volumes, faces, points and graphs."""

from __future__ import annotations

from tests.frontends.mxnet.users.network import Network, activated, average, conv, pool


def mobilefacenet(F, draw):
    """Embeds a face: images in bytes, PReLU, a depthwise convolution over all of the image, a norm of 1."""
    width, size = draw.choice([8, 12, 16]), draw.choice([28, 32, 36])
    x = (F.identity(F.var("data")) - 127.5) * 0.0078125
    x = conv(F, x, width, stride=2, act="prelu")
    x = conv(F, x, width, groups=width, act="prelu")
    for _ in range(2):
        y = conv(F, x, 2 * width, 1, act="prelu")
        y = conv(F, y, 2 * width, groups=2 * width, act="prelu")
        x = x + conv(F, y, width, 1)
    x = F.Convolution(x, num_filter=width, kernel=(size // 2, size // 2), num_group=width, no_bias=True)
    x = F.BatchNorm(x, fix_gamma=False)
    x = F.FullyConnected(F.Flatten(x), num_hidden=20, no_bias=draw.random() < 0.5)
    x = F.L2Normalization(F.BatchNorm(x, fix_gamma=True, eps=2e-5), mode="instance")
    return Network(x, {"data": (draw.choice([1, 2]), 3, size, size)}, {"data": (0, 256)})


def squeezenext(F, draw):
    """Convolves rows and columns apart, and halves the image in its shortcuts."""
    x = conv(F, F.var("data"), 16, 5, stride=2, pad=1, act="relu")
    x = pool(F, x, 3, pooling_convention="full")
    for stride in (1, 2):
        y = conv(F, x, 8, 1, stride=stride, act="relu")
        for filters, kernel in ((4, 1), (8, (3, 1)), (8, (1, 3))):
            y = conv(F, y, filters, kernel, act="relu")
        shortcut = conv(F, x, 16, 1, stride=2) if stride == 2 else x
        x = F.Activation(shortcut + conv(F, y, 16, 1), act_type="relu")
    x = F.FullyConnected(F.Dropout(average(F, x)), num_hidden=7)
    return Network(F.SoftmaxOutput(x, name="softmax"), {"data": (draw.choice([1, 2]), 3, 51, 47)})


def shufflenet(F, draw):
    """Shuffles channels in two ways, concatenates strides, and splits."""
    groups, width = draw.choice([2, 3]), 12
    swaps = draw.random() < 0.5

    def shuffled(x):
        apart = F.reshape(x, shape=(0, -4, groups, -1, -2))
        turned = F.swapaxes(apart, 1, 2) if swaps else F.transpose(apart, axes=(0, 2, 1, 3, 4))
        return F.reshape(turned, shape=(0, -3, -2))

    x = conv(F, F.var("data"), width, act="relu")
    y = conv(F, shuffled(conv(F, x, width, 1, groups=groups)), width, groups=width)
    x = F.Concat(pool(F, x, 3, 1, "avg", pad=(1, 1)), y, dim=1)
    a, b = F.split(x, num_outputs=2, axis=1)
    x = F.concat(a, conv(F, b, width, act="swish"), dim=1)
    return Network(F.FullyConnected(F.mean(x, axis=(2, 3)), num_hidden=5), {"data": (1, 3, 13, 15)})


def attentive(F, draw):
    """Weighs channels or places, as EfficientNet, ECA, MobileNetV3 and CBAM do."""
    width = 8
    x = conv(F, F.var("data"), width, stride=2, act="swish")
    y = conv(F, conv(F, x, 4 * width, 1, act="swish"), 4 * width, draw.choice([3, 5]), groups=4 * width, act="swish")
    s = average(F, y) if draw.random() < 0.5 else F.contrib.AdaptiveAvgPooling2D(y, output_size=1)
    kind = draw.choice(["excitation", "row", "hard", "places"])
    if kind == "excitation":
        s = conv(F, conv(F, s, 4, 1, act="relu", norm=False), 4 * width, 1, act="sigmoid", norm=False)
    elif kind == "row":
        row = F.Convolution(F.reshape(s, shape=(0, 1, -1)), num_filter=1, kernel=(3,), pad=(1,), no_bias=True)
        s = F.sigmoid(F.reshape(row, shape=(0, -1, 1, 1)))
    elif kind == "hard":
        s = F.clip(conv(F, s, 4 * width, 1, norm=False) + 3, 0, 6) / 6
    else:
        both = F.concat(F.max(y, axis=1, keepdims=True), F.mean(y, axis=1, keepdims=True), dim=1)
        s = conv(F, both, 1, 7, act="sigmoid", norm=False)
    x = F.broadcast_add(x, conv(F, F.broadcast_mul(y, s), width, 1))
    if draw.random() < 0.3:
        x = pool(F, x, 2, 2, "lp", p_value=2)
    x = F.FullyConnected(F.Flatten(x), num_hidden=4)
    return Network(F.SoftmaxOutput(x, F.var("softmax_label")), {"data": (1, 3, 16, 16)})


def transformed(F, draw):
    """Looks at a part of the image that it chooses: a spatial transformer."""
    x = F.var("data")
    features = pool(F, conv(F, x, 4, act="relu"))
    where = F.FullyConnected(F.Flatten(features), num_hidden=6)
    size = draw.choice([(10, 12), (17, 9)])
    x = F.SpatialTransformer(x, where, target_shape=size, transform_type="affine", sampler_type="bilinear")
    x = F.FullyConnected(conv(F, x, 4, stride=2, act="tanh"), num_hidden=4)
    return Network(F.SoftmaxOutput(x, F.var("softmax_label")), {"data": (draw.choice([1, 2]), 1, 16, 18)})


def capsules(F, draw):
    """Routes capsules by agreement."""
    capsules, depth, classes, size = 4, draw.choice([4, 8]), 3, draw.choice([4, 6])

    def squashed(x, axis):
        square = F.sum(F.square(x), axis=axis, keepdims=True)
        return F.broadcast_mul(F.broadcast_div(square / (1 + square), F.sqrt(square + 1e-9)), x)

    x = F.Activation(F.Convolution(F.var("data"), num_filter=8, kernel=(5, 5)), act_type="relu")
    x = F.Convolution(x, num_filter=capsules * depth, kernel=(5, 5), stride=(2, 2))  # of 4 x 4 places
    x = F.transpose(F.Reshape(x, shape=(0, capsules, depth, -1)), axes=(0, 1, 3, 2))
    u = squashed(F.Reshape(x, shape=(0, -3, 0)), 2)
    weight = F.var("weight", shape=(1, capsules * 16, classes, size, depth))
    if draw.random() < 0.5:
        u = F.tile(F.Reshape(u, shape=(0, 0, 1, 1, -1)), reps=(1, 1, classes, size, 1))
    else:
        u = F.expand_dims(F.expand_dims(u, 2), 2)
    votes = F.sum(F.broadcast_mul(weight, u), axis=-1)
    logits = F.zeros_like(F.sum(votes, axis=3))
    for _ in range(2):
        shares = F.expand_dims(F.softmax(logits, axis=2), axis=3)
        v = squashed(F.sum(F.broadcast_mul(shares, votes), axis=1, keepdims=True), 3)
        logits = logits + F.sum(F.broadcast_mul(votes, v), axis=3)
    lengths = F.sqrt(F.sum(F.square(F.Reshape(v, shape=(-1, classes, size))), axis=2))
    return Network(lengths, {"data": (draw.choice([1, 2]), 1, 16, 16)})


def siamese(F, draw):
    """Compares two images by the same layers, and has a loss of its own."""
    names = ("conv_weight", "conv_bias", "dense_weight", "dense_bias")
    kernel, bias, dense, shift = map(F.var, names)

    def tower(x):
        x = F.relu(F.Convolution(x, weight=kernel, bias=bias, num_filter=6, kernel=(3, 3)))
        return F.L2Normalization(F.FullyConnected(pool(F, x), weight=dense, bias=shift, num_hidden=8))

    a, b = tower(F.var("left")), tower(F.var("right"))
    if draw.random() < 0.5:
        distance = F.sqrt(F.sum((a - b) ** 2, axis=1))
    else:
        distance = F.norm(a - b, axis=1, ord=draw.choice([1, 2]))
    outputs = [distance, F.BlockGrad(a)]
    if draw.random() < 0.7:
        loss = F.MakeLoss(F.mean(F.square(F.maximum(0, 1 - distance))))
        outputs = [distance, F.sum(a * b, axis=1, keepdims=True), loss]
    return Network(F.Group(outputs), dict.fromkeys(("left", "right"), (2, 1, 12, 12)))


def points(F, draw):
    """Classifies points, turned by a matrix that it computes: PointNet."""
    batch, count = draw.choice([1, 2]), 20
    x = y = F.var("data")
    for filters in (8, 12):
        y = F.BatchNorm(F.Convolution(y, num_filter=filters, kernel=(1,)), fix_gamma=False)
        y = F.Activation(y, act_type="relu")
    turn = F.reshape(F.FullyConnected(F.max(y, axis=2), num_hidden=9), shape=(-1, 3, 3))
    x = F.transpose(F.batch_dot(F.transpose(x, axes=(0, 2, 1)), turn), axes=(0, 2, 1))
    y = F.relu(F.Convolution(x, num_filter=10, kernel=(1,)))
    if draw.random() < 0.5:
        whole = F.max(y, axis=-1, keepdims=True)
    else:
        whole = F.Pooling(y, kernel=(1,), global_pool=True, pool_type="max")
    tiled = draw.random() < 0.5
    whole = F.tile(whole, reps=(1, 1, count)) if tiled else F.broadcast_axis(whole, axis=2, size=count)
    return Network(F.Convolution(F.concat(y, whole, dim=1), num_filter=4, kernel=(1,)), {"data": (batch, 3, count)})


def graph(F, draw):
    """Convolves over the joints of a skeleton, by products with a constant matrix from one side or the other."""
    batch, joints, time = draw.choice([1, 2]), 7, 10
    x, neighbours = F.var("data"), F.var("neighbours_weight", shape=(joints, joints))
    how = draw.choice(["behind", "in front", "batch"])
    if how == "behind":
        x = F.dot(x, neighbours)
    elif how == "in front":
        x = F.transpose(F.dot(neighbours, F.transpose(x, axes=(3, 0, 1, 2))), axes=(1, 2, 3, 0))
    else:
        each = F.broadcast_axis(F.expand_dims(neighbours, axis=0), axis=0, size=batch)
        x = F.reshape(F.batch_dot(F.reshape(x, shape=(0, -3, 0)), each), shape=(0, -4, 3, -1, 0))
    x = conv(F, x, 8, (9, 1) if draw.random() < 0.5 else 1, act="relu")
    x = x + conv(F, x, 8, (3, 1))
    return Network(F.FullyConnected(average(F, x), num_hidden=4), {"data": (batch, 3, time, joints)})


def volumes(F, draw):
    """Convolves films."""
    x = F.Convolution(F.var("data"), num_filter=6, kernel=(3, 3, 3), pad=(1, 1, 1), stride=(1, 2, 2))
    x = F.Pooling(F.relu(x), kernel=(2, 2, 2), stride=(1, 2, 2), pool_type="max")
    x = F.Convolution(F.BatchNorm(x, fix_gamma=False), num_filter=8, kernel=(3, 1, 1), pad=(1, 0, 0))
    if draw.random() < 0.5:
        x = F.Deconvolution(x, num_filter=4, kernel=(2, 2, 2), stride=(2, 2, 2))
    x = F.Pooling(x, global_pool=True, kernel=(1, 1, 1), pool_type="avg")
    return Network(F.FullyConnected(x, num_hidden=4), {"data": (1, 3, 6, 16, 14)})


def losses(F, draw):
    """Ends with one of MXNet's losses."""
    x = activated(F, F.FullyConnected(F.var("data"), num_hidden=10), "relu")
    x, label = F.FullyConnected(x, num_hidden=6), F.var("label")
    ends = {
        "svm": lambda: F.SVMOutput(x, label),
        "absolute": lambda: F.MAERegressionOutput(x, label),
        "linear": lambda: F.LinearRegressionOutput(F.sum(x, axis=1), label),
        "own": lambda: F.Group([F.BlockGrad(F.softmax(x)), F.MakeLoss(F.smooth_l1(x, scalar=1.0))]),
        "shaped": lambda: F.SoftmaxOutput(F.Reshape(x, shape=(0, 3, 2)), label, preserve_shape=True),
        "warm": lambda: F.softmax(x, temperature=draw.choice([0.5, 2.0])),
    }
    return Network(ends[draw.choice([*ends])](), {"data": (draw.choice([1, 4]), 9)})


KINDS = (
    *(mobilefacenet, squeezenext, shufflenet, attentive, transformed, capsules),
    *(siamese, points, graph, volumes, losses),
)
