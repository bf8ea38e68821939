"""The usual input of a gluoncv model is told from its name."""

from __future__ import annotations

import pytest

from tophub_registry.frontends.mxnet.inputs import default_shape, default_shapes


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        ("resnet18_v1", (1, 3, 224, 224)),
        ("mobilenetv2_1.0", (1, 3, 224, 224)),
        ("cifar_resnet20_v1", (1, 3, 32, 32)),
        ("inceptionv3", (1, 3, 299, 299)),
        ("nasnet_4_1056", (1, 3, 224, 224)),
        ("nasnet_6_4032", (1, 3, 331, 331)),
        ("ssd_300_vgg16_atrous_voc", (1, 3, 300, 300)),
        ("ssd_512_resnet50_v1_voc", (1, 3, 512, 512)),
        ("yolo3_darknet53_coco", (1, 3, 416, 416)),
        ("simple_pose_resnet18_v1b", (1, 3, 256, 192)),
        ("monodepth2_resnet18_kitti_mono_640x192", (1, 3, 192, 640)),
        ("monodepth2_resnet18_posenet_kitti_mono_640x192", (1, 6, 192, 640)),
        ("c3d_kinetics400", (1, 3, 16, 112, 112)),
        ("r2plus1d_resnet18_kinetics400", (1, 3, 16, 112, 112)),
        ("i3d_resnet50_v1_kinetics400", (1, 3, 32, 224, 224)),
        ("slowfast_4x16_resnet50_kinetics400", (1, 3, 36, 224, 224)),
    ],
)
def test_the_name_tells_the_input(model, shape):
    assert default_shape(model, 1) == shape


def test_the_batch_comes_first():
    assert default_shape("resnet18_v1", 8) == (8, 3, 224, 224)


def test_a_tracker_has_two_inputs():
    assert default_shapes("siamrpn_alexnet_v2_otb15", 1) == {"template": (1, 3, 127, 127), "search": (1, 3, 287, 287)}
    assert default_shapes("resnet18_v1", 2) == {"data": (2, 3, 224, 224)}
