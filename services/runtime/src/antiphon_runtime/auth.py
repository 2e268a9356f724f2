"""Short-lived tokens: HMAC-signed JWTs, one audience per service, from a secret in a file."""

import time
from collections.abc import Callable
from pathlib import Path

import jwt

from .errors import ConfigError, Unauthenticated

ALGORITHM = "HS256"
# RFC 7518 section 3.2: an HS256 key has at least the hash's size.
MIN_SECRET_BYTES = 32
# Clocks of two machines differ by less than this.
LEEWAY_S = 5


def read_secret(path: Path) -> bytes:
    """The secret in a file, without surrounding white space. Raises ConfigError when missing or too short."""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"token secret {path} cannot be read: {error.strerror}") from error
    if len(secret) < MIN_SECRET_BYTES:
        raise ConfigError(f"token secret {path} has {len(secret)} bytes: it needs at least {MIN_SECRET_BYTES}")
    return secret


class Issuer:
    """Makes tokens for one audience."""

    def __init__(
        self, secret: bytes, audience: str, *, ttl_s: float = 60.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._secret = secret
        self._audience = audience
        self._ttl_s = ttl_s
        self._clock = clock

    def token(self, subject: str = "") -> str:
        now = self._clock()
        claims = {"aud": self._audience, "sub": subject, "iat": int(now), "exp": int(now + self._ttl_s)}
        return jwt.encode(claims, self._secret, algorithm=ALGORITHM)


class Verifier:
    """Checks "Bearer …" headers for one audience. A token opens a stream; it does not have to outlive it."""

    def __init__(self, secret: bytes, audience: str) -> None:
        self._secret = secret
        self._audience = audience

    def verify(self, header: str) -> str:
        """The token's subject. Raises Unauthenticated when it is missing, wrong or expired."""
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("no token: send authorization: Bearer …", reason="TOKEN_MISSING")
        try:
            claims = jwt.decode(
                token.strip(),
                self._secret,
                algorithms=[ALGORITHM],
                audience=self._audience,
                leeway=LEEWAY_S,
                options={"require": ["exp", "aud"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise Unauthenticated("the token has expired", reason="TOKEN_EXPIRED") from error
        except jwt.InvalidTokenError as error:
            raise Unauthenticated(f"the token is not valid here: {error}", reason="TOKEN_INVALID") from error
        return str(claims.get("sub", ""))
