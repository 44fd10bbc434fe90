"""Public keys of X25519 (RFC 7748) that must not be used.

X25519 itself takes any 32 bytes: it ignores the highest bit and reduces modulo p, so that one point would have several
keys, and with a point of low order every secret is zero.
"""

PRIME = 2**255 - 19
LOW_ORDER = frozenset(
    {
        0,
        1,
        PRIME - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)
"""u of all points of order 1, 2, 4 and 8, on the curve and on its twist."""


def point_fault(public: bytes) -> str:
    """Why a public key of 32 bytes is none; "" for a good one."""
    value = int.from_bytes(public, "little")
    if value >= PRIME:
        return "is not a canonical X25519 key"
    return "is a point of low order, with which every secret is known" if value in LOW_ORDER else ""
