"""Checks the bytes of the raw tables against published checksums: against the list in their folder, else against 1.4's.

What is hashed is the table itself, unpacked where the list names the plain file, so that a file that somebody packed
again still fits.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

from concept_icd.doctor.findings import Finding
from concept_icd.mimic3.tables import Table
from concept_icd.progress import ProgressBar, progress_bar

SECTION = "checksums"

#: MD5 of the unpacked tables of MIMIC-III 1.4, from PhysioNet's checksum_md5_unzipped.txt as public code repeats it.
#: That of NOTEEVENTS stands in two independent places, the others in one.
MD5 = {
    "ADMISSIONS": "57d940b69dd066da5ba57e008cc7f92c",
    "PATIENTS": "3b06f45153c66e2b7c49b35805971145",
    "DIAGNOSES_ICD": "e2c0a05d768a6273038ae84e576186a7",
    "PROCEDURES_ICD": "ed7e6f1efa7e334404f6fb26e4c3c7d2",
    "NOTEEVENTS": "df33ab9764256b34bfc146828f440c2b",
    "PRESCRIPTIONS": "43f469da09c65bae252d02a51787ad85",
    "D_ICD_DIAGNOSES": "d0a7026ca3618f4360d8329643d9041d",
    "D_ICD_PROCEDURES": "a9707e5361f939f45ca2bc2eb8bd5652",
}
#: Lists that come with a download, the surest first: "digest  name" lines.
LISTS = ("SHA256SUMS.txt", "checksum_md5_zipped.txt", "checksum_md5_unzipped.txt")


def examine_checksums(folder: Path, found: Mapping[str, Table]) -> list[Finding]:
    """Hashes every table, shows progress, and says which are not the published ones."""
    listed = read_lists(folder)
    findings = []
    size = sum(table.path.stat().st_size for table in found.values())
    with progress_bar(max(1, size >> 20), "hashing", "MB") as bar:
        for name, table in found.items():
            file = table.path.name
            digest, packed, source = _expected(name, table.path, listed)
            try:
                same = _digest(table.path, "md5" if len(digest) == 32 else "sha256", bar, packed=packed) == digest
            except (OSError, EOFError, zlib.error):
                mend = "take the file again from its source"
                findings.append(Finding(SECTION, "missing", f"{file} is truncated or damaged", mend))
                continue
            text = f"{file} is {'' if same else 'not '}the file of {source}"
            again = None if same else "take the file again, or work on knowing that it is another"
            findings.append(Finding(SECTION, "ok" if same else "warning", text, again))
    return findings


def read_lists(folder: Path) -> dict[str, tuple[str, str]]:
    """File name in lower case -> (digest, the list that names it), from the lists in the folder."""
    listed: dict[str, tuple[str, str]] = {}
    for name in LISTS:
        path = folder / name
        if not path.is_file():
            continue
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            digest, _, file = line.strip().partition(" ")
            if len(digest) in (32, 64):
                listed.setdefault(file.strip(" *").lower(), (digest.lower(), name))
    return listed


def _expected(name: str, path: Path, listed: Mapping[str, tuple[str, str]]) -> tuple[str, bool, str]:
    """The digest, whether it is of the file as it lies (packed), and whose it is."""
    for file, packed in ((path.name.lower(), True), (path.name.lower().removesuffix(".gz"), False)):
        if file in listed:
            digest, source = listed[file]
            return digest, packed, source
    return MD5[name], False, "MIMIC-III 1.4"


def _digest(path: Path, algorithm: str, bar: ProgressBar, *, packed: bool) -> str:
    """Hex digest of the file, or of what it unpacks to; the bar counts bytes of the file."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    seen = 0
    unpack = path.suffix.lower() == ".gz" and not packed
    with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) if unpack else nullcontext(raw) as content:
        while chunk := content.read(1 << 22):
            digest.update(chunk)
            bar.advance((raw.tell() >> 20) - (seen >> 20))
            seen = raw.tell()
    return digest.hexdigest()
