"""`tools/compare_tasks.py`: what it says of two task lists."""

from tools.model_zoo.task_lists import difference, differs, page

BOTH, OURS, THEIRS = ["dense_pack.x86", [1]], ["dense_nopack.x86", [1]], ["dense_nopack.x86", [2]]


def test_tasks_differ_by_name_and_arguments():
    found = difference([BOTH, OURS], [THEIRS, BOTH])
    assert found == {"both": 1, "ours": [OURS], "theirs": [THEIRS]}
    assert differs(found)
    assert not differs(difference([BOTH], [BOTH]))


def test_the_page_has_a_line_for_each_model():
    rows = [
        {"model": "a", "kind": "llvm", **difference([BOTH], [BOTH])},
        {"model": "a", "kind": "cuda", **difference([BOTH, OURS], [BOTH])},
        {"model": "b", "kind": "llvm", "why": "no operator x|y", "whose": "autotvm"},
    ]
    text = page(rows)
    assert "| `a` | 1, the same | 1, only ours 1, only AutoTVM's 0 |" in text
    assert "| `b` | autotvm: no operator x/y |  |" in text
