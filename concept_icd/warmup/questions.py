"""Notes with labelled yes/no questions: what warm-up learns from.

Four makers, one record: made-up notes about random codes, real notes in which wordings of codes were found (a
dictionary and general negation cues, no gold codes), passages about a topic, and the same for evaluation with
wordings and codes that training never shows.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from concept_icd.ontology.concepts import node_text
from concept_icd.ontology.nchs import lists_and_indexes
from concept_icd.ontology.tree import load_ontology
from concept_icd.ontology.wordings import find_phrases, read_entries, read_inclusions
from concept_icd.records import OneLine
from concept_icd.text.words import stems, words_of
from concept_icd.warmup.data import CodeTerms, OpenText, Topic, collect_terms, sentences
from concept_icd.warmup.notes import Mention, Status, compose_note

#: Shares of the makers: made-up notes, passages about topics, real notes.
SHARES = (0.65, 0.15, 0.20)
QUESTIONS = 16
#: Share of questions that ask for a phrase instead of a title.
PHRASES = 0.25

_RELATIVES = re.compile(r"\b(family history|mother|father)\b")


@dataclass(frozen=True, repr=False)
class QuestionedNote(OneLine):
    """A note and questions about it.

    Attributes:
        questions: words of the concepts. labels: 1.0 where the note documents it, else 0.0.
        levels: what each question is, for the evaluation: a level of the tree, or "topic".
    """

    text: str
    questions: tuple[str, ...]
    labels: tuple[float, ...]
    levels: tuple[str, ...]


class QuestionMaker:
    """Draws notes with questions. Everything drawn follows from the random generator that is passed in."""

    def __init__(self, terms: CodeTerms, text: OpenText) -> None:
        self.terms, self.text = terms, text
        self._below = {code: frozenset(path) for code, path in terms.paths.items()}
        self._siblings: dict[str, list[str]] = {}
        unseen = set(terms.withheld_codes)
        for code, path in terms.paths.items():
            if len(path) > 1 and code not in unseen:
                self._siblings.setdefault(path[-2], []).append(code)
        self._sharing: dict[tuple[str, ...], set[str]] = {}  # some phrases belong to several codes
        for group in (terms.wordings, terms.withheld):
            for code, phrases in group.items():
                for phrase in phrases:
                    self._sharing.setdefault(words_of(phrase), set()).update(terms.paths[code])
        self._sentences = tuple(filter(None, (sentences(note) for note in text.notes)))
        self._topics = tuple(topic for topic in text.topics if topic.passages)
        self._topics_by_word: dict[str, list[Topic]] = {}
        for topic in text.topics:
            for word in set(words_of(topic.names[0])):
                self._topics_by_word.setdefault(word, []).append(topic)
        self._codes_of_topic = {
            topic.names: [found for name in topic.names if (found := terms.named.get(tuple(stems(name))))]
            for topic in self._topics
        }

    def draw(self, rng: random.Random, easy: float = 0.0) -> QuestionedNote:
        """One note for training: with probability `easy` the literal one, else by one of the three makers."""
        if rng.random() < easy:
            return self.literal(rng)
        maker = rng.choices((self.made_up, self.about_topic, self.real_note), SHARES)[0]
        return maker(rng) or self.made_up(rng)

    def literal(self, rng: random.Random) -> QuestionedNote:
        """A list of a few short phrases: which does it say? Finding words again comes before knowing what they mean."""
        words: dict[str, None] = {}
        while len(words) < 8:
            phrase = self.terms.words(self.terms.draw(rng), rng)
            if len(phrase) <= 24:
                words[phrase] = None
        said = tuple(words)[: rng.randint(3, 5)]
        asked = [(phrase, float(phrase in said), "phrase") for phrase in words]
        return _record(rng.choice((", ", "; ", ". ", "\n")).join(said), asked, rng)

    def made_up(self, rng: random.Random) -> QuestionedNote:
        """A note composed of one to six codes, some of them negated, uncertain or of the family."""
        mentions: list[Mention] = []
        for _ in range(rng.choice((1, 1, 2, 2, 3, 3, 4, 5, 6))):
            code = self.terms.draw(rng)
            if mentions and rng.random() < 0.25:  # a neighbour of the one before, to be told apart
                near = self._neighbour(mentions[-1].code, rng)
                code = near if near is not None and near in self.terms.wordings else code
            status: Status = rng.choices(("present", "absent", "uncertain", "family"), (0.7, 0.17, 0.1, 0.03))[0]
            mentions.append(Mention(code, self.terms.words(code, rng), status))
        return self._ask(compose_note(mentions, rng), mentions, rng)

    def held_out(self, rng: random.Random) -> QuestionedNote:
        """A made-up note that says one to three codes in wordings (or of codes) that training never shows."""
        codes = [rng.choice(tuple(self.terms.withheld)) for _ in range(rng.randint(1, 3))]
        statuses: list[Status] = ["present", *rng.choices(("present", "absent", "uncertain"), (0.7, 0.2, 0.1), k=2)]
        mentions = [
            Mention(code, rng.choice(self.terms.withheld[code]), status)
            for code, status in zip(codes, statuses, strict=False)
        ]
        return self._ask(compose_note(mentions, rng), mentions, rng)

    def real_note(self, rng: random.Random) -> QuestionedNote | None:
        """A few sentences of an open note, with the codes whose wordings stand there; None where there are none."""
        if not self._sentences:
            return None
        whole = rng.choice(self._sentences)
        start = rng.randrange(max(1, len(whole) - 4))
        part = whole[start : start + rng.randint(2, 6)]
        mentions: list[Mention] = []
        for clause, begin, end, code in find_phrases("\n".join(part), self.terms.named):
            there = clause.status(begin) == "+" and not _RELATIVES.search(f"{clause.heading} {clause.text}")
            mentions.append(Mention(code, clause.text[begin:end], "present" if there else "absent"))
        return self._ask("\n".join(part), mentions, rng) if mentions else None

    def about_topic(self, rng: random.Random) -> QuestionedNote | None:
        """A passage about a condition: is it that condition, or another one with a similar name?"""
        if not self._topics:
            return None
        topic = rng.choice(self._topics)
        passage = rng.choice(topic.passages)
        asked: list[tuple[str, float, str]] = [
            (name, 1.0, "topic") for name in rng.sample(topic.names, min(3, len(topic.names)))
        ]
        known = {words_of(name) for name in topic.names}
        others = [rng.choice(self.text.topics) for _ in range(3)]
        for word in words_of(topic.names[0]):
            others += rng.sample(self._topics_by_word.get(word, []), min(1, len(self._topics_by_word.get(word, []))))
        for other in others[:6]:
            name = rng.choice(other.names)
            if words_of(name) not in known:
                asked.append((name, 0.0, "topic"))
        mentions = [Mention(code, topic.names[0], "present") for code in self._codes_of_topic[topic.names]]
        if not mentions:
            return _record(passage, asked, rng)
        coded = self._ask(passage, mentions, rng)
        asked += list(zip(coded.questions, coded.labels, coded.levels, strict=True))[: QUESTIONS - len(asked)]
        return _record(passage, asked, rng)

    def _ask(self, text: str, mentions: Sequence[Mention], rng: random.Random) -> QuestionedNote:
        """Positives are the paths of what is present; negatives are neighbours, what is not present, and any code.

        What lies below a present code is left out, and what shares its wording: the note does not say.
        """
        present = [mention.code for mention in mentions if mention.status == "present"]
        true = dict.fromkeys(ancestor for code in present for ancestor in self.terms.paths[code])
        exact = set(present)
        unclear = {c for m in mentions if m.status == "present" for c in self._sharing.get(words_of(m.words), ())}

        def false(code: str) -> bool:
            return code not in true and code not in unclear and not (self._below[code] & exact)

        positives = rng.sample(list(true), min(QUESTIONS // 2, len(true)))
        doubted = dict.fromkeys(c for m in mentions if m.status != "present" for c in self.terms.paths[m.code])
        negatives = [code for code in doubted if false(code)]
        negatives = rng.sample(negatives, min(4, len(negatives)))
        while len(positives) + len(negatives) < QUESTIONS:
            near = rng.random() < 0.4 and present
            other = self._neighbour(rng.choice(list(true)), rng) if near else self._anywhere(rng)
            if other is not None and false(other):
                negatives.append(other)
        said = {mention.code: mention.words for mention in mentions}
        asked = [self._in_words(code, 1.0, said, rng) for code in positives]
        asked += [self._in_words(code, 0.0, said, rng) for code in dict.fromkeys(negatives)]
        return _record(text, asked, rng)

    def _in_words(self, code: str, label: float, said: dict[str, str], rng: random.Random) -> tuple[str, float, str]:
        """A question as (words, label, level): the code's title, at times a phrase or the note's very words."""
        if code in self.terms.wordings and rng.random() < PHRASES:
            words = said[code] if code in said and rng.random() < 0.5 else self.terms.words(code, rng)
            shared = self._sharing.get(words_of(words), set()) & set(said)
            if words and (label or not shared - {code}):
                return words, label, "phrase"
        return self.terms.texts[code], label, str(len(self.terms.paths[code]))

    def _neighbour(self, code: str, rng: random.Random) -> str | None:
        path = self.terms.paths[code]
        if len(path) < 2 or path[-2] not in self._siblings:
            return None
        other = rng.choice(self._siblings[path[-2]])
        return other if other != code else None

    def _anywhere(self, rng: random.Random) -> str:
        """Any node on the path of a random code, so that wide concepts are asked as often as narrow ones."""
        return rng.choice(self.terms.paths[self.terms.draw(rng)])


def _record(text: str, asked: Sequence[tuple[str, float, str]], rng: random.Random) -> QuestionedNote:
    mixed = rng.sample(asked, len(asked))
    questions, labels, levels = zip(*mixed, strict=True)
    return QuestionedNote(text, questions, labels, levels)


def batches(
    maker: QuestionMaker, seed: int, first: int, notes: int, easy_steps: int = 0, group: int = 8
) -> Iterator[list[QuestionedNote]]:
    """Batches of notes of similar length from number `first` on, without end.

    Batches are drawn in groups of `group`, sorted by length, so that little is padding; the random numbers of a
    group follow from the seed and the group's number alone, so any batch can be made again after a restart. The
    first `easy_steps` batches are the literal ones alone, then the share of those falls to a twentieth.
    """
    number = first
    while True:
        start = number - number % group
        rng = random.Random(f"questions-{seed}-{start}")
        easy = min(1.0, max(0.05, 2 - start / easy_steps)) if easy_steps else 0.0
        drawn = [maker.draw(rng, easy) for _ in range(notes * group)]
        drawn.sort(key=lambda note: len(note.text) + sum(map(len, note.questions)))
        parts = [drawn[index * notes : (index + 1) * notes] for index in range(group)]
        rng.shuffle(parts)
        yield from parts[number - start :]
        number = start + group


def read_question_maker(data_dir: str | Path | None, text: OpenText, seed: int) -> QuestionMaker:
    """The question maker for the whole classification; the NCHS files are in `data_dir`/icd9cm/nchs_2011.

    Args:
        data_dir: None: titles alone, without inclusion terms and index.

    Raises:
        InputError: one of the NCHS files is missing or damaged.
    """
    ontology = load_ontology("icd9cm")
    texts = {code: node_text(ontology, code) for code in ontology.codes(billable=False)}
    inclusions: dict[str, list[str]] = {}
    entries: list[tuple[str, str]] = []
    if data_dir is not None:
        tabular, index = lists_and_indexes(data_dir)
        inclusions, entries = read_inclusions(tabular), read_entries(index, texts)
    terms = collect_terms(ontology, texts, inclusions, entries, text.topics, text.notes, seed)
    return QuestionMaker(terms, text)
