"""What a desk is started with: addresses, tokens, limits."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from concept_icd.errors import InputError
from concept_icd.progress import say

#: A token that everybody shares; people then name themselves.
TOKEN_VARIABLE = "CONCEPT_ICD_TOKEN"
#: Tokens that are shorter, or of fewer different characters, can be guessed.
TOKEN_LENGTH, TOKEN_CHARACTERS = 16, 3
#: Characters of a person's name.
NAME_LENGTH = 80


@dataclass(frozen=True)
class Limits:
    """Sizes and times beyond which a request is refused.

    Attributes:
        note_characters: of one note; a coder reads less than that, and says so.
        notes_per_request: of a list. queue_notes: notes that may wait for the scorer.
        body_bytes: of a request. body_seconds: within which all of a request has to arrive.
        seconds: a request waits for its scores, all of its notes and their evidence together.
        record_seconds: the record's database may say nothing; a request waits twice as long for it.
    """

    note_characters: int = 1_000_000
    notes_per_request: int = 64
    queue_notes: int = 256
    body_bytes: int = 8_000_000
    body_seconds: float = 20.0
    seconds: float = 60.0
    record_seconds: float = 4.0

    def fits(self, text: str) -> bool:
        """Whether a note is not too long."""
        return len(text) <= self.note_characters


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
    """The SHA-256 of a token; the token itself is not kept."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`.

    >>> is_loopback("127.0.0.1"), is_loopback("[::1]"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def read_tokens(path: Path | None) -> dict[bytes, str | None]:
    """The tokens of a file, one `NAME TOKEN` a line (# begins a comment), and the shared one of the environment.

    Says on stderr where others can read the file.

    Raises:
        InputError: the file cannot be read, a line is malformed, a token is weak, cannot be sent, or is there twice.
    """
    tokens: dict[bytes, str | None] = {}
    if path is not None:
        try:
            lines = path.read_text(encoding="utf-8-sig").split("\n")
            mode = path.stat().st_mode & 0o777
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from error
        if os.name == "posix" and mode & 0o077:
            say(f"other users of this machine may read or change {path} (mode {mode:o}): chmod 600 {path}")
        for number, line in enumerate(lines, 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            name, _, token = re.sub(r"\s+(?=\S+$)", " ", line.strip()).rpartition(" ")
            if not name.isprintable() or not 0 < len(name) <= NAME_LENGTH:
                raise InputError(f"{path}, line {number}: a name of 1 to {NAME_LENGTH} characters, a blank and a token")
            if reason := _weakness(token):
                raise InputError(f"{path}, line {number}: the token {reason}")
            if digest_of(token) in tokens:
                raise InputError(f"{path}, line {number}: this token is there twice; each person needs their own")
            tokens[digest_of(token)] = name
    if shared := os.environ.get(TOKEN_VARIABLE):
        if reason := _weakness(shared):
            raise InputError(f"{TOKEN_VARIABLE} {reason}")
        tokens[digest_of(shared)] = None
    return tokens


def _weakness(token: str) -> str | None:
    """Why this is no token, or None."""
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        return "has a character that cannot be sent: use letters, digits and marks of ASCII"
    if len(token) < TOKEN_LENGTH:
        return f"is shorter than {TOKEN_LENGTH} characters"
    if len(set(token)) < TOKEN_CHARACTERS:
        return f"can be guessed: it has fewer than {TOKEN_CHARACTERS} different characters"
    return None


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
