"""RxNorm ingredients through the tables of the OMOP vocabulary: of drug concepts, and of NDCs.

concept_ancestor holds, for each standard drug, its ingredients (a combination has several; an ingredient is its own
ancestor). An NDC reaches its standard drug over concept_relationship's "Maps to".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from concept_icd.errors import InputError
from concept_icd.mimic3.tables import Table, Tables
from concept_icd.models.medications.omop_files import count, load_omop

if TYPE_CHECKING:
    import duckdb

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
        SELECT DISTINCT d.concept, lower(i.concept_name)
        FROM (SELECT DISTINCT concept FROM ({drugs})) d
        JOIN concept_ancestor a ON a.descendant_concept_id = d.concept
        JOIN concept i ON i.concept_id = a.ancestor_concept_id
        WHERE {INGREDIENT} AND i.concept_name IS NOT NULL
        UNION
        SELECT DISTINCT d.concept, lower(i.concept_name)
        FROM (SELECT DISTINCT concept FROM ({drugs})) d JOIN concept i ON i.concept_id = d.concept
        WHERE {INGREDIENT} AND i.concept_name IS NOT NULL
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
