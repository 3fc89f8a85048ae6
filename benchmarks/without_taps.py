"""``pellucid.model`` with everything that concerns taps taken out of its source, as a package of its own.

What is left is what would be written if nobody ever looked inside: to be compared with what there is.
"""

from __future__ import annotations

import ast
import sys
import types
from pathlib import Path
from typing import Any

import pellucid.model

PACKAGE = "pellucid_without_taps"
AS_THEY_ARE = "pellucid.model.recurrent"  # who looks at a recurrent network gets a loop of its own, in place of torch's layers
HOLDERS = {"tap", "inside", "norm_tap"}  # names that hold a tap


class _Strip(ast.NodeTransformer):
    """Takes out parameters, arguments, branches and assignments of taps."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        if node.name == "attend_in_steps":
            return None
        arguments = node.args
        arguments.args = (
            [one for one in arguments.args if one.arg != "tap"] if not arguments.defaults else _without_tap(arguments)
        )
        kept = [
            (one, default) for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if one.arg != "tap"
        ]
        arguments.kwonlyargs, arguments.kw_defaults = [one for one, _ in kept], [default for _, default in kept]
        self.generic_visit(node)
        ends = [number for number, statement in enumerate(node.body) if isinstance(statement, ast.Return)]
        node.body = node.body[: ends[0] + 1] if ends else node.body  # what came behind a branch that is no branch now
        return node

    def visit_If(self, node: ast.If) -> Any:
        absent = _absent(node.test)
        if absent is None:
            return self.generic_visit(node)
        found = []
        for statement in node.body if absent else node.orelse:
            kept = self.visit(statement)
            found += kept if isinstance(kept, list) else [] if kept is None else [kept]
        return found or None

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        absent = _absent(node.test)
        return self.generic_visit(node) if absent is None else self.visit(node.body if absent else node.orelse)

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        node.values = [value for value in node.values if _absent(value) is None]  # of "and": it is always absent
        return self.visit(node.values[0]) if len(node.values) == 1 else self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> Any:
        target = node.targets[0]
        return None if isinstance(target, ast.Name) and target.id in HOLDERS else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> Any:
        node.args = [one for one in node.args if not _is_tap(one)]
        node.keywords = [one for one in node.keywords if one.arg != "tap"]
        return self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        if node.module == "pellucid.base.taps":
            return None
        if node.module and node.module.startswith("pellucid.model") and not node.module.startswith(AS_THEY_ARE):
            node.module = node.module.replace("pellucid.model", PACKAGE)
        return node


def _without_tap(arguments: ast.arguments) -> list[ast.arg]:
    """Parameters but for the tap, whose default goes with it."""
    first = len(arguments.args) - len(arguments.defaults)
    defaults = dict(zip(range(first, len(arguments.args)), arguments.defaults, strict=True))
    kept = [number for number, one in enumerate(arguments.args) if one.arg != "tap"]
    arguments.defaults = [defaults[number] for number in kept if number in defaults]
    return [arguments.args[number] for number in kept]


def _absent(test: ast.expr) -> bool | None:
    """Whether a condition holds without a tap; ``None``: it does not ask for one."""
    if isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id in HOLDERS:
        return isinstance(test.ops[0], ast.Is)
    return None


def _is_tap(node: ast.expr) -> bool:
    if isinstance(node, ast.IfExp):  # a tap, if there is one
        return _absent(node.test) is not None and _is_tap(node.orelse)
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"within", "Tap"}
    return called or (isinstance(node, ast.Name) and node.id in HOLDERS)


def stripped(source: str) -> str:
    """A module's source without taps."""
    return ast.unparse(ast.fix_missing_locations(_Strip().visit(ast.parse(source))))


def modules() -> dict[str, types.ModuleType]:
    """The modules of the package, by their names in ``pellucid.model``."""
    if PACKAGE not in sys.modules:
        package = types.ModuleType(PACKAGE)
        package.__path__ = []
        sys.modules[PACKAGE] = package
        sources = {path.stem: path for path in Path(next(iter(pellucid.model.__path__))).glob("*.py")}
        sys.meta_path.insert(0, _Finder(sources))
    return {name: __import__(f"{PACKAGE}.{name}", fromlist=["*"]) for name in ("attention", "build", "transformer")}


class _Finder:
    """Imports a module of the package from the stripped source."""

    def __init__(self, sources: dict[str, Path]) -> None:
        self.sources = sources

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        from importlib.machinery import ModuleSpec

        package, _, module = name.partition(".")
        return ModuleSpec(name, self) if package == PACKAGE and module in self.sources else None  # type: ignore[arg-type]

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        path = self.sources[module.__name__.partition(".")[2]]
        exec(compile(stripped(path.read_text(encoding="utf-8")), f"{path} without taps", "exec"), module.__dict__)
