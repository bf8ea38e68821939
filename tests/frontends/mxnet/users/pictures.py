"""Networks that return images: segmentation, super-resolution, generation and style."""

from __future__ import annotations

from tests.frontends.mxnet.users.network import Network, conv, pool


def super_resolution(F, draw):
    """Enlarges an image in the ways that there are."""
    factor, channels, x = draw.choice([2, 3]), draw.choice([1, 3]), F.var("data")
    y = conv(F, x, 8, 5, act=draw.choice(["tanh", "relu", "prelu"]), norm=False)
    for _ in range(2):
        y = y + conv(F, conv(F, y, 8, act="prelu"), 8) * 0.1
    y = conv(F, y, channels * factor**2, norm=False)
    how = draw.choice(["blocks", "reshape", "transposed", "gluon"])
    if how == "blocks":
        y = F.depth_to_space(y, block_size=factor)
    elif how == "reshape":
        y = F.reshape(y, shape=(0, -4, -1, factor**2, 0, 0))
        y = F.reshape(y, shape=(0, 0, -4, factor, factor, 0, 0))
        y = F.reshape(F.transpose(y, axes=(0, 1, 4, 2, 5, 3)), shape=(0, 0, -3, -3))
    elif how == "gluon":
        from tophub_registry.frontends.mxnet import libraries

        y = libraries.mxnet().gluon.contrib.nn.PixelShuffle2D(factor)(y)
    else:
        size, pad = 2 * factor - factor % 2, factor // 2
        groups = channels * factor**2
        window = {"kernel": (size, size), "stride": (factor, factor), "pad": (pad, pad)}
        y = F.Deconvolution(y, num_filter=groups, num_group=groups, no_bias=True, **window)
    y = F.clip(y, 0, 1) if draw.random() < 0.5 else y
    return Network(y, {"data": (1, channels, draw.choice([9, 12]), draw.choice([10, 13]))})


def unet(F, draw):
    """Joins finer maps that are cropped to the coarser ones' size."""
    size, width = draw.choice([32, 37, 30]), draw.choice([4, 6])
    fine = conv(F, F.var("data"), width, act="relu", pad=draw.choice([0, 1]))
    middle = conv(F, pool(F, fine, kind=draw.choice(["max", "avg"])), 2 * width, act="relu")
    x = F.Dropout(conv(F, pool(F, middle), 4 * width, act=draw.choice(["relu", "leaky", "elu"])), p=0.5)
    for finer, filters in ((middle, 2 * width), (fine, width)):
        how, kernel = draw.choice(["transposed", "nearest", "bilinear"]), draw.choice([(2, 2), (4, 4)])
        larger = how == "transposed" and kernel == (4, 4)
        if how == "transposed":
            x = F.Deconvolution(x, kernel=kernel, stride=(2, 2), num_filter=filters, no_bias=draw.random() < 0.5)
        elif how == "nearest":
            x = conv(F, F.UpSampling(x, scale=2, sample_type="nearest"), filters, act="relu")
        else:
            weight = F.var(f"up{filters}_weight")
            x = F.UpSampling(x, weight, scale=2, sample_type="bilinear", num_filter=2 * filters, num_args=2)
        cut = draw.choice(["crop", "center", "slice"])
        if cut == "slice":
            x = F.slice_like(x, finer, axes=(2, 3)) if larger else x
            skip = F.slice_like(finer, x, axes=(2, 3))
        else:
            x = F.Crop(x, finer, num_args=2) if larger else x
            skip = F.Crop(finer, x, num_args=2, center_crop=cut == "center")
        x = conv(F, F.Concat(x, skip, dim=1), filters, act="relu")
    x = F.Convolution(x, num_filter=3, kernel=(1, 1))
    ends = {
        "softmax": lambda: F.SoftmaxOutput(
            x, F.var("softmax_label"), multi_output=True, use_ignore=True, ignore_label=255
        ),
        "logistic": lambda: F.LogisticRegressionOutput(x, F.var("label")),
        "sigmoid": lambda: F.sigmoid(x),
        "logarithm": lambda: F.log_softmax(x, axis=1),
    }
    return Network(ends[draw.choice([*ends])](), {"data": (1, draw.choice([1, 3]), size, size)})


