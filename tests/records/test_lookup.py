"""Looking up records: the nearest match, then the earlier log, then the lower cost; never silently another's."""

import itertools
import json
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.records.rows import record, text
from tests.registries import OLD_ROW
from tophub_registry.errors import InputError
from tophub_registry.records.log import read_records
from tophub_registry.records.lookup import (
    Match,
    Source,
    backend_of,
    backends_of,
    lookup,
    lookup_all,
    lookup_each,
    match_targets,
)
from tophub_registry.records.target import Target

WORKLOAD = record().workload
H100 = "cuda -model=h100"


@pytest.fixture
def log(tmp_path):
    """Return a function that writes a log of rows and returns it as a source."""

    def write(name, *rows):
        path = tmp_path / f"{name}.log"
        path.write_text("".join(row + "\n" for row in rows))
        return Source(name, path)

    return write


def found(answer):
    return (
        str(answer.match),
        answer.source,
        None if answer.record is None else (answer.record.input.target, answer.record.result.costs),
    )


@pytest.mark.parametrize(
    ("asked", "recorded", "match"),
    [
        # The same target, whatever the order of its options.
        ("llvm", "llvm", "device"),
        ("cuda -model=h100 -arch=sm_90", "cuda -arch=sm_90 -model=h100", "device"),
        ("llvm -target=aarch64-linux-gnu", "llvm -mtriple=aarch64-linux-gnu", "device"),
        ("opencl -device=intel_graphics -model=unknown", "opencl -device=intel_graphics -model=unknown", "device"),
        # The same device by its model, however much TVM fills in.
        (
            "cuda -keys=cuda,gpu -arch=sm_50 -max_num_threads=1024 -model=h100 -thread_warp_size=32",
            "cuda -model=h100",
            "device",
        ),
        (
            "llvm -keys=arm_cpu,cpu -device=arm_cpu -model=rk3399 -mtriple=aarch64-linux-gnu",
            "llvm -device=arm_cpu -model=rk3399 -target=arm64-linux-android -mattr=+neon",
            "device",
        ),
        # The same processor by -mcpu, where neither gives a model.
        ("llvm -keys=cpu -mcpu=znver4 -mtriple=x86_64-linux-gnu", "llvm -mcpu=znver4", "device"),
        ("llvm -mcpu=znver4", "llvm -mcpu=znver4 -model=unknown", "device"),
        ("llvm -mcpu=znver4", "llvm -mcpu=znver4 -model=epyc9254", "architecture"),
        ("llvm -mcpu=znver4 -model=ryzen", "llvm -mcpu=znver4 -model=epyc9254", "architecture"),
        # The same architecture.
        ("cuda -model=1080ti -arch=sm_61", "cuda -model=titanx -arch=sm_61", "architecture"),
        ("cuda -arch=sm_90 -max_num_threads=1024", "cuda -arch=sm_90", "architecture"),
        ("rocm -mcpu=gfx906 -max_num_threads=256", "rocm -mcpu=gfx906", "architecture"),
        # The same family: the vectors of a processor, the generation of a GPU.
        ("llvm -mcpu=znver4", "llvm -mcpu=icelake-server", "family"),
        ("llvm -mcpu=znver3", "llvm -mcpu=haswell", "family"),
        ("llvm -mcpu=znver3", "llvm -mcpu=nehalem -mattr=+avx2", "family"),
        ("llvm -mcpu=znver4 -model=ryzen", "llvm -mcpu=icelake-server -model=xeon", "family"),
        ("cuda -model=h100", "cuda -model=h200", "family"),
        ("cuda -model=h200", "cuda -model=unheard-of -arch=sm_90a", "family"),
        # Keys that name a family say nothing of the package.
        ("llvm -mcpu=znver4", "llvm -keys=x86-64-v4 -mcpu=znver4", "device"),
        # Only the same backend.
        ("cuda -model=h100", "cuda -model=1080ti", "backend"),
        ("cuda -model=h100", "cuda", "backend"),
        ("cuda", "cuda -model=unknown -libs=cudnn", "backend"),
        ("llvm -mcpu=znver4", "llvm -mcpu=znver3", "backend"),
        ("llvm -mcpu=znver4", "llvm", "backend"),
        ("nvptx -model=v100", "cuda -model=v100", "backend"),
        ("vulkan", "opencl", "backend"),
        # Another backend.
        ("llvm -device=arm_cpu -mcpu=cortex-a72", "llvm -mcpu=cortex-a72", "none"),
        ("opencl -device=mali -model=rk3399", "opencl -model=rk3399", "none"),
        ("cuda -model=v100", "rocm -model=v100", "none"),
        ("llvm -model=rk3399", "opencl -model=rk3399", "none"),
    ],
)
def test_how_near_two_targets_are(asked, recorded, match):
    asked, recorded = Target.parse(asked), Target.parse(recorded)
    assert str(match_targets(asked, recorded)) == match
    assert match_targets(recorded, asked) is match_targets(asked, recorded)


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("llvm", ["llvm"]),
        ("llvm -keys=cpu -mcpu=znver4", ["llvm"]),
        ("llvm -keys=arm_cpu,cpu -device=arm_cpu", ["arm_cpu", "llvm"]),
        ("cuda -keys=cuda,gpu", ["cuda"]),
        ("nvptx", ["cuda"]),
        ("opencl -keys=mali,opencl,gpu -device=mali", ["mali", "opencl"]),
        ("opencl -keys=adreno,opencl,gpu", ["adreno", "opencl"]),
        ("vulkan -keys=vulkan,gpu", ["opencl"]),
        ("ext_dev -device=vtacpu -keys=vta,cpu", ["vta", "ext_dev"]),
    ],
)
def test_a_target_has_its_packages(target, names):
    assert list(backends_of(Target.parse(target))) == names
    assert backend_of(Target.parse(target)) == names[0]


