// The note: its lines are made once; evidence is drawn by splitting only the lines that hold some.
import { bdi, byId, clock, count, fill, h, reveal, say } from "./dom.js";
import { choose, desk, on, stateOf, suggestion, tell } from "./state.js";

/** Lines a block; blocks out of sight are not laid out (content-visibility in desk.css). */
const BLOCK = 50;
const HEADING = /^\s*(?:[A-Z][A-Z0-9 /&,'()-]{1,60}|[A-Z][\w/&'()-]*(?: [\w/&'()-]+){0,4}):/;
/** Characters that turn the direction of what follows: shown by name, and shut in. */
const TURNS = /[\u202a-\u202e\u2066-\u2069]/g;
const TURN_NAMES = {
  "\u202a": "LRE", "\u202b": "RLE", "\u202c": "PDF", "\u202d": "LRO", "\u202e": "RLO",
  "\u2066": "LRI", "\u2067": "RLI", "\u2068": "FSI", "\u2069": "PDI",
};

let lines = []; // {text, start, element}
let passages = []; // {start, end, against, codes, marks}: evidence of its codes, or what speaks against them
let onlyChosen = false;
let visited = -1;

function showText(text) {
  lines = [];
  passages = [];
  const pane = byId("text");
  const blocks = [];
  let start = 0;
  for (const part of text.split(/(\r\n|\r|\n)/)) {
    if (!/^[\r\n]/.test(part)) {
      const element = h("div", { class: "line", dir: "auto" });
      lines.push({ text: part, start, element });
      draw(lines.at(-1), []);
      if (lines.length % BLOCK === 1) blocks.push(h("div", { class: "block" }));
      blocks.at(-1).append(element);
    }
    start += part.length;
  }
  pane.replaceChildren(...blocks);
  pane.scrollTop = 0;
}

/** Draws a line with the passages that lie in it. */
function draw(line, inside) {
  const { text, start, element } = line;
  const heading = HEADING.exec(text)?.[0].length ?? 0;
  const cuts = new Set([0, heading, text.length]);
  for (const turn of text.matchAll(TURNS)) cuts.add(turn.index).add(turn.index + 1);
  for (const passage of inside) {
    cuts.add(Math.max(0, passage.start - start)).add(Math.min(text.length, passage.end - start));
  }
  const places = [...cuts].sort((a, b) => a - b);
  const parts = [];
  for (let i = 0; i + 1 < places.length; i++) {
    const [from, to] = [places[i], places[i + 1]];
    let part = text.slice(from, to);
    if (TURN_NAMES[part]) part = h("bdi", { class: "turn", data: { name: TURN_NAMES[part] } }, part);
    if (to <= heading) part = h("strong", {}, part);
    const held = inside.filter((passage) => passage.start - start <= from && passage.end - start >= to);
    if (held.length) {
      part = h("mark", {}, part);
      for (const passage of held) passage.marks.push(part);
    }
    parts.push(part);
  }
  element.replaceChildren(...parts);
}

function lineAt(place) {
  let [low, high] = [0, lines.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (lines[middle].start <= place) low = middle;
    else high = middle - 1;
  }
  return low;
}

function showEvidence() {
  const found = new Map();
  for (const against of [false, true]) {
    for (const [code, spans] of Object.entries((against ? desk.against : desk.evidence) ?? {})) {
      for (const [start, end] of spans) {
        const key = `${start} ${end} ${against}`;
        if (!found.has(key)) found.set(key, { start, end, against, codes: [], marks: [] });
        found.get(key).codes.push(code);
      }
    }
  }
  const byRank = (code) => suggestion(code)?.rank ?? Infinity;
  passages = [...found.values()].sort((a, b) => a.start - b.start || a.end - b.end);
  const inLine = new Map();
  for (const passage of passages) {
    passage.codes.sort((a, b) => byRank(a) - byRank(b));
    for (let i = lineAt(passage.start); i < lines.length && lines[i].start < passage.end; i++) {
      if (!inLine.has(i)) inLine.set(i, []);
      inLine.get(i).push(passage);
    }
  }
  for (const [i, inside] of inLine) draw(lines[i], inside);
  byId("legend").hidden = !passages.length;
  visited = -1;
  colour();
}

/** Marks by what they are evidence of: the chosen code above accepted ones above suggested ones. What speaks against a
 * code is marked while that code is chosen. */
function colour() {
  const looks = new Map();
  const better = { suggested: 1, accepted: 2, against: 3, at: 4 };
  const states = new Map(Object.keys(desk.evidence ?? {}).map((code) => [code, stateOf(code)]));
  for (const passage of passages) {
    let look = null;
    if (passage.codes.includes(desk.at.code)) look = passage.against ? "against" : "at";
    else if (onlyChosen || passage.against) look = null;
    else if (passage.codes.some((code) => states.get(code) === "accepted")) look = "accepted";
    else if (passage.codes.some((code) => states.get(code) === "undecided")) look = "suggested";
    for (const mark of passage.marks) {
      if ((better[look] ?? 0) >= (better[looks.get(mark)] ?? 0)) looks.set(mark, look);
    }
  }
  for (const [mark, look] of looks) if (mark.className !== (look ?? "")) mark.className = look ?? "";
}

/** The passages of a code; `against` true or false picks a kind; without it both, the evidence first. */
export const passagesOf = (code, against = null) =>
  passages
    .filter((passage) => passage.codes.includes(code) && passage.against === (against ?? passage.against))
    .sort((a, b) => a.against - b.against);

function goTo(passage) {
  if (!passage?.marks.length) return;
  visited = passages.indexOf(passage);
  reveal(byId("text"), passage.marks[0], { centred: true });
  for (const mark of passage.marks) {
    mark.classList.remove("flash");
    void mark.offsetWidth; // starts the animation again
    mark.classList.add("flash");
  }
}

/** The next passage of the chosen code, around the end. */
export function nextPassage(step) {
  const own = passagesOf(desk.at.code);
  if (!own.length) return say(desk.at.code ? `${desk.at.code} has no evidence in the text.` : "No code is chosen.");
  const now = own.indexOf(passages[visited]);
  const next = own.at((now < 0 ? (step > 0 ? 0 : -1) : now + step) % own.length);
  goTo(next);
  say(`Passage ${own.indexOf(next) + 1} of ${own.length} of ${desk.at.code}${next.against ? ", against it" : ""}.`);
}

/** The next passage of any code; chooses its first code. */
export function walkPassages(step) {
  const evidence = passages.filter((passage) => !passage.against);
  if (!evidence.length) return say("No evidence is marked in this note.");
  const now = evidence.indexOf(passages[visited]);
  const next = evidence.at((now < 0 ? (step > 0 ? 0 : -1) : now + step) % evidence.length);
  // Who reads in the text stays there.
  choose("suggested", next.codes[0], { focus: document.activeElement !== byId("text"), seek: false });
  goTo(next);
  say(`Passage ${evidence.indexOf(next) + 1} of ${evidence.length}, evidence of ${next.codes.join(", ")}.`);
}

function clicked(event) {
  const mark = event.target.closest?.("mark");
  if (!mark || !getSelection().isCollapsed) return;
  // What is not to be seen cannot be meant.
  const inside = passages.filter((passage) => !passage.against && passage.marks.includes(mark));
  if (!inside.length) return;
  const codes = [...new Set(inside.flatMap((passage) => passage.codes))];
  codes.sort((a, b) => (suggestion(a)?.rank ?? Infinity) - (suggestion(b)?.rank ?? Infinity));
  // A second click goes on to the next code of the passage.
  const next = codes[(codes.indexOf(desk.at.code) + 1) % codes.length];
  choose("suggested", next, { seek: false });
  visited = passages.indexOf(inside.find((passage) => passage.codes.includes(next)));
  say(codes.length > 1 ? `Evidence of ${codes.join(", ")}. Click again for the next.` : `Evidence of ${next}.`);
}

function showHead() {
  const { note, review } = desk;
  byId("note-title").replaceChildren(note ? bdi(note.note_id) : "No note is open");
  const facts = note
    ? [
        note.age == null ? null : `${note.age} years`,
        note.sex && { F: "female", M: "male" }[note.sex],
        count(lines.length, "line"),
        note.drugs.length ? `drugs: ${note.drugs.join(", ")}` : null,
      ]
    : ["Choose one, or press n for the next that is not submitted."];
  byId("note-facts").replaceChildren(bdi(facts.filter(Boolean).join(" · ")));
  byId("note-here").replaceChildren(review?.here.length ? bdi(`Also open: ${review.here.join(", ")}`) : "");
  byId("history").hidden = !note;
  document.title = note ? `${note.note_id} · concept-icd desk` : "concept-icd desk";
}

function showBanners() {
  const { conflict, suggestions, review } = desk;
  const banners = [];
  if (conflict) {
    const dismiss = () => ((desk.conflict = null), tell("review"), tell("focus"));
    banners.push(
      h(
        "div",
        { class: "banner warn", id: "conflict" },
        h("p", {}, h("strong", {}, "Not recorded. "), bdi(conflict.sentence)),
        conflict.again &&
          h("button", { type: "button", class: "main", data: { focus: "again" }, on: { click: conflict.again } }, conflict.name),
        h("button", { type: "button", data: { focus: "dismiss" }, on: { click: dismiss } }, "Leave it"),
      ),
    );
  }
  if (suggestions?.unfamiliar) {
    const sentence = "The suggestions deserve less trust than usual.";
    banners.push(
      h(
        "div",
        { class: "banner warn", id: "unfamiliar" },
        h("p", {}, h("strong", {}, "This note is unlike those the coder was trained on. "), sentence),
      ),
    );
  }
  if (suggestions?.truncated) {
    const sentence = suggestions.truncated;
    banners.push(
      h("div", { class: "banner warn", id: "truncated" }, h("p", {}, h("strong", {}, "Not all of it was read. "), bdi(sentence))),
    );
  }
  if (review?.submitted) {
    const { by, at } = review.submitted;
    banners.push(
      h(
        "div",
        { class: "banner done", id: "submitted" },
        h("p", {}, h("strong", {}, "Submitted"), " by ", bdi(by), ` at ${clock(at)}.`),
        h("button", { type: "button", data: { focus: "reopen" }, on: { click: () => tell("reopen") } }, "Reopen"),
      ),
    );
  }
  fill(byId("banners"), banners);
}

function press(button, pressed) {
  byId(button).setAttribute("aria-pressed", String(pressed));
}

export function toggleOnlyChosen() {
  onlyChosen = !onlyChosen;
  press("only-chosen", onlyChosen);
  colour();
  say(onlyChosen ? "Only the chosen code's evidence is marked." : "The evidence of all codes is marked.");
}

export function start() {
  byId("text").addEventListener("click", clicked);
  byId("only-chosen").addEventListener("click", toggleOnlyChosen);
  byId("fixed-width").addEventListener("click", () => press("fixed-width", byId("text").classList.toggle("fixed")));
  on("note", () => {
    showText(desk.note?.text ?? "");
    byId("legend").hidden = true;
    showHead();
  });
  on("evidence", showEvidence);
  on("review", () => (colour(), showHead(), showBanners()));
  on("suggestions", showBanners);
  on("choice", colour);
  on("seek", () => goTo(passagesOf(desk.at.code)[0]));
}
