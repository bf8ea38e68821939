"""Random resizings on a processor, against apache-tvm's own."""

from __future__ import annotations

import random

import pytest

tvm = pytest.importorskip("tvm", reason="needs the extra [compile]")
np = pytest.importorskip("numpy")
relax = tvm.relax

MODES = [
    "half_pixel",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
]
ROUNDINGS = ["", "round", "round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


def resizing(rng: random.Random, method: str) -> tvm.IRModule:
    """Return a module that resizes an image, and adds something before and after."""
    channels, *size = (rng.choice([1, 3, 8, 13]) for _ in range(3))
    mode = rng.choice(MODES)
    shortest = 2 if mode in {"align_corners", "tf_crop_and_resize"} else 1  # where TVM divides by zero
    wanted = tuple(rng.choice([shortest, 2, 7, 16, 26, 40]) for _ in range(2))
    builder = relax.BlockBuilder()
    image = relax.Var("image", relax.TensorType((rng.choice([1, 2]), channels, *size), "float32"))
    with builder.function("main", [image]):
        with builder.dataflow():
            before = builder.emit(relax.op.nn.relu(image))
            new = builder.emit(
                relax.op.image.resize2d(
                    before,
                    wanted,
                    (0.1, 0.0, 0.9, 1.0),
                    layout="NCHW",
                    method=method,
                    coordinate_transformation_mode=mode,
                    rounding_method=rng.choice(ROUNDINGS) if method == "nearest_neighbor" else "",
                    cubic_exclude=int(rng.random() < 0.5),
                )
            )
            output = builder.emit_output(relax.op.add(new, relax.const(np.float32(1))))
        builder.emit_func_output(output)
    return builder.get()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["nearest_neighbor", "linear", "cubic"])
def test_resized_images_are_tvms(method: str) -> None:
    from tophub_registry.compiler.compiler import compile_model

    rng = random.Random(method)
    for _ in range(12):
        module = resizing(rng, method)
        compiled = compile_model(module, records=[])
        names = [name.name_hint for name in compiled.scheduled.module.get_global_vars()]
        assert any(name.startswith("resized_rows") for name in names)
        given = compiled.model.random_inputs()
        (ours,), (theirs,) = compiled.run(*given), compiled.model.reference(*given)
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4, err_msg=str(module))
