"""The tables of an OMOP CDM or its vocabulary as files: comma-separated, tab-separated (Athena's downloads), Parquet.

It finds them, checks their columns and loads them into DuckDB. Ids become whole numbers; "12.0" and "12,0", as programs
write numbers that may be missing, are 12.

It also finds RxNorm ingredients through the tables of the vocabulary. concept_ancestor holds, for each standard drug,
its ingredients (a combination has several; an ingredient is its own ancestor). An NDC reaches its standard drug over
concept_relationship's "Maps to".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from concept_icd.artifacts import sha256
from concept_icd.corpora.mimic3.table_bytes import header_line
from concept_icd.corpora.mimic3.tables import Table, Tables, fingerprint, load, read_header, told
from concept_icd.errors import InputError

if TYPE_CHECKING:
    import duckdb

ENDINGS = (".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz")
#: Endings of the names of columns that hold numbers; and columns with such a name that hold words.
_ID = ("_id", "_id_1", "_id_2", "year_of_birth", "month_of_birth", "day_of_birth")
_WORDS = ("vocabulary_id", "concept_class_id", "relationship_id")
#: Marks an id that is no number while a table is checked.
_NO_ID = -(1 << 62) - 77
CONCEPT_COLUMNS = ("concept_id", "concept_name", "vocabulary_id", "concept_class_id", "concept_code")
ANCESTOR_COLUMNS = ("ancestor_concept_id", "descendant_concept_id")
RELATION_COLUMNS = ("concept_id_1", "concept_id_2", "relationship_id")
#: The tables that lead from an NDC to ingredients.
NDC_TABLES: Mapping[str, tuple[str, ...]] = {
    "concept": CONCEPT_COLUMNS,
    "concept_ancestor": ANCESTOR_COLUMNS,
    "concept_relationship": RELATION_COLUMNS,
}
INGREDIENT = "i.concept_class_id = 'Ingredient' AND i.vocabulary_id IN ('RxNorm', 'RxNorm Extension')"


def find_omop_tables(
    folder: Path, columns_of: Mapping[str, tuple[str, ...]], optional: Sequence[str], option: str
) -> dict[str, Table]:
    """The tables of a folder, whatever the case of names and headers; Parquet before CSV.

    Args:
        columns_of: table -> the columns it must have. optional: tables that may be missing. option: names the folder.

    Raises:
        InputError: no such folder, or a table or column is missing.
    """
    if not folder.is_dir():
        raise InputError(
            f"{folder} is no folder; {option} names the one with the OMOP tables (.csv, .csv.gz, .parquet)"
        )
    files = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_file()}
    found = {}
    for name, columns in columns_of.items():
        path = next((files[name + ending] for ending in ENDINGS if name + ending in files), None)
        if path is not None:
            found[name] = Table(name, path, _header(path, columns))
    if missing := [name for name in columns_of if name not in found and name not in optional]:
        raise InputError(f"{folder} lacks {', '.join(missing)} (.csv, .csv.gz or .parquet) of the OMOP tables")
    return found


def omop_fingerprint(tables: Mapping[str, Table]) -> dict[str, str]:
    """File name -> SHA-256; a comma-separated file is checked to be whole on the way."""
    comma = {name: table for name, table in tables.items() if not _is_parquet(table.path) and not _is_tab(table.path)}
    others = {table.path.name: sha256(table.path) for name, table in tables.items() if name not in comma}
    return fingerprint(comma) | others


def load_omop(connection: duckdb.DuckDBPyConnection, table: Table, columns: Sequence[str]) -> None:
    """Loads columns of a table under its name: ids as numbers, everything else as trimmed text; empty is NULL.

    A column that the file lacks is NULL.

    Raises:
        InputError: the file cannot be read, or an id is no whole number.
    """
    selected = []
    for column in columns:
        value = f"nullif(trim({column}::VARCHAR), '')" if column in table.columns else "NULL::VARCHAR"
        if _is_number(column):
            number = f"try_cast(regexp_replace({value}, '[.,]0?0?$', '') AS BIGINT)"
            value = f"CASE WHEN {value} IS NOT NULL THEN coalesce({number}, {_NO_ID}) END"
        selected.append(f"{value} AS {column}")
    select = f"SELECT {', '.join(selected)} FROM {{rows}}"
    if _is_parquet(table.path) or _is_tab(table.path):
        with told(table.path):
            connection.execute(f"CREATE OR REPLACE TABLE {table.name} AS {select.format(rows=_rows(table.path))}")
    else:
        load(connection, table, select)
    for column in filter(_is_number, columns):
        if count(connection, f"SELECT count(*) FROM {table.name} WHERE {column} = {_NO_ID}"):
            raise InputError(f"{table.path}: {column} holds what is no whole number")


def count(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    """The one number that a query gives."""
    return int(connection.execute(sql).fetchall()[0][0])


def _header(path: Path, needed: Sequence[str]) -> tuple[str, ...]:
    if not _is_parquet(path):
        return read_header(path, needed)
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = tuple(name.strip().lower() for name in pq.read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: no Parquet file, or a damaged one") from error
    if missing := [name for name in needed if name not in columns]:
        raise InputError(f"{path} has no column {', '.join(missing)}")
    if twice := [name for name in needed if columns.count(name) > 1]:
        raise InputError(f"{path} has more than one column {', '.join(twice)}")
    return columns


def _is_number(column: str) -> bool:
    return column.endswith(_ID) and column not in _WORDS


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _is_tab(path: Path) -> bool:
    """By its header: Athena's files are called .csv and are separated by tabs."""
    return b"\t" in header_line(path)


