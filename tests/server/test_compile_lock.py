"""The lock around `compile`: in place where CPython needs it, invisible otherwise."""

from __future__ import annotations

import ast
import builtins
import sys
import threading

import pytest

from timmy_core.server import compile_lock


@pytest.mark.parametrize(
    ("version", "needed"),
    [((3, 11, 0), True), ((3, 11, 7), True), ((3, 11, 8), False), ((3, 12, 0), False), ((3, 13, 1), False)],
)
def test_only_the_faulty_versions_need_it(version: tuple[int, int, int], *, needed: bool) -> None:
    assert compile_lock.needed(version) is needed


def test_installing_twice_wraps_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtins, "compile", builtins.compile)
    assert compile_lock.install() is compile_lock.needed(sys.version_info[:3])
    once = builtins.compile
    compile_lock.install()
    assert builtins.compile is once


def test_compiling_works_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtins, "compile", compile_lock._one_at_a_time(compile))
    assert (
        ast.dump(ast.parse("a = 1"))
        == "Module(body=[Assign(targets=[Name(id='a', ctx=Store())], value=Constant(value=1))], type_ignores=[])"
    )
    assert eval(compile("1 + 1", "<test>", mode="eval")) == 2  # noqa: S307
    with pytest.raises(SyntaxError):
        compile("a b", "<test>", "exec")


@pytest.mark.parametrize(
    ("header", "expected"), [("from __future__ import annotations\n", "'int'"), ("", "<class 'int'>")]
)
def test_the_caller_s_future_flags_are_inherited(monkeypatch: pytest.MonkeyPatch, header: str, expected: str) -> None:
    """Code that compiles code hands on its own `from __future__` lines, through the lock too."""
    monkeypatch.setattr(builtins, "compile", compile_lock._one_at_a_time(compile))
    source = (
        header
        + "code = compile('def f(x: int): ...', '<inner>', 'exec')\nexec(code)\nseen = repr(f.__annotations__['x'])\n"
    )
    space: dict[str, str] = {}
    outer = compile(source, "<outer>", "exec", dont_inherit=True)
    exec(outer, space)  # noqa: S102
    assert space["seen"] == expected


def test_many_threads_parse_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtins, "compile", compile_lock._one_at_a_time(compile))
    source = "\n".join(f"def f{n}(a, b=({n}, [1, 2])): return a + b[0]" for n in range(200))
    failures: list[SystemError] = []

    def parse() -> None:
        try:
            for _ in range(20):
                ast.parse(source)
        except SystemError as error:
            failures.append(error)

    threads = [threading.Thread(target=parse) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
