"""What a body costs: whether it is computed again or kept."""

from __future__ import annotations

from maquette.ir.scalar import OPS, Apply, Arg, Scalar

# What one application costs, in additions; all others cost what `OPS` charges.
_COSTLY = {
    "exp": 8, "log": 10, "sin": 12, "cos": 12, "tanh": 12, "erf": 16, "sigmoid": 10,
    "softplus": 16, "pow": 16, "div": 4, "sqrt": 4, "rsqrt": 4, "recip": 4,
    "floordiv": 4, "mod": 4,
}  # fmt: skip


def cost(body: Scalar) -> int:
    """Additions that one evaluation of a body is worth; index arithmetic is free."""
    match body:
        case Apply(op, args):
            if _only_index(body):
                return 0
            return _COSTLY.get(op, OPS[op][1]) + sum(map(cost, args))
    return 0


def _only_index(body: Scalar) -> bool:
    match body:
        case Apply(op, args):
            return not op.startswith("to_f") and op not in _COSTLY and all(map(_only_index, args))
        case Arg():
            return False
    return True