def _rows(path: Path) -> str:
    quoted = "'" + str(path).replace("'", "''") + "'"
    if _is_parquet(path):
        return f"read_parquet({quoted})"
    # Athena writes no quotes around fields, so one is part of a name; other programs quote the header too.
    quote = '"' if b'"' in header_line(path) else ""
    return (
        f"read_csv({quoted}, delim='\t', quote='{quote}', escape='{quote}', header=true, all_varchar=true, nullstr='')"
    )


def load_concepts(connection: duckdb.DuckDBPyConnection, vocabulary: Tables) -> None:
    """The tables concept and concept_ancestor.

    Raises:
        InputError: a table cannot be read, or holds no RxNorm ingredient.
    """
    load_omop(connection, vocabulary["concept"], CONCEPT_COLUMNS)
    load_omop(connection, vocabulary["concept_ancestor"], ANCESTOR_COLUMNS)
    if not count(connection, f"SELECT count(*) FROM concept i WHERE {INGREDIENT}"):
        raise InputError(f"{vocabulary['concept'].path} holds no ingredient of RxNorm; download that vocabulary too")


def load_ingredients(connection: duckdb.DuckDBPyConnection, drugs: str) -> None:
    """Fills concept_ingredients for the drug concepts that a query gives as `concept`; after `load_concepts`."""
    connection.execute(f"""
        INSERT INTO concept_ingredients
        WITH d AS (SELECT DISTINCT concept FROM ({drugs})),
        above AS (
            SELECT concept, ancestor_concept_id AS ingredient
            FROM d JOIN concept_ancestor ON descendant_concept_id = concept
            UNION SELECT concept, concept FROM d
        )
        SELECT DISTINCT concept, lower(concept_name) FROM above JOIN concept i ON i.concept_id = above.ingredient
        WHERE {INGREDIENT} AND concept_name IS NOT NULL
    """)


def load_ndc_ingredients(connection: duckdb.DuckDBPyConnection, vocabulary: Tables, prescriptions: Table) -> None:
    """Makes ndc_concepts (ndc, concept) for the NDCs of the loaded prescriptions, and fills concept_ingredients.

    Raises:
        InputError: the vocabulary knows none of the NDCs.
    """
    load_concepts(connection, vocabulary)
    load_omop(connection, vocabulary["concept_relationship"], RELATION_COLUMNS)
    connection.execute("""
        CREATE OR REPLACE TABLE ndc_concepts AS
        SELECT p.ndc, min(r.concept_id_2) AS concept
        FROM (SELECT DISTINCT ndc FROM prescriptions WHERE ndc IS NOT NULL AND ndc <> '0') p
        JOIN concept c ON c.concept_code = p.ndc AND c.vocabulary_id = 'NDC'
        JOIN concept_relationship r ON r.concept_id_1 = c.concept_id AND r.relationship_id = 'Maps to'
        GROUP BY p.ndc
    """)
    load_ingredients(connection, "SELECT concept FROM ndc_concepts")
    if not count(connection, "SELECT count(*) FROM concept_ingredients"):
        raise InputError(
            f"{vocabulary['concept'].path} leads from none of the NDCs of {prescriptions.path} to an ingredient; "
            "download the vocabularies NDC and RxNorm, or leave --vocabulary-dir out to read drug names"
        )
