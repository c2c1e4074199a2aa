"""Ask for far operands before they are needed: LoopNest -> LoopNest.

An operand too large for the second-level cache comes from the third. The processor fetches ahead by itself, but only to
the end of a page of 4 KiB, and not at all while a block that is near already is used again and again: then the next
block comes all at once, faster than the cache can give it, and the arithmetic waits. This pass adds one of two requests
to a loop that reads such an operand in vectors. Both may name what nobody will read; that costs time and nothing else.

- Nothing is used again soon, but each line several times in its iteration: an innermost loop asks for its lines some
  iterations ahead, for the first-level cache.

      for k in range(512):                       for k in range(512):
          T[...] += ... W[c, k, j]       ->          prefetch1(W[c, k + 16, 0])
                                                     T[...] += ... W[c, k, j]

- All n iterations of a loop around it use a block: in each, a share of the next block is asked for, line after line,
  for the second-level cache.

      for b in range(8):                         for b in range(8):
          for i in range(n):                         for i in range(n):
              for k in range(64):        ->              for k in range(64):
                  T[...] += ... W[b, k, j]                   prefetch2(W[b + 1, 0, (i * 64 + k) * 16])
                                                             T[...] += ... W[b, k, j]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from operator import mul

from runtime.expr import ITEM_SIZE, Binary, Buffer, Const, Expr, Var
from runtime.expr_tree import substitute
from runtime.indices.affine import Affine
from runtime.indices.index_forms import fold
from runtime.indices.simplify import affine_form, place_form
from runtime.loop_nest import (
    SERIAL,
    VECTORIZE,
    For,
    If,
    LoopNest,
    Prefetch,
    Stmt,
    block,
    change_parts,
    walk_stmts,
)
from runtime.passes.visits import Access, accesses, tile_loops

FAR = 3 << 19  # bytes from which on an operand is further than the second-level cache when a kernel is called again
COLD = 1 << 17  # the same in a network, whose other kernels have used the cache in between
BLOCK = 5 << 17  # bytes of a block that stays in the second-level cache beside the next one
AHEAD = 1 << 10  # bytes between an element and the line that is asked for with it
LINE = 64  # bytes of a cache line
USES = 4  # of a line in one iteration, below which it is bytes that a loop waits for, and requests are in their way
MAX_LINES = 32  # that an iteration with requests reads of one operand
MAX_READS = 64  # vectors of one operand in one iteration
LARGEST = 1 << 32  # bytes of an operand, so that places beyond its end are integers of 32 bits still


def prefetch_far(nest: LoopNest, far: int = FAR) -> LoopNest:
    """Add prefetches to loops over operands of so many bytes or more, see the module."""
    touched = {access.buffer for access in accesses(nest.body)}
    left = {buffer.name for buffer in touched if buffer.scope != "global" or not far <= buffer.nbytes <= LARGEST}
    if len(left) == len(touched):
        return nest
    return LoopNest(nest.name, nest.inputs, nest.outputs, _below(nest.body, (), frozenset(left)))


def _below(stmt: Stmt, around: tuple[For, ...], done: frozenset[str]) -> Stmt:
    """Add prefetches below a statement, but for operands that are near or asked for by a loop around: `done`."""
    if isinstance(stmt, For):
        asked: list[Stmt] = []
        if stmt.kind == SERIAL:
            innermost = not any(isinstance(part, For) and part.kind == SERIAL for part in walk_stmts(stmt.body))
            for stream in _streams(stmt, done):
                reuse, beyond = _reuse(stream, stmt, around)
                if reuse:
                    requests = _of_next_block(stream, stmt, reuse, beyond) if beyond is not None else []
                else:
                    requests = _of_later_lines(stream, stmt) if innermost and stream.uses >= USES else []
                asked += requests
                done |= {stream.buffer.name} if requests else set()
        body = stmt.body if stmt.kind == VECTORIZE else _below(stmt.body, (*around, stmt), done)
        return For(stmt.var, stmt.extent, stmt.kind, block(*asked, body)) if asked or body is not stmt.body else stmt
    return change_parts(stmt, lambda part: _below(part, around, done))


@dataclass(frozen=True)
class _Stream:
    """What the iterations of a loop read of a far operand.

    buffer, place: the operand, and the element that a read starts with where all loops inside are at 0.
    steps: elements by which the loop and those around it move the place, by variable; none for those that do not.
    lines: the first elements of the cache lines that one iteration reads, counted from the place.
    uses: how often an iteration reads each line.
    """

    buffer: Buffer
    place: tuple[Expr, ...]
    steps: Mapping[str, int]
    lines: tuple[int, ...]
    uses: float

    def ask(self, line: Affine, loop: For, later: int, level: int) -> Prefetch:
        """A request for a line, counted in elements from where the place is so many iterations of a loop later."""
        moved = [affine_form(substitute(index, {loop.var.name: loop.var + later})) for index in self.place]
        return Prefetch(self.buffer, tuple([index.to_expr() for index in (*moved[:-1], moved[-1].plus(line))]), level)


def _streams(loop: For, done: frozenset[str]) -> list[_Stream]:
    """The operands left that a loop reads in vectors, each iteration other lines of them."""
    found = accesses(loop.body)
    left = done | {access.buffer.name for access in found if access.is_store}
    reads: dict[str, list[Access]] = {}
    for access in found:
        if access.buffer.name not in left:
            reads.setdefault(access.buffer.name, []).append(access)
    streams = [_stream(group, loop) for group in reads.values()]
    return [stream for stream in streams if stream is not None]


def _stream(reads: Sequence[Access], loop: For) -> _Stream | None:
    """The stream of these reads of one operand; None when they are not vectors that move together."""
    first, size = reads[0], ITEM_SIZE[reads[0].buffer.dtype]
    if any(each.lane is None or vectors_read(each) > MAX_READS for each in reads):
        return None
    start = {each.var.name: Const(0) for each in first.loops}
    place = tuple([fold(substitute(index, start)) for index in first.indices])
    origin = place_form(place, first.buffer.shape)
    steps = {atom.name: factor for atom, factor in origin.terms.items() if isinstance(atom, Var)}
    if len(steps) < len(origin.terms) or abs(steps.get(loop.var.name, 0)) * size < LINE:
        return None
    lines: set[int] = set()
    for read in reads:
        offset = place_form(read.indices, read.buffer.shape).plus(origin, -1)
        extents: dict[Expr, Sequence[int]] = {each.var: range(each.extent) for each in read.loops}
        lane = read.lane
        if lane is None or not offset.terms.keys() <= extents.keys() or offset.terms.get(lane.var) != 1:
            return None
        extents[lane.var] = (0, lane.extent - 1)
        for values in product(*(extents[atom] for atom in offset.terms)):
            element = offset.const + sum(map(mul, values, offset.terms.values()))
            lines.add(element * size // LINE * LINE // size)
        if len(lines) > MAX_LINES:
            return None
    every = sum(prod([loop.extent for loop in read.loops if loop.kind != VECTORIZE]) for read in reads)
    return _Stream(first.buffer, place, steps, tuple(sorted(lines)), every / len(lines))


def vectors_read(read: Access) -> int:
    """Vectors that an access reads below the statement where it was found.

    >>> from runtime.loop_nest_text import parse
    >>> t = "def f(A: int32[9, 4]) -> (C: int32[4]):\\n for i in unroll(9):\\n  for c in vectorize(4):\\n   C[c] = {}"
    >>> vectors_read(accesses(parse(t.format("A[i, c]")).body)[0])
    9
    """
    return prod([loop.extent for loop in tile_loops(read) if loop.kind != VECTORIZE])


def _of_later_lines(stream: _Stream, loop: For) -> list[Stmt]:
    """Requests for the lines that the loop reads some iterations later."""
    later = -(-AHEAD // (len(stream.lines) * LINE))
    return [stream.ask(Affine(line), loop, later, 1) for line in stream.lines]


def _of_next_block(stream: _Stream, loop: For, reuse: Sequence[For], beyond: For) -> list[Stmt]:
    """Requests for the block that comes with the next iteration of `beyond`, while the loops `reuse` use this one.

    None when the loop does not read line after line: rows far apart have few places in a cache, which the block that is
    used needs itself.
    """
    lines, apart = len(stream.lines), LINE // ITEM_SIZE[stream.buffer.dtype]
    low, high = stream.lines[0], stream.lines[-1]
    if high - low != (lines - 1) * apart or stream.steps[loop.var.name] != lines * apart:
        return []
    passes = prod([each.extent for each in reuse])
    share = -(-lines // passes)  # lines that an iteration asks for
    needed = -(-lines // share)  # passes until all are asked for; the first and last may be cut off at a border
    turn = place_form(tuple([each.var for each in reuse]), tuple([each.extent for each in reuse]))
    turn = turn.plus_const(-((passes - needed) // 2))
    start = turn.times(share * apart * loop.extent).plus(affine_form(loop.var), (share - lines) * apart)
    asked: list[Stmt] = [stream.ask(start.plus_const(low + part * apart), beyond, 1, 2) for part in range(share)]
    if passes <= 2 * needed:
        return asked  # what is asked for twice costs less than a test
    number = turn.to_expr()
    return [If(Binary("and", number >= 0, number < needed), block(*asked))]


def _reuse(stream: _Stream, loop: For, around: Sequence[For]) -> tuple[list[For], For | None]:
    """The loops, outer first, that run over one block of the operand again and again, and the one that moves it.

    None of the first when no block is used again, or when it is too large to stay near; none that moves the only block.
    """
    block_bytes, reuse, beyond = len(stream.lines) * LINE * loop.extent, list[For](), None
    for each in reversed(around):
        if each.var.name not in stream.steps:
            reuse.insert(0, each)
        elif reuse:
            beyond = each
            break
        else:
            block_bytes *= each.extent
    return (reuse, beyond) if block_bytes <= BLOCK else ([], None)
