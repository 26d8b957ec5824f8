"""What a desk is started with: addresses, tokens, limits."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from concept_icd.errors import InputError

#: A token that everybody shares; people then name themselves.
TOKEN_VARIABLE = "CONCEPT_ICD_TOKEN"
#: Shorter tokens can be guessed.
TOKEN_LENGTH = 16


@dataclass(frozen=True)
class Limits:
    """Sizes and times beyond which a request is refused.

    Attributes:
        note_characters: of one note; a coder reads less than that, and says so.
        notes_per_request: of a list. queue_notes: notes that may wait for the scorer.
        body_bytes: of a request. body_seconds: within which all of a request has to arrive.
        seconds: a request waits for its scores.
    """

    note_characters: int = 1_000_000
    notes_per_request: int = 64
    queue_notes: int = 256
    body_bytes: int = 8_000_000
    body_seconds: float = 20.0
    seconds: float = 60.0


@dataclass(frozen=True)
class Settings:
    """See the module.

    Attributes:
        tokens: SHA-256 of each token -> whose it is; None: the shared one. Empty: nobody is asked for a token.
        allowed_hosts: further names that the Host header may have.
        micro_batching: requests that wait are scored together.
    """

    host: str = "127.0.0.1"
    port: int = 8321
    tokens: Mapping[bytes, str | None] = field(default_factory=dict)
    allowed_hosts: tuple[str, ...] = ()
    limits: Limits = Limits()
    micro_batching: bool = True

    @property
    def hosts(self) -> frozenset[str] | None:
        """Names that the Host header may have; None: any, where the address is a wildcard and a token guards it."""
        if self.allowed_hosts or is_loopback(self.host):
            return frozenset(name.lower() for name in ("localhost", "127.0.0.1", "::1", self.host, *self.allowed_hosts))
        return None

    def owner(self, token: str) -> tuple[bool, str | None]:
        """Whether the token is one of these, and whose; every known token is compared, in constant time."""
        digest, known, name = digest_of(token), False, None
        for other, whose in self.tokens.items():
            if hmac.compare_digest(digest, other):
                known, name = True, whose
        return known, name


def digest_of(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def read_tokens(path: Path | None) -> dict[bytes, str | None]:
    """The tokens of a file, one `NAME TOKEN` a line (# begins a comment), and the shared one of the environment.

    Raises:
        InputError: the file cannot be read, a line is malformed, a token is short or there twice.
    """
    tokens: dict[bytes, str | None] = {}
    if path is not None:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            name, _, token = line.strip().rpartition(" ")
            if not name.strip() or len(token) < TOKEN_LENGTH:
                raise InputError(
                    f"{path}, line {number}: a name, a blank and a token of {TOKEN_LENGTH} characters or more"
                )
            if digest_of(token) in tokens:
                raise InputError(f"{path}, line {number}: this token is there twice; each person needs their own")
            tokens[digest_of(token)] = name.strip()
    if shared := os.environ.get(TOKEN_VARIABLE):
        if len(shared) < TOKEN_LENGTH:
            raise InputError(f"{TOKEN_VARIABLE} is shorter than {TOKEN_LENGTH} characters")
        tokens[digest_of(shared)] = None
    return tokens


def require_token_beyond_loopback(settings: Settings) -> None:
    """Refuses to serve other machines without a token.

    Raises:
        InputError: the address is reachable from elsewhere and there is no token.
    """
    if not settings.tokens and not is_loopback(settings.host):
        raise InputError(
            f"other machines can reach {settings.host}, so a token is needed: set {TOKEN_VARIABLE}, or name a file of "
            "`NAME TOKEN` lines with --tokens"
        )
