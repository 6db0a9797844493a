"""Signed webhooks: the published vector, an independent signer, and everything that must not pass."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaelp.core.errors import BadInput
from gaelp.service.webhook import BadSignature, read_secret, sign, verify

# The vector of the reference libraries of Standard Webhooks.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
EVENT, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def check(**changes):
    told = {"event_id": EVENT, "timestamp": str(AT), "signature": SIGNATURE, "body": BODY}
    told |= {"secrets": [read_secret(SECRET)], "now_s": AT + 10.0, "window_s": 300, **changes}
    verify(**told)


def hmac_by_hand(secret, message):
    """RFC 2104, section 2."""
    padded = (
        secret.ljust(64, b"\0") if len(secret) <= 64 else hashlib.sha256(secret).digest().ljust(64, b"\0")
    )
    inner = hashlib.sha256(bytes(each ^ 0x36 for each in padded) + message).digest()
    return hashlib.sha256(bytes(each ^ 0x5C for each in padded) + inner).digest()


@pytest.mark.golden
def test_the_published_vector_is_signed_and_passes():
    assert sign(read_secret(SECRET), EVENT, AT, BODY) == SIGNATURE
    check()


@given(
    st.binary(min_size=24, max_size=64), st.text("abc_-.:019", min_size=1), st.integers(0, 2**40), st.binary()
)
def test_signing_is_hmac_as_written_down(secret, event_id, at, body):
    message = f"{event_id}.{at}.".encode() + body
    expected = "v1," + base64.b64encode(hmac_by_hand(secret, message)).decode()
    assert sign(secret, event_id, at, body) == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"body": BODY + b" "},
        {"event_id": EVENT + "x"},
        {"timestamp": str(AT + 1)},
        {"signature": SIGNATURE.replace("v1", "v2")},
        {"signature": SIGNATURE[3:]},
        {"signature": ""},
        {"signature": "v1,é"},
        {"secrets": [b"another secret of 24 byte"]},
        {"secrets": []},
        {"now_s": AT + 301.0},
        {"now_s": AT - 301.0},
        {"timestamp": "noon"},
        {"timestamp": "²"},
        {"timestamp": "9" * 400},
        {"timestamp": f"-{AT}"},
    ],
)
def test_what_is_altered_or_old_does_not_pass(changes):
    with pytest.raises(BadSignature):
        check(**changes)


def test_secret_and_signature_may_be_changed_one_after_the_other():
    check(signature=f"v1,{'A' * 43}= {SIGNATURE}")
    check(secrets=[b"another secret of 24 byte", read_secret(SECRET)])


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_AAAA", "not base64 at all, no", "whsec_" + "A" * 92])
def test_a_secret_that_is_none_is_refused_and_not_shown(text):
    with pytest.raises(BadInput) as caught:
        read_secret(text)
    assert "hidden" in str(caught.value)
