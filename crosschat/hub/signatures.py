"""Keys of browsers and their signatures: ECDSA on P-256 over SHA-256, as WebCrypto makes them. Nothing is kept here.

The library is imported when the first signature comes: the hub's start does not pay for it.
"""

from __future__ import annotations

from typing import Final

POINT_BYTES: Final = 65  # an uncompressed point of P-256
SIGNATURE_BYTES: Final = 64


def is_signed(public: bytes, data: bytes, signature: bytes) -> bool:
    """Whether `signature` (r and s, raw) over SHA-256 of `data` is by the key whose public half is `public`."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    from cryptography.hazmat.primitives.hashes import SHA256

    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
    try:
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def is_point(public: bytes) -> bool:
    """Whether these bytes are the uncompressed form of a point on P-256."""
    from cryptography.hazmat.primitives.asymmetric import ec

    if len(public) != POINT_BYTES or public[0] != 4:
        return False
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
    except ValueError:
        return False
    return True
