"""The budget: trials go where they pay most."""

import math

from tophub_registry.tuner.budget import CostCurve, most_rewarding


def progress(*costs, count=1, layers=()):
    task = CostCurve(tuple(layers), count)
    for cost in costs:
        task.observe(cost)
    return task


def spend(tasks, gain, batches, batch=8):
    """Spend batches where they pay most; `gain` says by what share of its best a task's next batch is better."""
    given = [0] * len(tasks)
    for _ in range(batches):
        number = most_rewarding(tasks, range(len(tasks)), batch)
        given[number] += 1
        for _ in range(batch):
            tasks[number].observe(tasks[number].best * (1 - gain / batch))
    return given


def test_the_heavy_task_gets_more():
    light, heavy = progress(*[1e-4] * 8), progress(*[1e-3] * 8)
    given = spend([light, heavy], gain=0, batches=20)
    assert given[1] > 2 * given[0] > 0


def test_layers_count():
    once, often = progress(*[1e-3] * 8), progress(*[1e-3] * 8, count=10)
    given = spend([once, often], gain=0, batches=20)
    assert given[1] > 2 * given[0] > 0


def test_a_task_that_still_falls_comes_before_one_that_stands_still():
    still, falling = progress(*[1e-3] * 32), progress(*[1e-3 * 0.97**trial for trial in range(32)])
    assert most_rewarding([still, falling], [0, 1], 8) == 1


def test_the_loser_of_two_alternatives_gets_little():
    direct, winograd = (progress(*[cost] * 16, layers=["a", "b"]) for cost in (1e-3, 3e-3))
    other = progress(*[5e-4] * 16, layers=["c"])
    assert most_rewarding([direct, winograd, other], [1, 2], 8) == 2
    assert most_rewarding([direct, winograd, other], [0, 1, 2], 8) == 0
    alone = progress(*[3e-3] * 16, layers=["d"])
    assert most_rewarding([direct, alone, other], [0, 1, 2], 8) == 1


def test_a_task_whose_configs_all_failed_is_given_up_slowly():
    failing, other = progress(*[None] * 8), progress(*[1e-3] * 8)
    assert math.isinf(failing.best)
    given = spend([other, failing], gain=0, batches=10)
    assert given[0] > given[1]


def test_only_candidates_are_chosen():
    tasks = [progress(*[1e-3] * 8), progress(*[1e-5] * 8)]
    assert most_rewarding(tasks, [1], 8) == 1