def test_the_answer_says_how_it_matched_and_from_where(log):
    hub = log(
        "hub",
        text(target="cuda -model=1080ti", costs=[1e-6]),
        text(target="cuda -model=titanx -arch=sm_61", costs=[2e-6]),
    )
    assert found(lookup("cuda -model=1080ti", WORKLOAD, [hub])) == ("device", "hub", ("cuda -model=1080ti", [1e-6]))
    assert found(lookup("cuda -model=1060 -arch=sm_61", WORKLOAD, [hub])) == (
        "architecture",
        "hub",
        ("cuda -model=titanx -arch=sm_61", [2e-6]),
    )
    assert found(lookup(H100, WORKLOAD, [hub])) == ("backend", "hub", ("cuda -model=1080ti", [1e-6]))
    assert found(lookup("rocm", WORKLOAD, [hub])) == ("none", None, None)
    assert found(lookup(H100, "another workload", [hub])) == ("none", None, None)
    assert found(lookup(H100, WORKLOAD, [])) == ("none", None, None)


def test_one_s_own_log_comes_first_and_does_not_hide_the_hub_s(log):
    own = log("own", text(target=H100, channels=64, costs=[5e-6]))
    hub = log("hub", text(target=H100, channels=64, costs=[1e-6]), text(target=H100, channels=128, costs=[2e-6]))
    other = record(channels=128).workload
    answers = lookup_all(H100, [own, hub], [WORKLOAD, other, "third"])
    assert list(answers) == [WORKLOAD, other, "third"]
    assert [found(answer) for answer in answers.values()] == [
        ("device", "own", (H100, [5e-6])),
        ("device", "hub", (H100, [2e-6])),
        ("none", None, None),
    ]


def test_the_same_device_comes_before_one_s_own_record_of_another(log):
    own = log("own", text(target="cuda -model=a100", costs=[1e-9]))
    hub = log("hub", text(target=H100, costs=[1e-3]))
    assert found(lookup(H100, WORKLOAD, [own, hub])) == ("device", "hub", (H100, [1e-3]))
    assert found(lookup("cuda -model=v100", WORKLOAD, [own, hub]))[:2] == ("backend", "own")


def test_failed_measurements_never_answer(log):
    own = log("own", text(target=H100, costs=[1e-9], error_no=4), text(target=H100, costs=[1e-3]))
    assert found(lookup(H100, WORKLOAD, [own])) == ("device", "own", (H100, [1e-3]))


def test_the_mean_of_the_repeats_decides(log):
    own = log("own", text(target=H100, costs=[1e-6, 9e-6]), text(target=H100, costs=[3e-6, 3e-6]))
    assert found(lookup(H100, WORKLOAD, [own]))[2][1] == [3e-6, 3e-6]


def test_cold_weights_come_before_threads_and_these_before_the_cost(log):
    def measured(seconds, weights=None, threads=2):
        return text(costs=[seconds], tophub={"threads": threads, **({} if weights is None else {"weights": weights})})

    cached, cold, more = measured(1e-5), measured(3e-5, "cold"), measured(2e-5, "cold", threads=16)
    mine = log("mine", cached, more, cold)
    target = record().input.target
    for threads, seconds in ((2, 3e-5), (16, 2e-5), (None, 2e-5), (4, 2e-5)):
        answer = lookup(target, WORKLOAD, [mine], threads=threads)
        assert answer.record.result.costs == [seconds]
        assert answer.conditions == (False, threads == 4)
    answer = lookup(target, WORKLOAD, [log("old", cached), mine], threads=2)
    assert (answer.source, answer.conditions) == ("old", (True, False))  # one's own log comes first


def test_without_workloads_all_of_the_backend_are_answered(log):
    hub = log(
        "hub",
        "# a comment",
        text(target=H100, channels=64),
        text(target="rocm", channels=8),
        text(target="cuda -model=v100", channels=128),
    )
    answers = lookup_all(H100, [hub])
    assert [str(answer.match) for answer in answers.values()] == ["device", "backend"]
    assert list(answers) == [WORKLOAD, record(channels=128).workload]


