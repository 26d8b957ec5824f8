// The page: which note is open, what is asked of the server and when.
import { ask, askIfChanged, askPatiently, forget } from "./api.js";
import * as codes from "./codes.js";
import * as decide from "./decide.js";
import * as dialogs from "./dialogs.js";
import { alarm, bdi, byId, count, fill, h, say } from "./dom.js";
import * as keys from "./keys.js";
import { showMeasures } from "./measures.js";
import * as note from "./note.js";
import * as search from "./search.js";
import { accepted, choose, desk, nextUndecided, on, shown, tell } from "./state.js";
import * as worklist from "./worklist.js";

const WORKLIST_MS = 5000;
const REVIEW_MS = 3000;

const oneColumn = matchMedia("(max-width: 53.99rem), (max-height: 29.99rem)");

let opening = new AbortController();

async function openNote(key) {
  opening.abort();
  opening = new AbortController();
  const { signal } = opening;
  Object.assign(desk, { key, note: null, review: null, suggestions: null, evidence: null, against: null, below: false, conflict: null });
  desk.at = { list: "suggested", code: null };
  delete document.body.dataset.evidence;
  byId("suggestions-state").replaceChildren("Reading the note …");
  tell("suggestions");
  if (!key) return tell("note"), tell("review");
  closeDrawer();
  try {
    const found = await ask(`v1/notes/${key}`, { signal });
    const { review, ...rest } = found;
    Object.assign(desk, { note: rest, review });
    tell("note");
    tell("review");
    if (!desk.name) await dialogs.askName({ needed: true });
    const waiting = (sentence, seconds) => {
      byId("suggestions-state").replaceChildren(`${sentence} Trying again in ${seconds} s.`);
    };
    const opened = await askPatiently(`v1/notes/${key}/open`, { method: "POST", body: {}, signal }, waiting);
    signal.throwIfAborted();
    Object.assign(desk, { suggestions: opened.suggestions, review: opened.review });
    tell("suggestions");
    tell("review");
    const first = nextUndecided(null) ?? shown()[0]?.code ?? accepted()[0]?.code;
    // In one column the first code stands below the note, which is to be read first.
    if (first) choose("suggested", first, { focus: !dialogs.isOpen() && !oneColumn.matches, seek: false });
    const number = desk.suggestions.codes.filter((entry) => entry.suggested).length;
    say(bdi(desk.note.note_id), `: ${count(number, "code")} suggested, ${desk.review.undecided.length} undecided.`);
    pollWorklist();
    const { evidence, against } = await askPatiently(`v1/notes/${key}/evidence`, { signal }, waiting);
    signal.throwIfAborted();
    Object.assign(desk, { evidence, against });
    document.body.dataset.evidence = "known";
    tell("evidence");
    tell("seek");
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    byId("suggestions-state").replaceChildren(error.message);
    alarm(error.message);
  }
}

async function pollWorklist() {
  try {
    const found = await askIfChanged("v1/notes");
    if (!found) return;
    Object.assign(desk, found);
    tell("notes");
  } catch (error) {
    alarm(error.message);
  }
}

async function pollReview() {
  const { key } = desk;
  if (!key || !desk.suggestions || decide.busy()) return;
  try {
    const review = await askIfChanged(`v1/notes/${key}/review`);
    if (review && !decide.busy()) decide.take(review);
  } catch (error) {
    alarm(error.message);
  }
}

/** The address says what is shown: #/note/KEY, #/measures, or nothing. */
function route() {
  const [, view, key] = location.hash.split("/");
  const measures = view === "measures";
  byId("review-view").hidden = measures;
  byId("measures-view").hidden = !measures;
  for (const [id, current] of [["to-review", !measures], ["to-measures", measures]]) {
    if (current) byId(id).setAttribute("aria-current", "page");
    else byId(id).removeAttribute("aria-current");
  }
  byId("toggle-notes").hidden = byId("skip").hidden = measures;
  if (measures) {
    document.title = "Measures · concept-icd desk";
    return showMeasures();
  }
  byId("to-review").href = key ? `#/note/${key}` : desk.key ? `#/note/${desk.key}` : "#/";
  if ((key ?? null) !== desk.key) return openNote(/^[0-9a-f]{16}$/.test(key) ? key : null);
  tell("focus");
}

const goTo = (key) => {
  if (key) location.hash = `#/note/${key}`;
  return Boolean(key);
};

// The worklist is a drawer where the window is narrow.
function drawer(open) {
  document.body.classList.toggle("drawer", open);
  byId("toggle-notes").setAttribute("aria-expanded", String(open));
}
const closeDrawer = () => drawer(false);

function theme() {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(localStorage.getItem("desk-theme") ?? "system") + 1) % names.length];
  localStorage.setItem("desk-theme", next);
  applyTheme(next);
  paintTheme();
  say(`Theme: ${next}.`);
}
const paintTheme = () => fill(byId("theme"), `Theme: ${localStorage.getItem("desk-theme") ?? "system"}`);

async function start() {
  for (const part of [worklist, note, codes, decide, dialogs, search, keys]) part.start();
  byId("theme").addEventListener("click", theme);
  byId("skip").addEventListener("click", () => tell("focus"));
  byId("toggle-notes").addEventListener("click", () => drawer(!document.body.classList.contains("drawer")));
  paintTheme();
  on("next", async () => {
    if (!desk.notes.length) await pollWorklist();
    goTo(worklist.nextUnsubmitted()) || say("Every other note is submitted.");
  });
  on("step", (step) => goTo(worklist.neighbour(step)) || say("There is no further note."));
  on("worklist", () => {
    drawer(true);
    (byId("notes").querySelector("[aria-current], a") ?? byId("notes")).focus();
  });
  on("decided", pollWorklist);
  on("name", () => (forget("v1/notes"), pollWorklist()));
  addEventListener("hashchange", route);
  tell("note");
  tell("review");
  try {
    desk.me = await ask("v1/me");
    if (desk.me.named_by === "token") desk.name = desk.me.name;
    const model = (desk.model = await ask("v1/model"));
    byId("limits").replaceChildren(...model.warnings.map((sentence) => h("li", {}, sentence)));
    if (!desk.name) await dialogs.askName({ needed: true });
    else tell("name");
  } catch (error) {
    alarm(error.message);
  }
  await pollWorklist();
  drawer(!desk.key && !location.hash.includes("/note/"));
  route();
  setInterval(() => document.hidden || pollWorklist(), WORKLIST_MS);
  setInterval(() => document.hidden || pollReview(), REVIEW_MS);
  document.addEventListener("visibilitychange", () => document.hidden || (pollWorklist(), pollReview()));
}

start();
