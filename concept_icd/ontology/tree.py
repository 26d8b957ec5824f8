"""The classification as trees: a code's kind, level, title, parents and descendants.

The rest of the package asks for codes only through `load_ontology`. It knows the tables in `ontology/` and nothing
of notes or models. How a code is spelt stands in `code_shapes`; a new classification is new tables and a new shape.

A code is text, always: leading zeros dropped by a number have spoilt published label sets.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from concept_icd.errors import InputError
from concept_icd.ontology.code_shapes import SHAPES, CodeShape, category_of, in_range
from concept_icd.ontology.search import TitleSearch
from concept_icd.records import Kind, Level
from concept_icd.resources import resource

TABLES = ("diagnoses.tsv", "procedures.tsv")
#: Codes of earlier editions that the tables lack; a classification may do without.
RETIRED = "retired.tsv"


@dataclass(frozen=True)
class Node:
    """One node of a tree.

    Attributes:
        code: dotted; chapters and sections are ranges such as "390-459".
        level: "chapter", "section", "category", "subcategory" or "code" (five-digit diagnoses, four-digit procedures).
        billable: it may stand on a claim (leaves of the tree, at whatever level).
        parent: None for a chapter.
    """

    code: str
    kind: Kind
    level: Level
    title: str
    billable: bool
    parent: str | None

    def to_dict(self) -> dict[str, str | bool]:
        """The node as `concept-icd ontology --json` and the desk give it, without its place in the tree.

        >>> load_ontology().node("486").to_dict()["title"]
        'Pneumonia, organism unspecified'
        """
        return {name: value for name, value in vars(self).items() if name != "parent"}


@lru_cache(maxsize=4)
def load_ontology(name: str = "icd9cm") -> Ontology:
    """The classification called `name`, read once.

    Raises:
        InputError: no such classification is shipped.
    """
    if name not in SHAPES:
        raise InputError(f"there is no classification {name!r}; shipped are {', '.join(sorted(SHAPES))}")
    return Ontology(name, resource(f"ontology/{name}"), SHAPES[name])


#: A longer text in the place of a code may be a note's, and is not quoted.
_LONGEST_QUOTED = 20
#: ICD-10-CM with its dot or of a letter that ICD-9-CM has not, and ICD-10-PCS.
_ICD10 = re.compile(
    r"[A-Z]\d[0-9A-Z]\.[0-9A-Z]{1,4}|[A-DF-UW-Z]\d[0-9A-Z]{1,5}|(?=.*[A-Z])[0-9A-HX][0-9A-HJ-NP-Z]{6}", re.ASCII
)


class Ontology:
    """Trees of codes, read from the tables of a folder (see ontology/README.md for their columns)."""

    def __init__(self, name: str, folder: Path, shapes: tuple[CodeShape, ...]) -> None:
        self.name = name
        self._shapes = shapes
        self._rows: dict[str, list[str]] = {}  # code -> code, parent, level, kind, billable, title
        for table in TABLES:
            lines = (folder / table).read_text(encoding="utf-8").split("\n")
            self._rows.update((row[0], row) for row in (line.split("\t") for line in lines[1:] if line))
        retired = folder / RETIRED
        lines = retired.read_text(encoding="utf-8").split("\n") if retired.is_file() else []
        self._retired = frozenset(line.split("\t")[0] for line in lines[1:] if line)

    def __contains__(self, code: object) -> bool:
        return code in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    # Spelling -----------------------------------------------------------------------------------------------------

    def parse(self, text: str, kind: Kind | None = None) -> str:
        """The dotted code that `text` spells, dotted or not, in any case; it need not exist.

        "428.0", "4280" with kind "diagnosis", "v300" and "36" (the procedure category) all parse. Without a kind,
        digits alone are a diagnosis when there are three or five and a procedure when there are two; four digits
        could be either.

        Raises:
            InputError: it is no code of this classification, or not of this kind, or four bare digits without a kind.
        """
        if not isinstance(text, str):
            raise InputError(f"the code {text!r} is a {type(text).__name__}; codes are text, numbers lose their zeros")
        code = text.strip().upper()
        if code in self._rows and kind in (None, self._rows[code][3]):
            return code
        shapes = [shape for shape in self._shapes if kind in (None, shape.kind)]
        for shape in shapes:
            if shape.dotted.fullmatch(code):
                return code
        readings = {shape.add_dot(code) for shape in shapes if shape.dotted.fullmatch(shape.add_dot(code))}
        if len(readings) == 1:
            return readings.pop()
        if readings:
            raise InputError(f"{text!r} may be {' or '.join(sorted(readings))}; write the dot or name the kind")
        wanted = f"{self.name} {kind or 'diagnosis or procedure'} code"
        if len(code) > _LONGEST_QUOTED or (" " in code and not any(character.isdigit() for character in code)):
            raise InputError(f"a text of {len(text)} characters is no {wanted}")
        raise InputError(f"{text!r} is no {wanted}{self._hint(code, kind)}")

    def kind(self, code: str) -> Kind:
        """Of a node or of any well-formed dotted code."""
        if code in self._rows:
            return self._rows[code][3]  # type: ignore[return-value]
        return next(shape.kind for shape in self._shapes if shape.dotted.fullmatch(self._well_formed(code)))

    def had(self, code: str) -> bool:
        """Whether some edition had this well-formed dotted code, billable or not.

        The diagnoses are known for certain. Of the procedures that were retired no full list is at hand, so that one
        below an inner node (36.01 below 36.0) counts as had.

        >>> [load_ontology().had(code) for code in ("038.9", "250.0", "719.70", "36.01", "486.0", "E119")]
        [True, True, True, True, False, False]
        """
        if code in self._rows or code in self._retired:
            return True
        above = self._nearest(code) if self.kind(code) == "procedure" else None
        return above is not None and "-" not in above and self._rows[above][4] == "0"

    # Nodes --------------------------------------------------------------------------------------------------------

    def node(self, code: str) -> Node:
        """The node of exactly this code.

        Raises:
            InputError: the classification has no such code; the sentence names the nearest one.
        """
        row = self._rows.get(code)
        if row is None:
            raise InputError(f"{code!r} is not in {self.name}{self._hint(code)}")
        code, parent, level, kind, billable, title = row
        return Node(code, kind, level, title, billable == "1", parent or None)  # type: ignore[arg-type]

    def resolve(self, code: str) -> Node:
        """The node, or the nearest ancestor of a well-formed code that is retired or unknown (36.01 -> 36.0).

        Raises:
            InputError: the code is malformed, or lies in no chapter.
        """
        found = self._nearest(self._well_formed(code))
        if found is None:
            raise InputError(f"{code!r} lies in no chapter of {self.name}")
        return self.node(found)

    def title(self, code: str) -> str:
        """Of a node; raises as `node` does."""
        return self.node(code).title

    def level(self, code: str) -> Level:
        """Of a node; raises as `node` does."""
        return self.node(code).level

    def billable(self, code: str) -> bool:
        """Of a node; raises as `node` does."""
        return self.node(code).billable

    def namesakes(self, code: str) -> tuple[str, ...]:
        """Other nodes with the same title."""
        same = self._by_title[self.title(code).lower()]
        return tuple(other for other in same if other != code)

    # The tree -----------------------------------------------------------------------------------------------------

    def parent(self, code: str) -> str | None:
        """The code above; for a retired code, the nearest ancestor."""
        if code in self._rows:
            return self._rows[code][1] or None
        return self.resolve(code).code

    def ancestors(self, code: str) -> tuple[str, ...]:
        """All codes above, chapter first; works for retired codes too."""
        above: list[str] = []
        parent = self.parent(code)
        while parent is not None:
            above.append(parent)
            parent = self._rows[parent][1] or None
        return tuple(reversed(above))

    def path(self, code: str) -> tuple[str, ...]:
        """The ancestors and the code itself."""
        return (*self.ancestors(code), code)

    def children(self, code: str) -> tuple[str, ...]:
        """The codes right below, sorted; none for a leaf."""
        return tuple(self._children.get(self.node(code).code, ()))

    def descendants(self, code: str) -> tuple[str, ...]:
        """All codes below, each parent before its children."""
        below: list[str] = []
        for child in self.children(code):
            below += (child, *self.descendants(child))
        return tuple(below)

    def codes(self, kind: Kind | None = None, billable: bool = True) -> tuple[str, ...]:
        """The billable codes of a kind (or of both) in tree order; with `billable=False`, every node."""
        return tuple(
            code
            for code, _, _, row_kind, row_billable, _ in self._rows.values()
            if kind in (None, row_kind) and (row_billable == "1" or not billable)
        )

    def search(self, text: str, limit: int = 10) -> list[tuple[Node, float]]:
        """Nodes whose title has the words of `text`, or whose code starts with it, best first, with scores > 0."""
        return [(self.node(code), score) for code, score in self._search.find(text, limit)]

    def search_notice(self, text: str) -> str | None:
        """One sentence where no word of two letters or more of `text` was found; None where one was, or for a code."""
        if self._search.knows(text):
            return None
        return f"no word of two letters or more was found in the titles of {self.name}"

    # ----------------------------------------------------------------------------------------------------------------

    @cached_property
    def _children(self) -> dict[str, list[str]]:
        children: dict[str, list[str]] = {}
        for code, parent, *_ in self._rows.values():
            children.setdefault(parent, []).append(code)
        return children

    @cached_property
    def _by_title(self) -> dict[str, list[str]]:
        by_title: dict[str, list[str]] = {}
        for code, row in self._rows.items():
            by_title.setdefault(row[5].lower(), []).append(code)
        return by_title

    @cached_property
    def _search(self) -> TitleSearch:
        return TitleSearch({code: row[5] for code, row in self._rows.items()})

    def _well_formed(self, code: str) -> str:
        if code not in self._rows and not any(shape.dotted.fullmatch(code) for shape in self._shapes):
            raise InputError(f"{code!r} is no dotted {self.name} code{self._hint(code)}")
        return code

    def _nearest(self, code: str) -> str | None:
        """The code, or its longest beginning that exists, or the section or chapter whose range holds it."""
        shorter = code
        while shorter and shorter not in self._rows:
            shorter = shorter[:-1].rstrip(".") if "." in shorter else ""
        if shorter:
            return shorter
        for level in ("section", "chapter"):
            for row in self._rows.values():
                if row[2] == level and in_range(category_of(code), row[0]):
                    return row[0]
        return None

    def _hint(self, code: str, kind: Kind | None = None) -> str:
        """The nearest code, for an error message, or the classification that it seems to be of."""
        for zeros in ("0", "00"):  # the commonest fault: read as a number, "04.07" becomes "4.07"
            if zeros + code in self._rows and kind in (None, self._rows[zeros + code][3]):
                return f" (a leading zero lost? did you mean {zeros + code!r}?)"
        if any(shape.dotted.fullmatch(code) for shape in self._shapes) and (near := self._nearest(code)):
            return f"; the nearest is {near!r}, {self._rows[near][5]}"
        if _ICD10.fullmatch(code):
            return "; is it of ICD-10?"
        same_start = [known for known in self._rows if known[:1] == code[:1]]
        near_codes = difflib.get_close_matches(code, same_start, n=1, cutoff=0.5)
        return f" (did you mean {near_codes[0]!r}?)" if near_codes else ""