def fcn(F, draw):
    """Adds scores of two sizes, cropped at offsets, and enlarges the sum."""
    size = draw.choice([40, 45])
    x = F.var("data")
    fine = pool(F, conv(F, x, 6, pad=10, act="relu", norm=False))
    coarse = pool(F, conv(F, fine, 6, act="relu"), pooling_convention="full")
    score = F.Convolution(coarse, num_filter=5, kernel=(1, 1))
    how = draw.choice([{}, {"adj": (1, 1)}, {"pad": (1, 1)}])
    window = {"kernel": (4, 4), "stride": (2, 2), "no_bias": True}
    up = F.Deconvolution(score, num_filter=5, num_group=draw.choice([1, 5]), **window, **how)
    part = F.slice(up, begin=(None, None, 0, 0), end=(None, None, 20, 20))
    like = F.slice_axis(F.slice_axis(up, axis=2, begin=0, end=20), axis=3, begin=0, end=20)
    finer = F.Crop(F.Convolution(fine, num_filter=5, kernel=(1, 1)), like, offset=draw.choice([(0, 0), (2, 1)]))
    big = F.Deconvolution(finer + part, num_filter=5, **window)
    big = F.Crop(big, x, offset=(1, 1)) if size <= 40 else big
    output = F.SoftmaxOutput(big, multi_output=True, use_ignore=True, ignore_label=255, name="softmax")
    return Network(output, {"data": (1, 3, size, size)})


def gan(F, draw):
    """Makes an image of noise, and of a class if there is one."""
    batch, width = draw.choice([1, 2, 4]), draw.choice([8, 16, 20])
    x, shapes = F.var("rand"), {"rand": (batch, 20, 1, 1)}
    if draw.random() < 0.4:
        x = F.Concat(x, F.Reshape(F.one_hot(F.var("class"), depth=5), shape=(0, 0, 1, 1)), dim=1)
        shapes["class"] = (batch,)
    x = F.Deconvolution(x, kernel=(4, 4), num_filter=2 * width, no_bias=True)
    for step in range(2):
        x = F.Activation(F.BatchNorm(x, fix_gamma=True, eps=1e-5 + 1e-12), act_type="relu")
        how = {"target_shape": (8 * 2**step,) * 2} if draw.random() < 0.3 else {}
        window = {"kernel": (4, 4), "stride": (2, 2), "pad": (1, 1), **how}
        x = F.Deconvolution(x, num_filter=width, num_group=draw.choice([1, 1, 2, 4]), no_bias=True, **window)
    window = {"kernel": (5, 5), "stride": (2, 2), "pad": (2, 2), "adj": (1, 1)}
    x = F.Deconvolution(x, num_filter=3, no_bias=draw.random() < 0.5, **window)
    return Network(F.Activation(x, act_type="tanh"), shapes, {"class": (0, 5)})


def style(F, draw):
    """Paints an image in another style: padding by reflection, instance norms, Gram matrices."""
    width, x = draw.choice([4, 8]), F.var("data")

    def layer(x, filters, kernel, stride=1):
        around = (0, 0, 0, 0, *(kernel // 2,) * 4)
        x = F.Pad(x, mode=draw.choice(["reflect", "reflect", "edge"]), pad_width=around)
        return F.Convolution(x, num_filter=filters, kernel=(kernel, kernel), stride=(stride, stride))

    def norm(x):
        return F.InstanceNorm(x, eps=draw.choice([1e-5, 1e-3]))

    x = F.relu(norm(layer(x, width, 9)))
    x = F.relu(norm(layer(x, 2 * width, 3, 2)))
    if draw.random() < 0.5:
        flat = F.reshape(x, shape=(0, 0, -3))
        gram = F.batch_dot(flat, flat, transpose_b=True) / 100
        weight = F.broadcast_to(F.var("style_weight", shape=(1, 2 * width, 2 * width)), shape=(1, 2 * width, 2 * width))
        turned = F.SwapAxis(F.batch_dot(weight, gram), dim1=1, dim2=2)
        x = F.reshape_like(F.batch_dot(turned, flat), x)
    x = x + norm(layer(F.relu(norm(layer(x, 2 * width, 3))), 2 * width, 3))
    if draw.random() < 0.4:
        apart = F.broadcast_sub(x, F.mean(x, axis=(2, 3), keepdims=True))
        x = F.broadcast_div(apart, F.sqrt(F.mean(F.square(apart), axis=(2, 3), keepdims=True) + 1e-5))
    if draw.random() < 0.6:
        x = F.UpSampling(x, scale=2, sample_type="nearest")
    else:
        x = F.Deconvolution(x, num_filter=2 * width, kernel=(3, 3), stride=(2, 2), pad=(1, 1), adj=(1, 1))
    x = layer(F.relu(norm(layer(x, width, 3))), 3, 9)
    shape = (1, 3, draw.choice([20, 26]), draw.choice([24, 22]))
    return Network(F.tanh(x) * 150 + 255 / 2, {"data": shape}, {"data": (0, 256)})


KINDS = (super_resolution, unet, fcn, gan, style)
