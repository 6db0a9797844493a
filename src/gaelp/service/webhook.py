"""Signed webhooks: is this body, unaltered and fresh, from somebody who knows the secret?

The signature is HMAC-SHA256 over `ID.TIMESTAMP.BODY`, in base64 after `v1,`; several, apart by spaces, may be
sent while a secret is changed. The body is taken as it came, byte for byte.

Source: Standard Webhooks, specification 1.0.0, section "Signature scheme".
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence

from gaelp.core.errors import BadInput

_PREFIX = "whsec_"
_LEAST_BYTES, _MOST_BYTES = 24, 64


class BadSignature(BadInput):
    """A webhook that nobody who knows the secret signed, or one that is too old."""


def read_secret(text: str) -> bytes:
    """The bytes of a secret.

    Args:
        text: base64, with or without `whsec_` before it.

    Raises:
        BadInput: it is no base64 of 24 to 64 bytes.
    """
    try:
        secret = base64.b64decode(text.strip().removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not _LEAST_BYTES <= len(secret) <= _MOST_BYTES:
        allowed = f"must be base64 of {_LEAST_BYTES} to {_MOST_BYTES} bytes"
        raise BadInput("webhook secret", "(hidden)", allowed, "Make one by `openssl rand -base64 32`.")
    return secret


def sign(secret: bytes, event_id: str, timestamp_s: int, body: bytes) -> str:
    """The signature a sender puts into `webhook-signature`.

    Args:
        secret: of `read_secret`. event_id: the header `webhook-id`.
        timestamp_s: the header `webhook-timestamp`, seconds since 1970 began. body: as it is sent.

    >>> secret = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    >>> sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    signed = b".".join((event_id.encode(), str(timestamp_s).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()


def verify(
    secrets: Sequence[bytes],
    event_id: str,
    timestamp: str,
    signature: str,
    body: bytes,
    *,
    now_s: float,
    window_s: int,
) -> None:
    """Refuse a webhook that is not signed with one of our secrets, or not of these minutes.

    Args:
        secrets: that hold at present. event_id, timestamp, signature: the three headers, as they came.
        body: as it came. now_s: seconds since 1970 began. window_s: how far the timestamp may be off.

    Raises:
        BadSignature: it is not signed, or too old, or of the future.
    """
    remedy = "Sign the body as it is sent, at the time it is sent; see docs/reference/service.md."
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise BadSignature("webhook-timestamp", timestamp, "must be whole seconds since 1970 began", remedy)
    if abs(now_s - int(timestamp)) > window_s:
        allowed = f"must be within {window_s} s of the service's clock"
        raise BadSignature("webhook-timestamp", timestamp, allowed, remedy)
    shown = [each.encode() for each in signature.split(" ")[:16] if each.isascii()]
    expected = [sign(each, event_id, int(timestamp), body).encode() for each in secrets]
    matches = [hmac.compare_digest(ours, theirs) for ours in expected for theirs in shown]
    if not any(matches):
        raise BadSignature("webhook-signature", "(hidden)", "must be made with the shared secret", remedy)