def test_all_of_a_workload_s_records_and_the_best_of_each_that_may_be_like_it(log):
    """What is alike is only told where a workload has no record."""
    hub = log(
        "hub",
        text(target=H100, channels=32, costs=[2e-6]),
        text(target=H100, channels=32, costs=[1e-6]),
        text(target=H100, channels=64, costs=[4e-6]),
        text(target=H100, channels=64, costs=[3e-6]),
        text(target="llvm", channels=16, costs=[1e-6]),
    )
    known, unknown = (record(channels=channels).workload for channels in (32, 128))
    answers, alike = lookup_each(H100, [hub], [known, unknown])
    assert [answer.record.mean_cost for answer in answers[known]] == [1e-6, 2e-6]
    assert answers[unknown] == []
    assert [(answer.record.mean_cost, str(answer.match)) for answer in alike] == [(1e-6, "device"), (3e-6, "device")]
    assert lookup_each(H100, [hub], [known]).alike == []


def test_rows_of_log_version_0_1_answer_where_they_can_be_converted(log):
    rows = log("old", OLD_ROW, text(target="cuda -model=v100"))
    assert list(lookup_all("cuda -model=v100", [rows])) == [WORKLOAD]


def test_upstream_s_old_logs_answer_as_their_converted_ones(upstream):
    old = lookup_all("cuda -model=1080ti", [Source("old", upstream / "cuda_v0.07.log")])
    new = lookup_all("cuda -model=1080ti", [Source("new", upstream / "cuda_v0.08.log")])
    assert list(old) == list(new)
    assert len(new) > 150
    for workload, answer in new.items():
        assert old[workload].match is answer.match
        assert old[workload].record.config == answer.record.config
    # Rows for VTA have no rule; those of the processor beside it have.
    assert lookup_all("llvm -device=arm_cpu -model=pynq", [Source("vta", upstream / "vta_v0.06.log")])


@pytest.mark.parametrize(("line", "message"), [("{", "not a JSON row"), ("[1]", "not a record")])
def test_a_broken_log_is_named_with_its_line(log, line, message):
    source = log("own", text(), line)
    with pytest.raises(InputError, match=message) as caught:
        lookup("llvm", WORKLOAD, [source])
    assert (caught.value.file, caught.value.line) == (str(source.path), 2)


def test_a_missing_log_and_a_wrong_target(log):
    with pytest.raises(InputError, match="no such file"):
        lookup("llvm", WORKLOAD, [Source("own", log("own").path.with_name("missing"))])
    with pytest.raises(InputError, match="not a target"):
        lookup("", WORKLOAD, [])


TARGETS = ["cuda -model=h100", "cuda -model=h100 -arch=sm_90", "cuda -arch=sm_90", "cuda", "cuda -model=v100", "rocm"]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.sampled_from(TARGETS), st.sampled_from([32, 64]), st.sampled_from([1e-6, 2e-6, 3e-6])),
            max_size=6,
        ),
        max_size=3,
    ),
    st.sampled_from(TARGETS),
    st.randoms(use_true_random=False),
)
def test_the_best_of_all_rows_by_match_order_and_cost_wins_in_whatever_order_they_stand(
    tmp_path_factory, logs, asked, order
):
    folder = tmp_path_factory.mktemp("logs")
    sources = []
    for number, rows in enumerate(logs):
        lines = [text(target=target, channels=channels, costs=[cost]) for target, channels, cost in rows]
        order.shuffle(lines)
        (folder / f"{number}.log").write_text("".join(line + "\n" for line in lines))
        sources.append(Source(str(number), folder / f"{number}.log"))
    for channels in (32, 64):
        workload = record(channels=channels).workload
        ranks = [
            (-match_targets(Target.parse(asked), row.target), number, row.mean_cost, row.to_json())
            for number, source in enumerate(sources)
            for row in read_records(source.path)
            if row.workload == workload and match_targets(Target.parse(asked), row.target)
        ]
        answer = lookup(asked, workload, sources)
        best = min(ranks, default=None)
        if best is None:
            assert answer.match is Match.NONE
        else:
            assert (-answer.match, int(answer.source), answer.record.mean_cost, answer.record.to_json()) == best


def test_memory_does_not_grow_with_the_log(tmp_path):
    path = tmp_path / "long.log"
    generator = random.Random(1)
    rows = [text(target=H100, channels=channels, costs=[generator.random()]) for channels in range(1, 51)]

    def peak(copies):
        with path.open("w") as stream:
            for _, row in itertools.product(range(copies), rows):
                fields = json.loads(row)
                fields["result"][0] = [generator.random() + 1e-9]
                stream.write(json.dumps(fields) + "\n")
        tracemalloc.start()
        assert len(lookup_all(H100, [Source("long", path)])) == 50
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(1)  # fills caches
    assert peak(60) < peak(10) + 100_000
