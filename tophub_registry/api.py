"""The public API of `import tophub_registry as tophub`. Each function imports what it needs when it is called.

Compatibility: names, parameters and their meaning don't change within a minor version (0.x). Removals are announced one
minor version ahead, by a DeprecationWarning and in CHANGELOG.md. New parameters come last, and are optional.
Everything that is not listed in `tophub_registry.__all__` is private.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tophub_registry.compiler.compiled import CompiledModel
    from tophub_registry.frontends.model import Model
    from tophub_registry.packages.fetch import Fetch
    from tophub_registry.records.lookup import Answer
    from tophub_registry.records.merge import MergeReport
    from tophub_registry.records.task import TaskFile
    from tophub_registry.records.validate import Validation
    from tophub_registry.tuner.tune import TaskOutcome

StrPath = str | Path
Records = StrPath | Sequence[StrPath]
"""One log, or several in order of preference."""


def _logs(records: Records | None) -> Sequence[StrPath] | None:
    return [records] if isinstance(records, (str, Path)) else records


def read_model(
    model: Any,
    *,
    batch: int = 1,
    shapes: Mapping[str, Sequence[int]] | None = None,
    params: StrPath | None = None,
) -> Model:
    """Read a model of any kind, and translate it to Relax.

    Parameters
    ----------
    model
        The name of a gluoncv model; the path of an ONNX file (`.onnx`), of a program that `torch.export.save` wrote
        (`.pt2`), of a Relax module that `tvm.ir.save_json` wrote, or of an MXNet symbol (both `.json`); an
        `onnx.ModelProto`, a `torch.export.ExportedProgram`, a `tvm.IRModule`, a gluon block, or a `Model`.
    batch
        The batch size, if the model leaves it open.
    shapes
        Shapes of inputs by name, batch included, if the model leaves sizes open.
    params
        A file with the weights of an MXNet model or a Relax module. Without it, a gluoncv name gets random weights.

    Raises
    ------
    UsageError
        There is no such model, or the shapes don't fit it.
    InputError
        A file is missing or malformed.
    MissingExtra
        The extra for this kind of model is not installed.

    Examples
    --------
    >>> model = tophub.read_model("model.onnx", batch=4)
    >>> [layer.name for layer in model.layers], model.untranslated
    (['conv', 'dense'], {})
    """
    from tophub_registry import frontends

    return frontends.read_model(model, batch=batch, shapes=shapes, params=params)


def compile(  # noqa: A001  # it is called `tophub.compile`
    model: Any,
    target: str = "llvm",
    *,
    records: Records | None = None,
    batch: int = 1,
    shapes: Mapping[str, Sequence[int]] | None = None,
    params: StrPath | None = None,
    threads: int | None = None,
    tune: str | None = None,
    precision: str = "float32",
) -> CompiledModel:
    """Compile a model with the records of a target's package or of your own logs.

    If that is switched on (`tophub misses --on`), the tasks of layers without a record of their own are kept on this
    machine, unless `records` are given.

    Parameters
    ----------
    model, batch, shapes, params
        See `read_model`.
    target
        A target in the notation of logs: `llvm -mcpu=znver4`, `cuda -model=h100`. `llvm` alone means this machine's
        processor, `cuda` alone its GPU.
    records
        A log to take the records from, or several in order of preference; None: what `tune` measured before, and the
        target's package, fetched if needed.
    tune
        Tune the model on this machine first, for a time (`90s`, `3m`, `1h`) or a number of trials (`500`). What is
        measured is kept in `~/.tvm/tophub/own`, and used from then on; what was measured before counts.
    threads
        The number of CPU threads that the model runs on in this process. None: the number of earlier calls in this
        process, else of `$TVM_NUM_THREADS` or `$OMP_NUM_THREADS`, else one for each physical core.
    precision
        How convolutions are computed: `float32`, or on a GPU's tensor cores `3xtf32` (nearly as exact as float32),
        `tf32` (factors rounded to ten bits) or `float16` (factors in float16; sums are float32 in all of them). Layers
        that tensor cores do not serve are computed in float32.

    Raises
    ------
    UsageError
        There is no such model or target, the target has no such precision, the model has an operator that can't be
        translated, this machine has fewer CPUs than `threads`, or `tune` is not a time, or given with `records`.
    InputError
        A log or a model file is missing or damaged.
    EnvironmentFailure
        The package can't be fetched, a compiler is missing or fails, or this machine can't run what it should tune.

    Examples
    --------
    >>> compiled = tophub.compile("model.onnx", "llvm")
    >>> compiled.export("model.so")
    >>> (scores,) = compiled.run(image)
    >>> scores.shape
    (1, 10)
    """
    from tophub_registry.compiler.compiler import compile_model

    if tune is not None:
        from tophub_registry.errors import UsageError
        from tophub_registry.proof.tuned import compile_tuned
        from tophub_registry.tuner.limit import Limit

        if records is not None:
            raise UsageError("tune and records exclude each other", remedy="tophub.tune writes a log of your own")
        model = read_model(model, batch=batch, shapes=shapes, params=params)
        compiled = compile_tuned(model, target, Limit.parse(tune), threads=threads, precision=precision).compiled
    else:
        compiled = compile_model(
            model,
            target,
            records=_logs(records),
            batch=batch,
            shapes=shapes,
            params=params,
            threads=threads,
            precision=precision,
        )
    if records is None:
        from tophub_registry.misses import keep_misses

        if (error := keep_misses(compiled, precision)) is not None:
            logging.getLogger("tophub_registry").warning("misses are not kept: %s", error)
    return compiled


def extract(
    model: Any,
    target: str = "llvm",
    *,
    batch: int = 1,
    shapes: Mapping[str, Sequence[int]] | None = None,
    autotvm_only: bool = False,
) -> TaskFile:
    """Return a model's tuning tasks: each distinct workload of its convolutions and dense layers.

    Parameters
    ----------
    model, batch, shapes
        See `read_model`; weights are not needed.
    target
        `llvm` or `cuda`: only the kind of target matters here.
    autotvm_only
        Whether to leave out the templates that AutoTVM does not have.

    Raises
    ------
    UsageError, InputError, MissingExtra
        See `read_model`.

    Examples
    --------
    >>> [task.task for task in tophub.extract("model.onnx", "cuda").tasks]
    ['conv2d_nchw.cuda', 'conv2d_nchw_winograd.cuda', 'dense_small_batch.gpu', 'conv2d_nchw_tiled.cuda']
    """
    from tophub_registry import frontends
    from tophub_registry.records.target import Target
    from tophub_registry.tasks.rules import rules_for

    kind = Target.parse(target).kind
    rules_for(kind)
    read = frontends.read_model(model, batch=batch, shapes=shapes, weightless=True)
    return read.tasks(kind, own=not autotvm_only)


def tune(
    model: Any,
    target: str = "llvm",
    *,
    log: StrPath,
    trials: int = 500,
    batch: int = 1,
    shapes: Mapping[str, Sequence[int]] | None = None,
    autotvm_only: bool = False,
    resume: bool = False,
    progress: Callable[[TaskOutcome], None] | None = None,
    threads: int | None = None,
    confirm: bool = True,
) -> list[TaskOutcome]:
    """Tune a model on this machine, and write every measured config to a log.

    Parameters
    ----------
    model, batch, shapes
        See `read_model`; model can also be a `TaskFile`.
    target
        See `compile`.
    log
        The log to write. Each measurement is written at once, so that an interrupted run loses nothing.
    trials
        How many configs to measure in total, spent where they gain most.
    autotvm_only
        Whether to leave out the templates that AutoTVM does not have.
    resume
        Whether to continue a log that already exists.
    progress
        Called at the start of each task and after each measured config.
    threads
        See `compile`; records contain it.
    confirm
        Whether to compare each layer's best configs in the whole model at the end, on a processor, and to mark those in
        the log that are slower there than others or than the default config: `compile` then leaves them aside.

    Raises
    ------
    UsageError
        The log exists and `resume` is false, the model has nothing to tune, or this machine has fewer CPUs than
        `threads`.
    InputError, MissingExtra
        See `read_model`.
    EnvironmentFailure
        This machine can't run code for the target, or the disk is full.

    Examples
    --------
    >>> outcomes = tophub.tune("model.onnx", "llvm", trials=16, log="tuned.log")
    >>> sum(outcome.trials for outcome in outcomes) <= 16
    True
    """
    from tophub_registry.devices.device import check_runs_here, resolve
    from tophub_registry.devices.threads import settle_threads
    from tophub_registry.frontends import read_for_timing
    from tophub_registry.measurement.measure import Measurer
    from tophub_registry.proof import confirmation
    from tophub_registry.records.task import TaskFile
    from tophub_registry.tuner import tune as tuning

    settle_threads(threads)
    resolved = resolve(target)
    check_runs_here(resolved)
    is_model = not isinstance(model, TaskFile)
    tasks = extract(model, target, batch=batch, shapes=shapes, autotvm_only=autotvm_only) if is_model else model
    covered, _ = tuning.supported(tasks.tasks)
    plan = tuning.Plan(trials=max(trials, 1), total=trials)
    with Measurer(resolved) as measurer:
        outcomes = tuning.tune(
            covered, resolved, Path(log), measurer, plan, resume=resume, progress=progress or (lambda _: None)
        )
    if confirm and is_model and resolved.kind == "llvm":
        confirmation.confirm(read_for_timing(model, batch=batch, shapes=shapes), str(resolved), Path(log))
    return outcomes


def lookup(target: str, task: str, args: list[Any], *, records: Records | None = None) -> Answer:
    """Look up the best record of a workload.

    Parameters
    ----------
    target
        See `compile`.
    task, args
        The workload, as AutoTVM names it: `conv2d_NCHWc.x86`, and the arguments as in a record's `input`.
    records
        A log to look in, or several; None: your own, where `compile(tune=…)` keeps what it measured, and the target's
        package, fetched if needed.

    Returns
    -------
    Answer
        `record`, `match` (how well the record's target fits), `source` (the log that it is from) and `rank` (who has
        confirmed its cost). If no record is found, `record` and `rank` are None, and `match` is `Match.NONE`.

    Raises
    ------
    UsageError
        There is no such target.
    InputError
        A log is missing or damaged.
    EnvironmentFailure
        The package can't be fetched.

    Examples
    --------
    >>> (first, *_) = tophub.extract("model.onnx", "llvm").tasks
    >>> answer = tophub.lookup("llvm -mcpu=znver4", first.task, first.args, records="mine.log")
    >>> answer.record.mean_cost, str(answer.match), answer.source
    (0.0001, 'device', 'mine.log')
    """
    from tophub_registry.devices.threads import thread_count
    from tophub_registry.packages.location import find_location
    from tophub_registry.packages.root import Root
    from tophub_registry.packages.sources import find_sources
    from tophub_registry.records import lookup as looking
    from tophub_registry.records.record import workload_key
    from tophub_registry.records.target import Target

    parsed = Target.parse(target)
    if not parsed.attributes:
        from tophub_registry.devices.device import resolve

        parsed = resolve(target)
    paths = _logs(records)
    if paths is None:
        root = Root.at()
        logs = find_sources(parsed, find_location(), root, own=root.own_logs(looking.backend_of(parsed))).logs
    else:
        logs = tuple(looking.Source(str(path), Path(path)) for path in paths)
    return looking.lookup(parsed, workload_key(task, args, {}), logs, threads=thread_count())


def fetch(*packages: str) -> Fetch:
    """Fetch packages into `~/.tvm/tophub`, from `TOPHUB_LOCATION` or the copy shipped with this project.

    Parameters
    ----------
    packages
        Names of packages, `cuda`, or pinned versions, `cuda@v0.11`; by default the newest version of each package. If
        `TOPHUB_LOCK` names a lock, names of its packages, by default all of them, in the locked versions.

    Raises
    ------
    UsageError
        The registry has no such package or version; nothing was fetched.
    EnvironmentFailure
        The location does not answer, or a file does not match its index.

    Examples
    --------
    >>> [(each.package, str(each.version), each.path.name) for each in tophub.fetch("cuda@v0.12").packages]
    [('cuda', 'v0.12', 'cuda_v0.12.log')]
    """
    from tophub_registry.packages import fetch as fetching
    from tophub_registry.packages.location import find_location
    from tophub_registry.packages.lock import lock_in_effect
    from tophub_registry.packages.locked import fetch_locked
    from tophub_registry.packages.root import Root
    from tophub_registry.packages.version import Reference

    references = [Reference.parse(text) for text in packages]
    if (lock := lock_in_effect()) is not None:
        return fetch_locked(lock.only(references), find_location(), Root.at())
    return fetching.fetch(references, find_location(), Root.at())


def merge(logs: Sequence[StrPath], output: StrPath, *, keep: int | None = 1) -> MergeReport:
    """Merge logs, keeping the records with the lowest mean cost for each target and workload.

    Parameters
    ----------
    logs
        The logs; the report compares the others with the first.
    output
        The log to write; an existing file is never overwritten.
    keep
        How many records to keep for each target and workload; None: all.

    Raises
    ------
    UsageError
        There are no logs, or the output exists.
    InputError
        A log is missing or damaged; nothing was written.

    Examples
    --------
    >>> report = tophub.merge(["old.log", "new.log"], "both.log")
    >>> report.written, report.dropped.total
    (2, 0)
    """
    from tophub_registry.errors import UsageError
    from tophub_registry.records.merge import merge_logs

    if not logs:
        raise UsageError("there are no logs to merge")
    first, *others = map(Path, logs)
    return merge_logs(first, others, Path(output), keep=keep)


def validate(log: StrPath, *, level: Literal["row", "space", "log"] = "log") -> Validation:
    """Check all lines of a log, however broken they are.

    Parameters
    ----------
    log
        The log.
    level
        `row`: each line by itself; `space`: also configs against their templates' spaces; `log`: also the lines
        together.

    Returns
    -------
    Validation
        `findings`, each with line, rule and message, and the numbers of `errors` and `warnings`.

    Raises
    ------
    InputError
        The file can't be read.

    Examples
    --------
    >>> validation = tophub.validate("mine.log")
    >>> validation.rows, validation.errors
    (1, 0)
    """
    from tophub_registry.proof import validation

    return validation.validate(Path(log), level)


def apply_records(module: Any, target: Any, *, records: Records | None = None) -> Any:
    """Replace the layers of a Relax module by their records' kernels, in your own pipeline.

    Call it before `LegalizeOps`, on the output of a front end. Functions that are a sequence of operators on known
    shapes are fused and scheduled, and later passes don't change their kernels. Other functions are left unchanged for
    the rest of the pipeline. The logger `tophub_registry` reports each layer's record at level INFO.

    Parameters
    ----------
    module
        A `tvm.IRModule`. Weights can be constants or parameters. Parameters keep their layout, and are converted to the
        kernels' layouts on every run, unless `relax.transform.LiftTransformParams` follows.
    target
        A `tvm.target.Target`, or a target in the notation of logs.
    records
        A log to take the records from, or several in order of preference; None: the target's package, fetched if
        needed.

    Returns
    -------
    tvm.IRModule
        A module with the same functions and signatures.

    Raises
    ------
    UsageError
        There are no templates for this kind of target.
    InputError
        A log is missing or damaged.
    EnvironmentFailure
        The package can't be fetched.

    Examples
    --------
    >>> ready = tophub.apply_records(module, target)
    >>> executable = tvm.compile(ready, target)
    """
    from tophub_registry.compiler import relax_pass

    return relax_pass.apply_records(module, target, records=_logs(records))


def pipeline(target: Any, *, records: Records | None = None) -> Any:
    """Return a Relax pipeline for `tvm.compile`: records, then TVM's default pipeline for the target.

    Parameters
    ----------
    target, records
        See `apply_records`.

    Returns
    -------
    tvm.transform.Pass
        For `tvm.compile(module, target, relax_pipeline=…)`.

    Examples
    --------
    >>> executable = tvm.compile(module, target, relax_pipeline=tophub.pipeline(target))
    """
    from tophub_registry.compiler import relax_pass

    return relax_pass.pipeline(target, records=_logs(records))
