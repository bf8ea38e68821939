"""Arguments that are typing errors are one line each, with the exit code of a wrong use."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.registries import write_rows
from tophub_registry.cli import main


def fails(capsys, *words):
    """Run a command; return its exit code and its only line of errors."""
    with pytest.raises(SystemExit) as caught:
        main([*map(str, words)])
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return caught.value.code, line


@pytest.mark.parametrize(
    "words",
    [("import", "", "--registry", "mine"), ("release", "llvm", "new.log", "--registry", ""), ("show", ""), ("", "x")],
)
def test_an_empty_one_is_no_folder(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "new.log", 2)
    code, line = fails(capsys, *words)
    assert code == 2
    assert "an argument is empty" in line or "no such command: ''" in line
    assert [path.name for path in tmp_path.iterdir()] == ["new.log"]


@pytest.mark.parametrize(
    "words", [("show",), ("validate",), ("diff", "new.log"), ("merge", "new.log"), ("release", "llvm"), ("extract",)]
)
def test_a_name_that_is_too_long(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "new.log", 2)
    name = 300 * "a" + ".json"
    options = {"release": ["--registry", "mine"], "merge": ["-o", "merged.log"]}
    code, line = fails(capsys, *words, name, *options.get(words[0], ()))
    assert code in (1, 3)
    assert line.startswith(f"tophub: error: {name}: ")
    assert line.endswith("File name too long")


@pytest.mark.parametrize("command", ["show", "audit", "validate", "report"])
def test_what_is_no_text_is_no_log(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08:\x90\n\xff\n")
    with pytest.raises(SystemExit) as caught:
        main([command, "model.onnx"])
    said = "".join(capsys.readouterr())
    assert caught.value.code == 1
    assert "binary data, and no log (give the log itself)" in said


@pytest.mark.skipif(find_spec("onnx") is None or find_spec("tvm") is None, reason="needs the extra [onnx]")
def test_a_batch_size_that_a_model_can_not_have(tmp_path, monkeypatch, capsys):
    import onnx

    from tests.frontends.nets import Net

    monkeypatch.chdir(tmp_path)
    net = Net((1, 3, 8, 8))
    onnx.save(net.model(net.add("Conv", "x", net.weight(4, 3, 3, 3))), "model.onnx")
    code, line = fails(capsys, "extract", "model.onnx", "--batch", "4")
    assert (code, "no input of batch size 4" in line) == (2, True)
    with pytest.raises(SystemExit) as caught:
        main(["extract", "model.onnx", "--batch", "1"])
    assert not caught.value.code


@pytest.mark.skipif(find_spec("tvm") is None, reason="needs the extra [compile]")
def test_an_interpreter_that_is_not_there(capsys):
    code, line = fails(capsys, "bench", "model.onnx", "--python", "onnxruntime=/no/python")
    assert (code, line.partition(" (")[0]) == (2, "tophub: error: /no/python: there is no such program")
