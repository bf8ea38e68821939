"""A whole model compiled with records computes what MXNet computes, and says what each layer got."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.compiler.agreement import assert_close, noise
from tophub_registry.compiler.compiler import CompiledModel, compile_model
from tophub_registry.errors import EnvironmentFailure, InputError, UsageError
from tophub_registry.frontends import Model, read_model
from tophub_registry.proof.compiled import losing
from tophub_registry.records.log import read_records
from tophub_registry.records.lookup import Match
from tophub_registry.templates.registry import instantiate

DATA = Path(__file__).parents[2] / "registry_data"
ZNVER4 = "llvm -mcpu=znver4"
ROCKETLAKE = "llvm -mcpu=rocketlake"


@pytest.fixture(scope="module")
def cifar() -> Model:
    return read_model("cifar_resnet20_v1")


@pytest.fixture(scope="module")
def compiled(cifar: Model) -> CompiledModel:
    """Compile for this machine, with the package of its backend."""
    return compile_model(cifar)


@pytest.fixture(scope="module")
def for_rocketlake(cifar: Model) -> CompiledModel:
    return compile_model(cifar, ROCKETLAKE)


def assert_agrees(compiled: CompiledModel) -> None:
    inputs = noise(compiled.model)
    assert_close(compiled.run(*inputs), compiled.model.reference(*inputs))


def functions(compiled: CompiledModel) -> set[str]:
    """Return the names of the functions that the model calls."""
    lines = compiled.executable.as_text().splitlines()
    return {line.split()[0].removeprefix("@") for line in lines if line.endswith("packed_func;")}


@pytest.mark.slow
def test_a_model_with_its_package_computes_what_mxnet_computes(compiled: CompiledModel) -> None:
    assert all(layer.recorded or layer.evidence for layer in compiled.layers)
    assert_agrees(compiled)


def test_bias_relu_and_residual_are_computed_in_the_kernels(compiled: CompiledModel) -> None:
    called = {name for name in functions(compiled) if not name.startswith("vm.")}
    alone = {name for name in called if not name.startswith(("fused_conv2d", "fused_dense"))}
    assert all(re.fullmatch(r"(fused_)?(_?(mean|to_blocks|to_plain)\d*)+", name) for name in alone), alone
    assert any(name.count("add") == 2 and "relu" in name for name in called), called


def test_each_layer_says_which_record_it_got_and_how_that_matched(for_rocketlake: CompiledModel) -> None:
    assert {layer.match for layer in for_rocketlake.layers} == {Match.DEVICE}
    sources = {layer.kernel and (layer.kernel.answer.source or "").split()[0] for layer in for_rocketlake.layers}
    assert sources == {"llvm"}


@pytest.mark.slow
@pytest.mark.parametrize(("processor", "match"), [("icelake-server", Match.FAMILY), ("znver3", Match.BACKEND)])
def test_another_processors_records_are_evidence(cifar: Model, processor: str, match: Match) -> None:
    """They are no records of its own, whether they are used, as those of its family may be, or not."""
    target = f"llvm -mcpu={processor}"
    other = compile_model(cifar, target, records=[DATA / "llvm_v0.08.log"])
    bare = compile_model(cifar, target, records=[])
    assert {layer.match for layer in other.layers} == {match, Match.NONE}
    assert not any(layer.recorded for layer in other.layers)
    for layer, without in zip(other.layers, bare.layers, strict=True):
        assert layer.kernel is not None
        assert without.kernel is not None
        assert layer.evidence is not None
        assert str(layer.evidence.record and layer.evidence.record.target) == ZNVER4
        if layer.match is Match.NONE:
            assert (layer.kernel.template.task, layer.kernel.config) == (
                without.kernel.template.task,
                without.kernel.config,
            )


@pytest.mark.slow
def test_without_records_autotvms_defaults_or_ours_and_right_all_the_same(cifar: Model) -> None:
    compiled = compile_model(cifar, records=[])
    assert {layer.match for layer in compiled.layers} == {Match.NONE}
    assert_agrees(compiled)


def test_a_record_that_is_left_out_is_not_used(cifar: Model, for_rocketlake: CompiledModel) -> None:
    kernel = for_rocketlake.layers[1].kernel
    assert kernel is not None
    again = compile_model(cifar, ROCKETLAKE, left_out=[kernel])
    assert again.layers[1].kernel is not None
    assert again.layers[1].kernel.config != kernel.config


@pytest.mark.timed
def test_records_that_lose_against_the_default_are_found(cifar: Model, compiled: CompiledModel, tmp_path: Path) -> None:
    """A record whose kernel handles one vector of outputs at a time stands in for the best one."""
    record = next(
        record
        for record in read_records(DATA / "llvm_v0.05.log")
        if compiled.layers[1].kernel and record.input.args == compiled.layers[1].kernel.template.args
    )
    task = "conv2d_NCHWc_tiled.x86"
    template = instantiate(task, record.input.args)
    values = {knob.name: knob.value for knob in template.default(compiled.target).entity}
    panels, together, block = values["tile_oc"]  # the same block: else the default is used, for its layout
    values |= {"tile_oc": [panels * together, 1, block], "tile_p": 1, "tile_oh": 1}
    slow = template.space.config_of(values)
    log = tmp_path / "slow.log"
    update = {"config": slow, "input": record.input._replace(task=task, target=str(compiled.target))}
    log.write_text(record.model_copy(update=update).to_json() + "\n")
    slowed = compile_model(cifar, records=[log])
    (lost,) = [each for each in losing(slowed, rounds=5) if each.kernel.config == slow]
    assert lost.reason.endswith("times as fast as AutoTVM's default config")


def test_a_profile_names_each_kernel_the_slowest_first(compiled: CompiledModel) -> None:
    times = compiled.profile(runs=2)
    assert {each.name for each in times} == {name for name in functions(compiled) if not name.startswith("vm.")}
    assert sum(each.calls for each in times if "conv2d" in each.name) == 21
    assert [each.seconds for each in times] == sorted((each.seconds for each in times), reverse=True)
    assert all(len(each.shapes) >= 2 for each in times)


def test_inputs_are_brought_into_the_models_dtype_or_refused(compiled: CompiledModel) -> None:
    (array,) = noise(compiled.model)
    for other in (array.astype("float64"), array.tolist()):
        np.testing.assert_array_equal(compiled.run(other)[0], compiled.run(array)[0])
    for wrong in ([], [array, array], [array[:, :, :8]]):
        with pytest.raises(UsageError, match=r"the model takes \[\(1, 3, 32, 32\)\] \(data\)"):
            compiled.run(*wrong)


def test_a_model_is_shown_in_a_few_words(compiled: CompiledModel) -> None:
    assert len(repr(compiled)) < 500


@pytest.mark.slow
def test_a_library_is_written_whole_or_not_at_all(
    compiled: CompiledModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "there" / "model.so"
    library.parent.mkdir()
    compiled.export(library)
    before = library.read_bytes()
    with pytest.raises(UsageError, match="already"):
        compiled.export(library, overwrite=False)
    linker = tmp_path / "g++"
    linker.write_text("#!/bin/sh\necho no room >&2\nexit 1\n")
    linker.chmod(0o755)
    monkeypatch.setenv("CXX", str(linker))
    with pytest.raises(EnvironmentFailure, match="can't be linked: no room"):
        compiled.export(library)
    assert library.read_bytes() == before
    assert [path.name for path in library.parent.iterdir()] == ["model.so"]


def test_a_missing_log_is_named(cifar: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        compile_model(cifar, records=[tmp_path / "none.log"])


def test_a_model_is_written_as_a_library_that_tvm_runs(compiled: CompiledModel, tmp_path: Path) -> None:
    import tvm
    from tvm import relax

    compiled.export(tmp_path / "cifar.so")
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(tmp_path / "cifar.so")), tvm.cpu())
    (array,) = noise(compiled.model)
    np.testing.assert_array_equal(machine["main"](tvm.runtime.tensor(array)).numpy(), compiled.run(array)[0])


def test_a_profile_s_kernels_are_in_no_cuda_graph(cifar: Model) -> None:
    """The clock waits for each kernel, which a graph that is being made forbids."""
    compiled = compile_model(cifar, "cuda -model=h100 -arch=sm_90", records=[])
    graph = "vm.builtin.cuda_graph"
    assert graph in compiled.executable.as_text()
    assert graph not in compiled.without_graph.as_text()
