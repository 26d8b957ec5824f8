"""Opens the NCHS files in whatever wrapping they come."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from pathlib import Path

from concept_icd.errors import InputError
from concept_icd.files import LONGEST, read_bytes

#: A dotted code as printed; procedures always with a dot, since two digits alone could be any number.
CODE = r"(?:\d{3}(?:\.\d{1,2})?|\d\d\.\d{1,2}|V\d\d(?:\.\d{1,2})?|E\d{3}(?:\.\d)?)"


def lists_and_indexes(data_dir: str | Path) -> tuple[list[Path], list[Path]]:
    """The tabular lists and the alphabetic indexes in a folder of public corpora, in icd9cm/nchs_2011."""
    folder = Path(data_dir) / "icd9cm" / "nchs_2011"
    return [folder / "Dtab12.zip", folder / "Ptab12.zip"], [folder / "Dindex12.zip", folder / "Pindex12.zip"]


def tidy(text: str) -> str:
    """One line, single blanks, plain hyphens."""
    return re.sub(r"\s+", " ", text.replace("\xad", "-")).strip()


def read_text(path: Path) -> str:
    """The text of a file, of a .gz, or of the one RTF or text file in a zip.

    Raises:
        InputError: it cannot be read, is damaged, or unpacks to more than `LONGEST` bytes.
    """
    data = read_bytes(path)
    if data[:2] == b"PK":
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                names = [name for name in archive.namelist() if name.lower().endswith((".rtf", ".txt"))]
                if len(names) != 1:
                    raise InputError(f"{path} holds {len(names)} .rtf or .txt files; one is expected")
                with archive.open(names[0]) as member:
                    data = member.read(LONGEST + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise InputError(f"{path} is damaged, or not a plain zip file: {error}") from error
        if len(data) > LONGEST:
            raise InputError(f"{path} unpacks to more than {LONGEST >> 20} MiB: no list of codes is so long; not read")
    if data.startswith(b"{\\rtf"):
        return data.decode("cp1252", "replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")
