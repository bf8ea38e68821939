"""A module in a folder is the module that was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tasks.modules import one_layer

tvm = pytest.importorskip("tvm", reason="needs the extra [compile]")
np = pytest.importorskip("numpy")


def test_functions_beside_main_are_written_too(tmp_path: Path) -> None:
    from tvm import relax, te

    from tophub_registry.bench.relax_files import read_module, write_module

    def doubled(data: Any) -> Any:
        return te.compute(data.shape, lambda *at: data[at] * 2, name="doubled")

    builder = relax.BlockBuilder()
    data = relax.Var("data", relax.TensorType((2, 100), "float32"))
    weight = np.arange(100, dtype="float32")
    with builder.function("main", [data]):
        with builder.dataflow():
            called = builder.emit_te(doubled, data)
            output = builder.emit_output(relax.op.add(called, relax.const(weight)))
        builder.emit_func_output(output)
    write_module(tmp_path, builder.get())
    read = read_module(tmp_path)
    main = relax.VirtualMachine(tvm.compile(read, target="llvm"), tvm.cpu())["main"]
    given = np.ones((2, 100), "float32")
    np.testing.assert_array_equal(main(tvm.runtime.tensor(given)).numpy(), given * 2 + weight)


def test_a_folder_without_outputs_to_compare_with_is_one_clear_error(tmp_path: Path) -> None:
    from tophub_registry.bench.prepared import write_prepared
    from tophub_registry.errors import InputError
    from tophub_registry.frontends import read_model

    model = read_model(one_layer("conv2d", (1, 4, 6, 6), (8, 4, 3, 3)))
    prepared = write_prepared(model, tmp_path / "model")
    with pytest.raises(InputError, match="no outputs to compare with") as caught:
        prepared.references()
    assert caught.value.remedy == "write the folder anew by `tophub bench MODEL --prepare FOLDER`"
    (expected,) = write_prepared(model, tmp_path / "model", references=True).references()
    assert expected.shape == (1, 8, 4, 4)
