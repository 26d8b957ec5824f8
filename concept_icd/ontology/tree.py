"""The classification as trees: a code's kind, level, title, parents and descendants, and when it was billable.

The rest of the package asks for codes only through `load_ontology`. It knows the tables in `ontology/` and nothing
of notes or models. How a code is spelt stands in `code_shapes`; a new classification is new tables and new shapes.

A code is text, always: leading zeros dropped by a number have spoilt published label sets.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from functools import cached_property, lru_cache
from pathlib import Path

from concept_icd.errors import InputError
from concept_icd.ontology import misspelt
from concept_icd.ontology.code_shapes import EDITIONS, SHAPES, CodeShape, category_of, in_range
from concept_icd.ontology.fiscal_years import days_of, first_day, fiscal_year, in_words, last_day
from concept_icd.ontology.node import Node as Node
from concept_icd.ontology.node_table import Entry, NodeTable
from concept_icd.ontology.search import TitleSearch
from concept_icd.records import Kind, Level
from concept_icd.resources import resource

TABLES: dict[Kind, str] = {"diagnosis": "diagnoses", "procedure": "procedures"}
#: Codes of earlier editions that the tables lack; a classification may do without.
RETIRED = "retired.tsv"
#: Children that a sentence names.
NAMED = 8


DEFAULT = "icd9cm"  # what folders that say nothing of their classification are of


@lru_cache(maxsize=4)
def load_ontology(name: str = DEFAULT) -> Ontology:
    """The classification called `name`; its tables are read when they are first needed, once.

    Raises:
        InputError: no such classification is shipped.
    """
    if name not in SHAPES:
        raise InputError(f"there is no classification {name!r}; shipped are {', '.join(sorted(SHAPES))}")
    return Ontology(name, resource(f"ontology/{name}"), SHAPES[name])


#: A longer text in the place of a code may be a note's, and is not quoted.
_LONGEST_QUOTED = 20


class Ontology:
    """Trees of codes, read from the tables of a folder (see ontology/README.md for their columns).

    >>> load_ontology("icd10").path("E11.65")
    ('E00-E89', 'E08-E13', 'E11', 'E11.6', 'E11.65')
    >>> load_ontology("icd10").billable("U07.1", on=date(2020, 3, 31))
    False
    """

    def __init__(self, name: str, folder: Path, shapes: tuple[CodeShape, ...]) -> None:
        self.name = name
        self._folder = folder
        self._shapes = {shape.kind: shape for shape in shapes}
        self._tables: dict[Kind, NodeTable] = {}

    def __contains__(self, code: object) -> bool:
        return isinstance(code, str) and self._find(code) is not None

    def __len__(self) -> int:
        return sum(len(self._table(kind)) for kind in self._shapes)

    # The classification as a whole ----------------------------------------------------------------------------------

    @property
    def editions(self) -> tuple[int, int] | None:
        """The first and last fiscal year that the trees hold; None where they are one edition."""
        return EDITIONS.get(self.name)

    @property
    def full_name(self) -> str:
        """ "ICD-9-CM", or "ICD-10-CM and ICD-10-PCS"."""
        return " and ".join(dict.fromkeys(shape.display for shape in self._shapes.values()))

    def levels(self, kind: Kind) -> tuple[Level, ...]:
        """Names of the levels of a kind, widest first.

        >>> load_ontology("icd10").levels("procedure")[:3]
        ('section', 'body system', 'operation')
        """
        return self._shapes[kind].levels

    def display(self, kind: Kind) -> str:
        """The name that people use for a kind's classification, such as "ICD-10-PCS"."""
        return self._shapes[kind].display

    def system(self, kind: Kind) -> str:
        """The URI of a kind's code system in FHIR."""
        return self._shapes[kind].system

    # Spelling -------------------------------------------------------------------------------------------------------

    def parse(self, text: str, kind: Kind | None = None) -> str:
        """The code that `text` spells, dotted or not, in any case, as it is written; it need not exist.

        ICD-9-CM: "428.0", "4280" with kind "diagnosis", "v300" and "36" (the procedure category) all parse. Without a
        kind, digits alone are a diagnosis when there are three or five and a procedure when there are two; four digits
        could be either. ICD-10: "e1165" is E11.65, "0dtj4zz" is 0DTJ4ZZ; where a diagnosis without its dot is spelt
        like the beginning of a procedure, the one that exists is meant ("D649" is D64.9, "B010" needs a kind).

        Raises:
            InputError: it is no code of this classification, or not of this kind, or of either kind, without a kind.
        """
        if not isinstance(text, str):
            raise InputError(f"the code {text!r} is a {type(text).__name__}; codes are text, numbers lose their zeros")
        code = text.strip().upper()
        shapes = [shape for shape in self._shapes.values() if kind in (None, shape.kind)]
        found = self._find(code)
        own = self._shapes[found[0].kind] if found and kind in (None, found[0].kind) else None
        own = own or next((shape for shape in shapes if shape.dotted.fullmatch(code)), None)
        if own and (own.before_dot or "-" in code):
            return code
        readings = {shape.add_dot(code) for shape in shapes if shape.dotted.fullmatch(shape.add_dot(code))}
        if own and len(readings) > 1:  # a code without a dot, spelt like another kind's that lost it
            readings = {other for other in readings if other in self} or readings
        if len(readings) == 1:
            return readings.pop()
        if readings:
            raise InputError(f"{text!r} may be {' or '.join(sorted(readings))}; write the dot or name the kind")
        wanted = f"{self.name} {kind or 'diagnosis or procedure'} code"
        if len(code) > _LONGEST_QUOTED or (" " in code and not any(character.isdigit() for character in code)):
            raise InputError(f"a text of {len(text)} characters is no {wanted}")
        raise InputError(f"{text!r} is no {wanted}{self._hint(code, kind)}")

    def kind(self, code: str) -> Kind:
        """Of a node or of any well-formed code."""
        found = self._find(code)
        if found:
            return found[0].kind
        self._require_well_formed(code)
        return next(shape.kind for shape in self._shapes.values() if shape.dotted.fullmatch(code))

    def had(self, code: str) -> bool:
        """Whether some edition had this well-formed code, billable or not.

        The diagnoses are known for certain, and all of ICD-10. Of the procedures of ICD-9-CM that were retired no full
        list is at hand, so that one below an inner node (36.01 below 36.0) counts as had.

        >>> [load_ontology().had(code) for code in ("038.9", "250.0", "719.70", "36.01", "486.0", "E119")]
        [True, True, True, True, False, False]
        """
        if code in self or code in self._retired:
            return True
        if self.editions or self.kind(code) != "procedure":
            self._require_well_formed(code)
            return False
        above = self._nearest(code)
        return above is not None and "-" not in above and not self.billable(above)

    # Nodes ----------------------------------------------------------------------------------------------------------

    def node(self, code: str) -> Node:
        """The node of exactly this code.

        Raises:
            InputError: the classification has no such code; the sentence names the nearest one.
        """
        found = self._find(code)
        if found is None:
            raise InputError(f"{code!r} is not in {self.name}{self._hint(code)}")
        table, row = found
        entry = table.entry(row)
        listed, days = None, None
        if self.editions:
            first, _, last = entry.listed.partition("/")
            listed = int(first), int(last)
            days = days_of(entry.billable) if entry.billable else None
        billable = table.billable(row)
        return Node(entry.code, table.kind, entry.level, entry.title, billable, entry.parent or None, listed, days)

    def resolve(self, code: str) -> Node:
        """The node, or the nearest ancestor of a well-formed code that is retired or unknown (36.01 -> 36.0).

        Raises:
            InputError: the code is malformed, or lies in no chapter.
        """
        if code not in self:
            self._require_well_formed(code)
        found = self._nearest(code)
        if found is None:
            raise InputError(f"{code!r} lies in no chapter of {self.name}")
        return self.node(found)

    def title(self, code: str) -> str:
        """Of a node; raises as `node` does."""
        return self.node(code).title

    def level(self, code: str) -> Level:
        """Of a node; raises as `node` does."""
        return self.node(code).level

    def concept_level(self, code: str) -> Level:
        """The level of a node as a concept, one of `records.LEVELS`; raises as `node` does."""
        return self._shapes[(node := self.node(code)).kind].concept_level(node.level)

    def billable(self, code: str, on: date | int | None = None) -> bool:
        """Of a node; raises as `node` does.

        Args:
            on: a day, or a fiscal year, on some day of which it was billable; without it, at some time. A day after the
                last edition is judged by that. A classification of one edition takes no heed of it.
        """
        node = self.node(code)
        if on is None or self.editions is None:
            return node.billable
        if node.billable_days is None:
            return False
        newest = last_day(self.editions[1])
        first, last = (first_day(on), last_day(on)) if isinstance(on, int) else (on, on)
        return node.billable_days[0] <= min(last, newest) and min(first, newest) <= node.billable_days[1]

    def why_not_billable(self, code: str, on: date | int | None = None) -> str | None:
        """One sentence that says why no claim may bear a code, with the codes below a header, or the code's years.

        None where it may; of what is no code, what `node` says.

        >>> load_ontology("icd10").why_not_billable("E11.1", on=2024)
        "'E11.1' is a header, not a billable code; below it are E11.10, E11.11"
        """
        try:
            node, billable = self.node(code), self.billable(code, on)
        except InputError as error:
            return str(error)
        if billable:
            return None
        below = [child for child in self.children(code) if on is None or self.had_on(child, on)]
        more = f" and {len(below) - NAMED} more" if len(below) > NAMED else ""
        offered = f"below it are {', '.join(below[:NAMED])}{more}" if below else ""
        if node.billable_days:
            when = f"in the fiscal year {on}" if isinstance(on, int) else f"on {on}"
            said = f"{code!r} is not billable {when}, only {in_words(node.billable_days)}"
            return f"{said}; {offered}" if offered else said
        return f"{code!r} is a header, not a billable code{'; ' + offered if offered else ''}"

    def had_on(self, code: str, on: date | int) -> bool:
        """Whether the edition of a day or fiscal year lists the node; raises as `node` does."""
        listed = self.node(code).listed
        if listed is None or self.editions is None:
            return True
        year = min(on if isinstance(on, int) else fiscal_year(on), self.editions[1])
        return listed[0] <= year <= listed[1]

    def namesakes(self, code: str) -> tuple[str, ...]:
        """Other nodes with the same title."""
        same = self._by_title[self.title(code).lower()]
        return tuple(other for other in same if other != code)

    # The tree -------------------------------------------------------------------------------------------------------

    def parent(self, code: str) -> str | None:
        """The code above; for a retired code, the nearest ancestor."""
        found = self._find(code)
        if found is None:
            return self.resolve(code).code
        table, row = found
        above = table.parent(row)
        return None if above is None else table.code(above)

    def ancestors(self, code: str) -> tuple[str, ...]:
        """All codes above, widest first; works for retired codes too."""
        above: list[str] = []
        parent = self.parent(code)
        while parent is not None:
            above.append(parent)
            parent = self.parent(parent)
        return tuple(reversed(above))

    def path(self, code: str) -> tuple[str, ...]:
        """The ancestors and the code itself."""
        return (*self.ancestors(code), code)

    def children(self, code: str) -> tuple[str, ...]:
        """The codes right below, sorted; none for a leaf."""
        table, row = self._find(self.node(code).code) or (None, 0)
        return tuple(table.code(child) for child in table.children(row)) if table else ()

    def descendants(self, code: str) -> tuple[str, ...]:
        """All codes below, each parent before its children."""
        table, row = self._find(self.node(code).code) or (None, 0)
        return tuple(table.code(below) for below in table.descendants(row)) if table else ()

    def codes(self, kind: Kind | None = None, billable: bool = True) -> tuple[str, ...]:
        """The billable codes of a kind (or of both) in tree order; with `billable=False`, every node."""
        tables = [self._table(own) for own in self._shapes if kind in (None, own)]
        return tuple(
            table.code(row) for table in tables for row in range(len(table)) if not billable or table.billable(row)
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

    def _table(self, kind: Kind) -> NodeTable:
        if kind not in self._tables:
            plain = self._folder / f"{TABLES[kind]}.tsv"
            self._tables[kind] = NodeTable(plain if plain.is_file() else plain.with_suffix(".tsv.gz"), kind)
        return self._tables[kind]

    def _find(self, code: str) -> tuple[NodeTable, int] | None:
        """Where a node stands; only the table of its kind is read."""
        for kind, shape in self._shapes.items():
            if shape.node.fullmatch(code):
                row = self._table(kind).row(code)
                if row is not None:
                    return self._table(kind), row
        return None

    @cached_property
    def _retired(self) -> frozenset[str]:
        file = self._folder / RETIRED
        lines = file.read_text(encoding="utf-8").split("\n") if file.is_file() else []
        return frozenset(line.split("\t")[0] for line in lines[1:] if line)

    def _every_code(self) -> Iterator[str]:
        for table in map(self._table, self._shapes):
            yield from map(table.code, range(len(table)))

    def _entries(self) -> Iterator[Entry]:
        for table in map(self._table, self._shapes):
            yield from map(table.entry, range(len(table)))

    @cached_property
    def _by_title(self) -> dict[str, list[str]]:
        by_title: dict[str, list[str]] = {}
        for entry in self._entries():
            by_title.setdefault(entry.title.lower(), []).append(entry.code)
        return by_title

    @cached_property
    def _search(self) -> TitleSearch:
        """Over the titles, but for axes whose words alone say too little ("Open", "No Device")."""
        bare = {(shape.kind, level) for shape in self._shapes.values() for level in shape.bare}
        tables = map(self._table, self._shapes)
        shown = ((table, entry) for table in tables for entry in map(table.entry, range(len(table))))
        titles = {entry.code: entry.title for table, entry in shown if (table.kind, entry.level) not in bare}
        return TitleSearch(titles, [shape.beginning for shape in self._shapes.values()])

    def _require_well_formed(self, code: str) -> None:
        if not any(shape.dotted.fullmatch(code) for shape in self._shapes.values()):
            raise InputError(f"{code!r} is no dotted {self.name} code{self._hint(code)}")

    def _nearest(self, code: str) -> str | None:
        """The code, or its longest beginning that exists, or the section or chapter whose range holds it."""
        dotless = any(not shape.before_dot and shape.dotted.fullmatch(code) for shape in self._shapes.values())
        shorter = code
        while shorter and shorter not in self:
            shorter = shorter[:-1].rstrip(".") if "." in shorter or dotless else ""
            if dotless and len(shorter) == 3 and f"{shorter}-" in self:
                shorter += "-"
        if shorter:
            return shorter
        ranges = [entry for entry in self._entries() if "-" in entry.code and in_range(category_of(code), entry.code)]
        for level in ("section", "chapter"):
            found = [entry.code for entry in ranges if entry.level == level]
            if found:
                return found[0] if self.editions is None else found[-1]  # the narrowest stands last
        return None

    def _hint(self, code: str, kind: Kind | None = None) -> str:
        """The nearest code, for an error message, or the classification that it seems to be of."""

        def exists(other: str) -> bool:
            found = self._find(other)
            return found is not None and kind in (None, found[0].kind)

        dotless = any(shape.before_dot is None for shape in self._shapes.values())
        if said := misspelt.repaired(code, exists, dotless):
            return said
        for name in SHAPES if self.editions else ():
            spelt = {code, *(shape.add_dot(code) for shape in SHAPES[name])}
            if name != self.name and any(other in load_ontology(name) for other in spelt):
                return f"; it is a code of {load_ontology(name).full_name}"
        own = [shape for shape in self._shapes.values() if shape.dotted.fullmatch(code)]
        if own and (near := self._nearest(code)):
            abroad = ", in no US edition, perhaps of another country's (WHO, GM, AM)"
            shown = abroad if self.editions and own[0].before_dot else ""
            return f"{shown}; the nearest is {near!r}, {self.title(near)}"
        if self.editions is None and misspelt.of_icd10(code):
            return "; is it of ICD-10?"
        if self.editions and (said := misspelt.foreign(code)):
            return said
        return misspelt.close(code, self._every_code())
