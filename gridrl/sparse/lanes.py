"""Explicit SIMD values inside Numba kernels: one value per grid state, side by side.

A kernel that calls ``load(lanes, array, i)`` works on ``len(lanes)`` consecutive numbers at
once. ``lanes`` is a tuple of integers whose *length*, known from its type, is the number of
lanes, so one source serves 8 float32 lanes and 1 float64 lane alike; its content is ignored.

Vocabulary::

    load / store      len(lanes) numbers from / to a 1-D array, starting at element i
    splat             one number in every lane, in the element type of an array
    cast              a value converted to the element type of an array
    fma(a, b, c)      a b + c, rounded once;  fnma(a, b, c): c - a b
    larger, smaller, absolute, choose(m, a, b), greater(a, b): lane by lane; any_of(m): over lanes

LLVM does not vectorise such loops reliably by itself (measured: 2.7 to 4.7 times slower).
Under ``NUMBA_BOUNDSCHECK=1`` every load and store is checked.
"""

import operator
from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model


class Vector(types.Type):  # type: ignore[misc]
    """``count`` floats of ``bits`` bits in one SIMD register (or several)."""

    def __init__(self, bits: int, count: int) -> None:
        self.bits = bits
        self.count = count
        super().__init__(name=f"Vector_f{bits}x{count}")

    def llvm(self) -> Any:
        return ir.VectorType(ir.DoubleType() if self.bits == 64 else ir.FloatType(), self.count)


class Mask(types.Type):  # type: ignore[misc]
    """``count`` truth values, one per lane."""

    def __init__(self, count: int) -> None:
        self.count = count
        super().__init__(name=f"Mask_x{count}")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Vector) -> None:
        super().__init__(manager, kind, kind.llvm())


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Mask) -> None:
        super().__init__(manager, kind, ir.VectorType(ir.IntType(1), kind.count))


def _pointer(context: Any, builder: Any, sig: Any, args: Any, vector: Vector) -> Any:
    """Address of lane 0 of ``array[i:]``; checks both ends when asked to."""
    array = context.make_array(sig.args[1])(context, builder, args[1])
    index = context.cast(builder, args[2], sig.args[2], types.intp)
    if config.BOUNDSCHECK:
        last = builder.add(index, ir.Constant(index.type, vector.count - 1))
        cgutils.do_boundscheck(context, builder, index, array.nitems)
        cgutils.do_boundscheck(context, builder, last, array.nitems)
    return builder.bitcast(builder.gep(array.data, [index]), vector.llvm().as_pointer())


def _vector_of(lanes: Any, array: Any) -> Vector:
    return Vector(array.dtype.bitwidth, len(lanes))


def _splat(builder: Any, scalar: Any, vector: Any) -> Any:
    undefined = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    index = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(one, undefined, index)


def _call(builder: Any, name: str, args: Any) -> Any:
    kind = args[0].type
    bits = 64 if isinstance(kind.element, ir.DoubleType) else 32
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(kind, [kind] * len(args)),
        f"llvm.{name}.v{kind.count}f{bits}",
    )
    return builder.call(function, args)


@intrinsic
def load(_context, lanes, array, i):
    """``array[i : i + n_lane]`` as one value."""
    vector = _vector_of(lanes, array)

    def generate(context, builder, sig, args):
        value = builder.load(_pointer(context, builder, sig, args, vector))
        value.align = vector.bits // 8
        return value

    return vector(lanes, array, i), generate


@intrinsic
def store(_context, lanes, array, i, value):
    """``array[i : i + n_lane] = value``."""
    vector = _vector_of(lanes, array)
    if value != vector:
        return None

    def generate(context, builder, sig, args):
        done = builder.store(args[3], _pointer(context, builder, sig, args, vector))
        done.align = vector.bits // 8
        return context.get_dummy_value()

    return types.void(lanes, array, i, value), generate


