"""Loop nests as text: print a `LoopNest` as Python-like source, and read that source back.

The text is a Python function with outputs named after the arrow, so the reader is Python's own `ast` once the header
is rewritten. Every name in a nest is a Python identifier; loop variables are int32.

    def scale(A: float32[4]) -> (B: float32[4]):
        with local(float32[2]) as T:
            for i in parallel(4):
                if i < 3:
                    B[i] = A[i] * 2.0

`parse(str(nest)) == nest` for every nest whose blocks were joined by `block` (no block directly inside a block, none of
one statement).
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable

from runtime import expr as ex
from runtime.expr import DTYPES, INTRINSICS, SCOPES, Binary, Buffer, Cast, Const, Expr, Select, Var
from runtime.expr_text import show
from runtime.loop_nest import (
    GPU_KINDS,
    PARALLEL,
    SERIAL,
    UNROLL,
    VECTORIZE,
    Allocate,
    Block,
    For,
    If,
    LoopNest,
    Prefetch,
    Stmt,
    Store,
    block,
)

LOOP_WORDS = {SERIAL: "range", PARALLEL: "parallel", VECTORIZE: "vectorize", UNROLL: "unroll"}
LOOP_WORDS |= {kind: kind for kind in GPU_KINDS}
_SCOPE_OF_WORD = {"workspace" if scope == "global" else scope: scope for scope in SCOPES}
_KIND_OF_WORD = {word: kind for kind, word in LOOP_WORDS.items()}
_ARITHMETIC: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_ARITHMETIC |= {ast.FloorDiv: "//", ast.Mod: "%"}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}


def show_nest(nest: LoopNest) -> str:
    """Print a nest as a function; the last line has no newline."""
    inputs = ", ".join(f"{buffer.name}: {show_type(buffer)}" for buffer in nest.inputs)
    outputs = ", ".join(f"{buffer.name}: {show_type(buffer)}" for buffer in nest.outputs)
    return f"def {nest.name}({inputs}) -> ({outputs}):\n{show_stmt(nest.body, 1)}"


def show_stmt(stmt: Stmt, depth: int = 0) -> str:
    """Print a statement indented by `depth` levels.

    >>> i, A = Var("i"), Buffer("A", (4,))
    >>> print(show_stmt(For(i, 4, "vectorize", Store(A, (i,), A[i] + 1))))
    for i in vectorize(4):
        A[i] = A[i] + 1.0
    """
    pad = "    " * depth
    if isinstance(stmt, Block):
        return "\n".join(show_stmt(part, depth) for part in stmt.stmts) or f"{pad}pass"
    if isinstance(stmt, Store):
        return f"{pad}{show(ex.Load(stmt.buffer, stmt.indices))} = {show(stmt.value)}"
    if isinstance(stmt, Prefetch):
        return f"{pad}prefetch{stmt.level}({show(ex.Load(stmt.buffer, stmt.indices))})"
    if isinstance(stmt, For):
        head = f"for {stmt.var.name} in {LOOP_WORDS.get(stmt.kind, stmt.kind)}({stmt.extent}):"
    elif isinstance(stmt, If):
        head = f"if {show(stmt.condition)}:"
    elif isinstance(stmt, Allocate):
        scope = "workspace" if stmt.buffer.scope == "global" else stmt.buffer.scope
        head = f"with {scope}({show_type(stmt.buffer)}) as {stmt.buffer.name}:"
    else:
        raise TypeError(f"not a statement: {stmt!r}")
    return f"{pad}{head}\n{show_stmt(stmt.body, depth + 1)}"


def show_type(buffer: Buffer) -> str:
    """`float32[4, 8]`; a buffer of rank 0 is `float32[()]`."""
    return f"{buffer.dtype}[{', '.join(map(str, buffer.shape)) or '()'}]"


def parse(text: str) -> LoopNest:
    """Read the text that `show_nest` prints.

    Raises: ValueError: the text is not a loop nest; the message holds the line.

    >>> nest = parse("def f(A: float32[4]) -> (B: float32[4]):\\n  for i in range(4):\\n    B[i] = max(A[i], 0.0)")
    >>> print(nest)
    def f(A: float32[4]) -> (B: float32[4]):
        for i in range(4):
            B[i] = max(A[i], 0.0)
    """
    header, colon, _ = text.partition(":\n")
    before, arrow, after = header.strip().partition("->")
    before, after = before.strip(), after.strip()
    if not (before.startswith("def ") and before.endswith(")") and arrow and after[:1] + after[-1:] == "()" and colon):
        raise ValueError(f"a loop nest starts with `def name(inputs) -> (outputs):`, got {header[:80]!r}")
    # The outputs become keyword-only parameters: ast has no named results.
    comma = "" if before.endswith("()") and before.count("(") == 1 else ", "
    legal = f"{before[:-1]}{comma}*, {after[1:]}:\n{text[len(header) + len(colon) :]}"
    try:
        function = ast.parse(legal).body[0]
    except SyntaxError as error:
        raise ValueError(f"not a loop nest: {error.msg} at line {error.lineno}: {(error.text or '').strip()}") from None
    if not isinstance(function, ast.FunctionDef):
        raise ValueError(f"a loop nest is one function, got {text[:60]!r}")
    inputs = tuple(_argument(arg) for arg in function.args.args)
    outputs = tuple(_argument(arg) for arg in function.args.kwonlyargs)
    reader = _Reader({buffer.name: buffer for buffer in (*inputs, *outputs)})
    return LoopNest(function.name, inputs, outputs, reader.body(function.body))


def _fail(node: ast.AST, message: str) -> ValueError:
    return ValueError(f"line {getattr(node, 'lineno', '?')}: {message}, got `{ast.unparse(node)}`")


def _argument(arg: ast.arg) -> Buffer:
    if arg.annotation is None:
        raise _fail(arg, "every argument needs a type such as float32[4, 8]")
    return _buffer(arg.arg, arg.annotation, "global")


def _buffer(name: str, node: ast.expr, scope: str) -> Buffer:
    if not (isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in DTYPES):
        raise _fail(node, f"expected a type such as float32[4, 8] over {', '.join(DTYPES)}")
    extents = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    shape = []
    for extent in extents:
        if not (isinstance(extent, ast.Constant) and type(extent.value) is int):
            raise _fail(node, "expected integer extents")
        shape.append(extent.value)
    return Buffer(name, tuple(shape), node.value.id, scope)


def _is_prefetch(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id in ("prefetch1", "prefetch2")


class _Reader:
    """Turns ast nodes into statements and expressions; knows the buffers and variables in scope."""

    def __init__(self, buffers: dict[str, Buffer]) -> None:
        self.buffers = buffers
        self.variables: dict[str, Var] = {}

    def body(self, nodes: list[ast.stmt]) -> Stmt:
        return block(*(self.stmt(node) for node in nodes))

    def stmt(self, node: ast.stmt) -> Stmt:
        if isinstance(node, ast.Pass):
            return Block(())
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Subscript):
            target = self.load(node.targets[0])
            return Store(target.buffer, target.indices, self.expr(node.value))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and _is_prefetch(node.value):
            return self.prefetch(node.value)
        if isinstance(node, ast.If) and not node.orelse:
            return If(self.expr(node.test), self.body(node.body))
        if isinstance(node, ast.For):
            return self.loop(node)
        if isinstance(node, ast.With) and len(node.items) == 1:
            return self.allocate(node)
        raise _fail(node, "expected a store, for, if, with, prefetch or pass")

    def prefetch(self, node: ast.Call) -> Stmt:
        if len(node.args) != 1 or not isinstance(node.args[0], ast.Subscript):
            raise _fail(node, "expected an element, as in `prefetch1(A[i])`")
        target = self.load(node.args[0])
        return Prefetch(target.buffer, target.indices, int(ast.unparse(node.func)[-1]))

    def loop(self, node: ast.For) -> Stmt:
        source = node.iter
        if not (isinstance(node.target, ast.Name) and isinstance(source, ast.Call) and len(source.args) == 1):
            raise _fail(node, "expected `for name in range(extent)`")
        word, extent = source.func, source.args[0]
        if not (isinstance(word, ast.Name) and word.id in _KIND_OF_WORD):
            raise _fail(source, f"expected one of {', '.join(_KIND_OF_WORD)}")
        if not (isinstance(extent, ast.Constant) and type(extent.value) is int):
            raise _fail(source, "expected an integer extent")
        var, outer = Var(node.target.id), self.variables
        self.variables = {**outer, var.name: var}
        body = self.body(node.body)
        self.variables = outer
        return For(var, extent.value, _KIND_OF_WORD[word.id], body)

    def allocate(self, node: ast.With) -> Stmt:
        item = node.items[0]
        source, name = item.context_expr, item.optional_vars
        if not (isinstance(source, ast.Call) and isinstance(source.func, ast.Name) and isinstance(name, ast.Name)):
            raise _fail(node, "expected `with local(float32[8]) as T:`")
        if source.func.id not in _SCOPE_OF_WORD or len(source.args) != 1:
            raise _fail(source, f"expected one of {', '.join(_SCOPE_OF_WORD)} and a type")
        buffer, outer = _buffer(name.id, source.args[0], _SCOPE_OF_WORD[source.func.id]), self.buffers
        self.buffers = {**outer, buffer.name: buffer}
        body = self.body(node.body)
        self.buffers = outer
        return Allocate(buffer, body)

    def load(self, node: ast.Subscript) -> ex.Load:
        if not (isinstance(node.value, ast.Name) and node.value.id in self.buffers):
            raise _fail(node, f"expected a buffer among {', '.join(self.buffers)}")
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        return ex.load(self.buffers[node.value.id], tuple(self.expr(part) for part in parts))

    def expr(self, node: ast.expr) -> Expr:
        for kind, read in _EXPRESSIONS.items():
            if isinstance(node, kind):
                return read(self, node)
        raise _fail(node, "not part of the expression language")

    def constant(self, node: ast.Constant) -> Expr:
        if type(node.value) not in (bool, int, float):
            raise _fail(node, "expected a number")
        return ex.as_expr(node.value)  # type: ignore[arg-type]

    def name(self, node: ast.Name) -> Expr:
        if node.id in self.variables:
            return self.variables[node.id]
        if node.id in ("inf", "nan"):
            return Const(math.inf if node.id == "inf" else math.nan, "float32")
        raise _fail(node, f"expected a loop variable among {', '.join(self.variables) or '(none)'}")

    def negative(self, node: ast.UnaryOp) -> Expr:
        value = self.expr(node.operand)
        if not (isinstance(node.op, ast.USub) and isinstance(value, Const)):
            raise _fail(node, "only constants may carry a sign; write 0 - x")
        return Const(-value.value, value.dtype)

    def binary(self, node: ast.BinOp) -> Expr:
        if type(node.op) not in _ARITHMETIC:
            raise _fail(node, f"expected one of {' '.join(_ARITHMETIC.values())}")
        return ex.binary(_ARITHMETIC[type(node.op)], self.expr(node.left), self.expr(node.right))

    def compare(self, node: ast.Compare) -> Expr:
        if len(node.ops) != 1 or type(node.ops[0]) not in _COMPARE:
            raise _fail(node, "expected one comparison")
        return ex.binary(_COMPARE[type(node.ops[0])], self.expr(node.left), self.expr(node.comparators[0]))

    def logic(self, node: ast.BoolOp) -> Expr:
        op = "and" if isinstance(node.op, ast.And) else "or"
        result, *rest = (self.expr(value) for value in node.values)
        for value in rest:
            result = Binary(op, result, value)
        return result

    def call(self, node: ast.Call) -> Expr:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "cast" and len(node.args) == 2 and isinstance(node.args[0], ast.Name):
            return Cast(node.args[0].id, self.expr(node.args[1]))
        args = [self.expr(arg) for arg in node.args]
        if name in DTYPES and len(args) == 1 and isinstance(args[0], Const):
            return Const(args[0].value, name)
        if name in ("min", "max") and len(args) == 2:
            return ex.binary(name, *args)
        if name == "select" and len(args) == 3:
            return Select(*args)
        if name not in INTRINSICS:
            raise _fail(node, f"expected min, max, select, cast or one of {', '.join(INTRINSICS)}")
        return ex.call(name, *args)


_EXPRESSIONS: dict[type[ast.expr], Callable[..., Expr]] = {
    ast.Constant: _Reader.constant,
    ast.Name: _Reader.name,
    ast.UnaryOp: _Reader.negative,
    ast.BinOp: _Reader.binary,
    ast.Compare: _Reader.compare,
    ast.BoolOp: _Reader.logic,
    ast.Subscript: _Reader.load,
    ast.Call: _Reader.call,
}
