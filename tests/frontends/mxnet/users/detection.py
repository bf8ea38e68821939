"""Networks that find objects in images, and the motion between them."""

from __future__ import annotations

from tests.frontends.mxnet.users.network import Network, conv, pool


def ssd(F, draw):
    """Finds boxes from three maps, as MXNet's own SSD."""
    width, classes, size = draw.choice([6, 8]), draw.choice([1, 3]), draw.choice([48, 50])
    x = conv(F, F.var("data"), width, stride=2, act="relu", norm=False)
    x = pool(F, x, pooling_convention=draw.choice(["full", "valid"]))
    scale = F.var("norm_scale", shape=(1, width, 1, 1))
    first = F.broadcast_mul(scale, F.L2Normalization(x, mode="channel"))
    second = conv(F, x, width, dilate=draw.choice([1, 2, 3]), act="relu")
    third = conv(F, conv(F, second, 4, 1, act="relu"), 8, stride=2, act="relu")
    clip, steps = draw.random() < 0.5, draw.choice([(-1, -1), (0.1, 0.1)])
    offsets, scores, anchors = [], [], []
    for x, sizes, ratios in (
        (first, (0.1, 0.2), (1, 2, 0.5)),
        (second, (0.3, 0.4), (1, 2, 0.5, 3, 1 / 3)),
        (third, (0.6, 0.7), (1,)),
    ):
        each = len(sizes) + len(ratios) - 1
        for numbers, filters in ((offsets, each * 4), (scores, each * (classes + 1))):
            y = F.Convolution(x, num_filter=filters, kernel=(3, 3), pad=(1, 1))
            numbers.append(F.Flatten(F.transpose(y, axes=(0, 2, 3, 1))))
        anchors.append(F.Flatten(F.contrib.MultiBoxPrior(x, sizes=sizes, ratios=ratios, clip=clip, steps=steps)))
    joined = [F.Concat(*each, num_args=3, dim=1) for each in (offsets, scores, anchors)]
    score = F.transpose(F.Reshape(joined[1], shape=(0, -1, classes + 1)), axes=(0, 2, 1))
    found = F.contrib.MultiBoxDetection(
        F.SoftmaxActivation(score, mode="channel") if draw.random() < 0.5 else F.softmax(score, axis=1),
        joined[0],
        F.Reshape(joined[2], shape=(0, -1, 4)),
        nms_threshold=0.5,
        force_suppress=draw.random() < 0.5,
        nms_topk=draw.choice([-1, 50]),
        variances=(0.1, 0.1, 0.2, 0.2),
    )
    return Network(found, {"data": (1, 3, size, size)})


