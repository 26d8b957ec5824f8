// The notes that wait, with the state of their reviews.
import { bdi, byId, count, fill, h } from "./dom.js";
import { desk, on, tell } from "./state.js";

const STATUSES = [["all", "All"], ["new", "New"], ["open", "Open"], ["submitted", "Submitted"]];
const wanted = { status: "all", words: "" };

/** The notes that the filters leave. */
function visible() {
  const words = wanted.words.toLowerCase().split(/\s+/).filter(Boolean);
  return desk.notes.filter(
    (note) =>
      (wanted.status === "all" || note.status === wanted.status) &&
      words.every((word) => note.note_id.toLowerCase().includes(word)),
  );
}

/** The note `step` places from the open one; its key, or null at the end. */
export function neighbour(step) {
  const notes = visible();
  const place = notes.findIndex((note) => note.key === desk.key);
  return notes[place < 0 ? 0 : place + step]?.key ?? null;
}

/** The first note after the open one that is not submitted, around the end; its key, or null. */
export function nextUnsubmitted() {
  const place = desk.notes.findIndex((note) => note.key === desk.key) + 1;
  const order = [...desk.notes.slice(place), ...desk.notes.slice(0, place)];
  return order.find((note) => note.status !== "submitted" && note.key !== desk.key)?.key ?? null;
}

function facts(note) {
  if (note.status === "new") return `New · ${count(note.characters, "character")}`;
  const codes = count(note.accepted, "code");
  if (note.status === "submitted") return `Submitted · ${codes} · ${note.by}`;
  return `Open · ${codes}${note.undecided ? ` · ${note.undecided} undecided` : ""}`;
}

/** A name that may break where its words end. */
const breakable = (name) => name.split(/(?<=[_/.-])/).flatMap((part) => [part, h("wbr")]);

function item(note) {
  const place = note.note_id.lastIndexOf("/") + 1;
  const [folder, name] = [note.note_id.slice(0, place), note.note_id.slice(place)];
  return h(
    "li",
    {},
    h(
      "a",
      {
        href: `#/note/${note.key}`,
        class: `ticket ${note.status}`,
        "aria-current": note.key === desk.key ? "true" : null,
        data: { focus: note.key, key: note.key },
      },
      h("span", { class: "dot", "aria-hidden": "true" }),
      h("bdi", { class: "name" }, breakable(folder), h("b", {}, breakable(name))),
      h("span", { class: "facts" }, bdi(facts(note))),
      note.here.length ? h("span", { class: "here" }, bdi(note.here.join(", ")), " here") : null,
    ),
  );
}

function paint() {
  const notes = visible();
  fill(byId("notes"), notes.length ? notes.map(item) : h("li", { class: "empty" }, "No note fits the filter."));
  const total = desk.notes.length;
  fill(
    byId("statuses"),
    STATUSES.map(([status, name]) =>
      h(
        "button",
        {
          type: "button",
          "aria-pressed": String(wanted.status === status),
          data: { focus: status },
          on: { click: () => ((wanted.status = status), paint()) },
        },
        `${name} ${status === "all" ? total : desk.counts[status]}`,
      ),
    ),
  );
}

export function start() {
  byId("note-filter").addEventListener("input", (event) => {
    wanted.words = event.target.value;
    paint();
  });
  byId("next").addEventListener("click", () => tell("next"));
  on("notes", paint);
  on("note", () => {
    paint();
    byId("notes").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest" });
  });
}