@intrinsic
def splat(_context, lanes, like, scalar):
    """``scalar`` in every lane, in the element type of the array ``like``."""
    vector = _vector_of(lanes, like)
    element = like.dtype

    def generate(context, builder, sig, args):
        return _splat(builder, context.cast(builder, args[2], sig.args[2], element), vector.llvm())

    return vector(lanes, like, scalar), generate


@intrinsic
def cast(_context, like, value):
    """``value`` converted to the element type of the array ``like``."""
    to = Vector(like.dtype.bitwidth, value.count)

    def generate(_context, builder, _sig, args):
        if to.bits == value.bits:
            return args[1]
        convert = builder.fptrunc if to.bits < value.bits else builder.fpext
        return convert(args[1], to.llvm())

    return to(like, value), generate


def _unowned(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    if isinstance(kind, types.BaseTuple):
        parts = cgutils.unpack_tuple(builder, value, len(kind))
        parts = [_unowned(context, builder, k, p) for k, p in zip(kind, parts, strict=True)]
        return context.make_tuple(builder, kind, parts)
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = cgutils.get_null_value(array.meminfo.type)
        array.parent = cgutils.get_null_value(array.parent.type)
        return array._getvalue()
    return value


@intrinsic
def borrowed(_context, given):
    """An array, or a tuple of such, that counts no references.

    Handing an array to another function costs two locked additions otherwise, also where that is
    inlined: more than the work on one row. Only for arguments, which the caller keeps alive.
    """

    def generate(context, builder, _sig, args):
        return _unowned(context, builder, given, args[0])

    return given(given), generate


@intrinsic
def fma(_context, a, b, c):
    """``a b + c``, rounded once."""
    return a(a, b, c), lambda _c, builder, _s, args: _call(builder, "fma", args)


@intrinsic
def fnma(_context, a, b, c):
    """``c - a b``, rounded once."""

    def generate(_context, builder, _sig, args):
        return _call(builder, "fma", [builder.fneg(args[0]), args[1], args[2]])

    return a(a, b, c), generate


@intrinsic
def absolute(_context, a):
    """Magnitude in each lane."""
    return a(a), lambda _c, builder, _s, args: _call(builder, "fabs", args)


@intrinsic
def larger(_context, a, b):
    """The larger of the two in each lane; ``b`` where either is NaN."""

    def generate(_context, builder, _sig, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return a(a, b), generate


@intrinsic
def smaller(_context, a, b):
    """The smaller of the two in each lane; ``b`` where either is NaN."""

    def generate(_context, builder, _sig, args):
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return a(a, b), generate


@intrinsic
def greater(_context, a, b):
    """Whether ``a > b`` in each lane; false where either is NaN."""
    mask = Mask(a.count)
    return mask(a, b), lambda _c, builder, _s, args: builder.fcmp_ordered(">", *args)


@intrinsic
def choose(_context, mask, a, b):
    """``a`` where ``mask`` is true, else ``b``."""
    return a(mask, a, b), lambda _c, builder, _s, args: builder.select(*args)


@intrinsic
def any_of(_context, mask):
    """Whether any lane of ``mask`` is true."""

    def generate(_context, builder, _sig, args):
        bits = ir.IntType(mask.count)
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], bits), ir.Constant(bits, 0))

    return types.boolean(mask), generate


def _register(symbol: Any, instruction: str) -> None:
    @infer_global(symbol)
    class _Template(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, _keywords: Any) -> Any:
            if len(args) == 2 and isinstance(args[0], Vector) and args[0] == args[1]:
                return signature(args[0], *args)
            return None

    @lower_builtin(symbol, Vector, Vector)
    def _lower(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(args[0], args[1])


for _symbol, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _register(_symbol, _instruction)


@infer_global(operator.neg)
class _Negate(AbstractTemplate):  # type: ignore[misc]
    def generic(self, args: Any, _keywords: Any) -> Any:
        if len(args) == 1 and isinstance(args[0], Vector):
            return signature(args[0], *args)
        return None


@lower_builtin(operator.neg, Vector)
def _lower_negate(_context: Any, builder: Any, _sig: Any, args: Any) -> Any:
    return builder.fneg(args[0])