def retinaface(F, draw):
    """Finds faces from three maps, of which the smaller ones are enlarged and cropped."""
    width, size = draw.choice([8, 12]), draw.choice([(36, 40), (33, 41), (64, 48)])
    x, maps = conv(F, F.var("data"), width, stride=2, act="relu"), []
    for _ in range(3):
        x = conv(F, x, width, stride=2, act="relu")
        maps.append(x)
    large, middle, small = (conv(F, x, width, 1, act="relu") for x in maps)
    up = F.UpSampling(small, scale=2, sample_type="nearest", workspace=512, num_args=1)
    middle = conv(F, middle + F.Crop(*[up, middle]), width, act="relu")
    up = F.UpSampling(middle, scale=2, sample_type="nearest", num_args=1)
    large = conv(F, F.ElementWiseSum(large, F.Crop(up, large, num_args=2)), width, act="relu")
    outputs = []
    for x in (small, middle, large):
        context = conv(F, x, width // 2)
        parts = [context, *(conv(F, context, width // 4) for _ in range(2))]
        y = F.Activation(F.concat(*parts, dim=1), act_type="relu")
        score = F.Reshape(F.Convolution(y, num_filter=4, kernel=(1, 1)), shape=(0, 2, -1, 0))
        outputs.append(F.Reshape(F.SoftmaxActivation(score, mode="channel"), shape=(0, 4, -1, 0)))
        outputs += [F.Convolution(y, num_filter=filters, kernel=(1, 1)) for filters in (8, 20)]
    return Network(F.Group(outputs), {"data": (1, 3, *size)})


def mtcnn(F, draw):
    """Is one of MTCNN's three networks."""
    which = draw.choice(["proposals", "refined", "output"])
    size = {"proposals": draw.choice([12, 37]), "refined": 24, "output": 48}[which]
    first = which == "proposals"

    def layer(x, filters, kernel=3):
        return F.LeakyReLU(F.Convolution(x, num_filter=filters, kernel=(kernel, kernel)), act_type="prelu")

    x = pool(F, layer(F.var("data"), 10), 2 if first else 3, pooling_convention="full")
    x = layer(x, 16)
    if first:
        x = layer(x, 32)
        score, box = (F.Convolution(x, num_filter=filters, kernel=(1, 1)) for filters in (2, 4))
        output = F.Group([F.SoftmaxActivation(score, mode="channel"), box])
        return Network(output, {"data": (draw.choice([1, 3]), 3, size, size + 3)})
    x = layer(pool(F, x, 3, pooling_convention="full"), 24, 2)
    x = F.LeakyReLU(F.FullyConnected(x, num_hidden=30), act_type="prelu")
    score, box, marks = (F.FullyConnected(x, num_hidden=units) for units in (2, 4, 10))
    output = F.Group([F.SoftmaxOutput(score, name="cls_prob"), box, marks])
    return Network(output, {"data": (draw.choice([1, 5]), 3, size, size)})


def yolo(F, draw):
    """Joins a finer map, decodes boxes and suppresses: YOLO's second version."""
    width = 8
    x = pool(F, conv(F, F.var("data"), width, act="leaky"))
    fine = conv(F, x, width, act="leaky")
    coarse = conv(F, pool(F, fine), 2 * width, act="leaky")
    if draw.random() < 0.5:
        fine = F.space_to_depth(fine, block_size=2)
    else:
        fine = F.contrib.BilinearResize2D(fine, height=8, width=8)
    x = F.Convolution(F.Concat(fine, coarse, dim=1), num_filter=2 * 7, kernel=(1, 1))
    x = F.reshape(F.transpose(x, axes=(0, 2, 3, 1)), shape=(0, -1, 7))
    parts = [F.slice_axis(x, axis=-1, begin=begin, end=end) for begin, end in ((0, 2), (2, 4), (4, 5), (5, 7))]
    middle, size, there, classes = F.sigmoid(parts[0]), F.exp(parts[1]), F.sigmoid(parts[2]), F.softmax(parts[3])
    best = there * F.max(classes, axis=-1, keepdims=True)
    ids = F.argmax(classes, axis=-1, keepdims=True)
    boxes = F.concat(ids, best, middle - size / 2, middle + size / 2, dim=-1)
    found = F.contrib.box_nms(
        boxes,
        overlap_thresh=0.5,
        valid_thresh=0.01,
        topk=draw.choice([-1, 20]),
        id_index=0,
        score_index=1,
        coord_start=2,
        force_suppress=draw.random() < 0.5,
    )
    return Network(found, {"data": (1, 3, 32, 32)})


def rcnn(F, draw):
    """Classifies the regions that it proposes, as Faster R-CNN, R-FCN and its deformable version do."""
    x = conv(F, conv(F, F.var("data"), 8, stride=2, act="relu"), 8, stride=2, act="relu")
    anchors = 3
    region = conv(F, x, 8, act="relu", norm=False)
    score, offsets = (F.Convolution(region, num_filter=each * anchors, kernel=(1, 1)) for each in (2, 4))
    score = F.SoftmaxActivation(F.Reshape(score, shape=(0, 2, -1, 0)), mode="channel")
    regions = F.contrib.Proposal(
        F.Reshape(score, shape=(0, 2 * anchors, -1, 0)),
        offsets * 0.1,
        F.var("im_info"),
        feature_stride=4,
        scales=(2,),
        ratios=(0.5, 1, 2),
        rpn_pre_nms_top_n=40,
        rpn_post_nms_top_n=10,
        threshold=0.7,
        rpn_min_size=2,
    )
    kind = draw.choice(["maximum", "align", "sensitive", "deformable"])
    if kind in ("maximum", "align"):
        pooling = F.ROIPooling if kind == "maximum" else F.contrib.ROIAlign
        y = F.FullyConnected(F.Flatten(pooling(x, regions, pooled_size=(3, 3), spatial_scale=0.25)), num_hidden=5)
    else:
        maps = conv(F, x, 5 * 9, 1, norm=False)
        how = {"group_size": 3, "pooled_size": 3, "output_dim": 5, "spatial_scale": 0.25}
        if kind == "sensitive":
            y = F.contrib.PSROIPooling(maps, regions, **how)
        else:
            sampled = how | {"part_size": 3, "sample_per_part": 2}
            moves = F.contrib.DeformablePSROIPooling(
                conv(F, x, 2 * 9, 1, norm=False), regions, no_trans=True, **sampled | {"output_dim": 2}
            )
            y = F.contrib.DeformablePSROIPooling(maps, regions, moves, trans_std=0.1, **sampled)
        y = F.Flatten(pool(F, y, 3, 1, "avg"))
    output = F.Group([regions, F.softmax(y)])
    return Network(output, {"data": (1, 3, 40, 48), "im_info": (1, 3)}, given={"im_info": [40, 48, 1]})


def flow(F, draw):
    """Compares two images at many distances: FlowNet."""
    weight, bias = F.var("conv_weight"), F.var("conv_bias")

    def tower(x):
        x = F.Convolution(x, weight, bias, num_filter=6, kernel=(3, 3), stride=(2, 2), pad=(1, 1))
        return F.LeakyReLU(x, act_type="leaky", slope=0.1)

    a, b = tower(F.var("left")), tower(F.var("right"))
    reach, step = draw.choice([2, 4]), draw.choice([1, 2])
    near = F.Correlation(a, b, max_displacement=reach, stride2=step, pad_size=4, is_multiply=draw.random() < 0.7)
    x = F.Convolution(F.concat(F.LeakyReLU(near, slope=0.1), near, dim=1), num_filter=2, kernel=(3, 3), pad=(1, 1))
    x = F.Deconvolution(x, num_filter=2, kernel=(4, 4), stride=(2, 2), pad=(1, 1))
    return Network(x, dict.fromkeys(("left", "right"), (1, 3, 20, 24)))


def hourglass(F, draw):
    """Finds joints: maps that are made smaller and larger again, and the places of their maxima."""
    size, width = draw.choice([16, 20]), 8

    def glass(x, depth):
        low = conv(F, pool(F, x), width, act="relu")
        low = glass(low, depth - 1) if depth else low
        how = draw.choice(["nearest", "bilinear", "transposed"])
        if how == "nearest":
            up = F.UpSampling(low, scale=2, sample_type="nearest")
        elif how == "bilinear":
            up = F.contrib.BilinearResize2D(low, like=x, mode="like")
        else:
            groups = draw.choice([1, 2, 4, width])
            window = {"kernel": (4, 4), "stride": (2, 2), "pad": (1, 1)}
            up = F.Deconvolution(low, num_filter=width, num_group=groups, no_bias=True, **window)
        return conv(F, x, width, act="relu") + up

    maps = F.Convolution(glass(conv(F, F.var("data"), width, act="relu"), 1), num_filter=3, kernel=(1, 1))
    peaks = F.broadcast_equal(maps, pool(F, maps, 3, 1, pad=(1, 1)))
    places = F.argmax(F.reshape(maps, shape=(0, 0, -1)), axis=2)
    return Network(F.Group([maps * peaks, places]), {"data": (1, 3, size, size)})


KINDS = (ssd, retinaface, mtcnn, yolo, rcnn, flow, hourglass)
