"""Eight neighbouring float32 of an array ↔ one vector register, for numba's kernels.

Numba leaves loops scalar when it cannot prove that the arrays they read and write are apart, which is always so
in a Fourier transform. With this type a kernel says itself what is computed eight at a time; LLVM turns it into
the registers that the processor has (one of AVX, two of SSE or NEON).
"""

# mypy: disable-error-code="untyped-decorator, no-untyped-def, no-untyped-call, misc"

import operator
from typing import no_type_check

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, models, overload, register_model

LANES = 8
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_INDEX = ir.IntType(32)
_UNALIGNED = 4  # bytes: arrays may begin at any float32


class Lanes(types.Type):
    """The type of eight float32 inside a kernel; +, - and * work on all of them."""

    @no_type_check
    def __init__(self):
        super().__init__(name="Lanes")


_lanes = Lanes()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    @no_type_check
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _VECTOR)


@no_type_check
def _address(context, builder, array_type, array, place):
    first = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(first, [place]), _VECTOR.as_pointer())


@intrinsic
@no_type_check
def load(typingctx, array, place):
    """Read eight values of a contiguous float32 array from this place on; bounds are the caller's."""

    @no_type_check
    def code(context, builder, signature, arguments):
        value = builder.load(_address(context, builder, signature.args[0], *arguments))
        value.align = _UNALIGNED
        return value

    return _lanes(array, types.intp), code


@intrinsic
@no_type_check
def store(typingctx, array, place, value):
    """Write eight values into a contiguous float32 array from this place on; bounds are the caller's."""

    @no_type_check
    def code(context, builder, signature, arguments):
        done = builder.store(arguments[2], _address(context, builder, signature.args[0], *arguments[:2]))
        done.align = _UNALIGNED
        return context.get_dummy_value()

    return types.void(array, types.intp, value), code


@intrinsic
@no_type_check
def splat(typingctx, number):
    """Repeat one float32 eight times."""

    @no_type_check
    def code(context, builder, signature, arguments):
        empty = ir.Constant(_VECTOR, ir.Undefined)
        first = builder.insert_element(empty, arguments[0], ir.Constant(_INDEX, 0))
        return builder.shuffle_vector(first, empty, _places([0] * LANES))

    return _lanes(types.float32), code


@no_type_check
def _places(numbers):
    return ir.Constant(ir.VectorType(_INDEX, LANES), numbers)


@no_type_check
def _arithmetic(operation, instruction):
    @intrinsic
    @no_type_check
    def computed(typingctx, left, right):
        @no_type_check
        def code(context, builder, signature, arguments):
            # "contract" lets a product and a sum become one instruction; nothing is put in another order.
            return getattr(builder, instruction)(*arguments, flags=("contract",))

        return _lanes(_lanes, _lanes), code

    @overload(operation)
    @no_type_check
    def chosen(left, right):
        if isinstance(left, Lanes) and isinstance(right, Lanes):
            return lambda left, right: computed(left, right)
        return None


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")


@no_type_check
def _mixed(*places):
    @intrinsic
    @no_type_check
    def mixed(typingctx, first, second):
        @no_type_check
        def code(context, builder, signature, arguments):
            return builder.shuffle_vector(*arguments, _places(list(places)))

        return _lanes(_lanes, _lanes), code

    return mixed


# Each of them is one instruction of AVX: unpack, shuffle and insert within and across its halves.
_low_pairs, _high_pairs = _mixed(0, 8, 1, 9, 4, 12, 5, 13), _mixed(2, 10, 3, 11, 6, 14, 7, 15)
_low_fours, _high_fours = _mixed(0, 1, 8, 9, 4, 5, 12, 13), _mixed(2, 3, 10, 11, 6, 7, 14, 15)
_low_halves, _high_halves = _mixed(0, 1, 2, 3, 8, 9, 10, 11), _mixed(4, 5, 6, 7, 12, 13, 14, 15)


@njit(error_model="numpy")
@no_type_check
def transposed(a, b, c, d, e, f, g, h):
    """Turn eight rows of eight into eight columns."""
    a, b, c, d = _low_pairs(a, b), _high_pairs(a, b), _low_pairs(c, d), _high_pairs(c, d)
    e, f, g, h = _low_pairs(e, f), _high_pairs(e, f), _low_pairs(g, h), _high_pairs(g, h)
    a, b, c, d = _low_fours(a, c), _high_fours(a, c), _low_fours(b, d), _high_fours(b, d)
    e, f, g, h = _low_fours(e, g), _high_fours(e, g), _low_fours(f, h), _high_fours(f, h)
    low = (_low_halves(a, e), _low_halves(b, f), _low_halves(c, g), _low_halves(d, h))
    return (*low, _high_halves(a, e), _high_halves(b, f), _high_halves(c, g), _high_halves(d, h))
