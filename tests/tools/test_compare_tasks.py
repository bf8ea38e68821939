"""`tools/compare_tasks.py`: what it says of two task lists."""

from tools.model_zoo.task_lists import but_for_padding, difference, differs, page

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


def convolution(size, padding, kernel=3):
    tensors = [["TENSOR", [1, 8, size, size], "float32"], ["TENSOR", [8, 1, kernel, kernel], "float32"]]
    return ["depthwise_conv2d_nchw.cuda", [*tensors, [2, 2], padding, [1, 1], "float32"]]


def test_a_convolution_of_data_that_another_layer_padded_is_the_same():
    row = {
        "model": "a",
        "kind": "cuda",
        **difference([BOTH, convolution(28, [4, 4, 3, 3])], [convolution(29, [3] * 4), BOTH]),
    }
    assert not differs(row)
    assert "| `a` |  | 1, the same, 1 but for who pads |" in page([row])


def test_padding_of_a_transposed_convolution_is_another_thing():
    tensors = [["TENSOR", [1, 8, 28, 28], "float32"], ["TENSOR", [8, 8, 4, 4], "float32"]]
    ours, theirs = (["conv2d_transpose_nchw.cuda", [*tensors, [2, 2], [n] * 4, "float32", [0, 0]]] for n in (0, 1))
    theirs[1][0] = ["TENSOR", [1, 8, 26, 26], "float32"]
    assert differs(difference([ours], [theirs]))


def test_a_convolution_of_other_data_or_with_another_kernel_differs():
    for other in (convolution(30, [3] * 4), convolution(29, [3] * 4, kernel=5)):
        row = difference([convolution(28, [4, 4, 3, 3])], [other])
        alike, left = but_for_padding(row)
        assert (alike, left) == (0, row)
        assert differs(row)
