"""The tasks of resnet18 on a processor, the same from gluoncv, PyTorch and ONNX.

MXNet and PyTorch are tested in environments of their own, so that both are compared with this list.
"""

TASKS = sorted(
    [
        "conv2d_NCHWc.x86 1x3x224x224 64x3x7x7 /2",
        "conv2d_NCHWc.x86 1x64x56x56 64x64x3x3",
        "conv2d_NCHWc.x86 1x64x56x56 128x64x3x3 /2",
        "conv2d_NCHWc.x86 1x64x56x56 128x64x1x1 /2",
        "conv2d_NCHWc.x86 1x128x28x28 128x128x3x3",
        "conv2d_NCHWc.x86 1x128x28x28 256x128x3x3 /2",
        "conv2d_NCHWc.x86 1x128x28x28 256x128x1x1 /2",
        "conv2d_NCHWc.x86 1x256x14x14 256x256x3x3",
        "conv2d_NCHWc.x86 1x256x14x14 512x256x3x3 /2",
        "conv2d_NCHWc.x86 1x256x14x14 512x256x1x1 /2",
        "conv2d_NCHWc.x86 1x512x7x7 512x512x3x3",
        "dense_nopack.x86 1x512 1000x512",
        "dense_pack.x86 1x512 1000x512",
    ]
)
