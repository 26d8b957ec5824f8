// The keyboard: every key of the page, and the table that the help shows.
import { byId } from "./dom.js";
import { askExport, askReason, askSubmit, isOpen, showHelp, showHistory } from "./dialogs.js";
import { accept, reject, remove, reorder, undo } from "./decide.js";
import { crossOver, move, toggleBelow } from "./codes.js";
import { nextPassage, toggleOnlyChosen, walkPassages } from "./note.js";
import { search } from "./search.js";
import { desk, tell } from "./state.js";
import { alarm } from "./dom.js";

const help = () => showHelp(KEYS, single);
const history = () => showHistory().catch((error) => alarm(error.message));

export const KEYS = [
  { group: "Codes", keys: ["j", "↓"], on: ["j", "ArrowDown"], what: "next code", act: () => move(1) },
  { group: "Codes", keys: ["k", "↑"], on: ["k", "ArrowUp"], what: "previous code", act: () => move(-1) },
  { group: "Codes", keys: ["a"], on: ["a"], what: "accept", act: () => accept() },
  { group: "Codes", keys: ["r"], on: ["r"], what: "reject", act: () => reject() },
  { group: "Codes", keys: ["R"], on: ["R"], what: "reject with a reason", act: askReason },
  { group: "Codes", keys: ["x"], on: ["x", "Delete"], what: "take out: undecided again", act: () => remove() },
  { group: "Codes", keys: ["u"], on: ["u"], what: "undo your last decision", act: undo },
  { group: "Codes", keys: ["/"], on: ["/"], what: "search and add a code", act: search },
  { group: "Codes", keys: ["m"], on: ["m"], what: "show or hide codes below the threshold", act: toggleBelow },
  { group: "Code list", keys: ["c"], on: ["c"], what: "go to the list, or back to the suggestions", act: crossOver },
  { group: "Code list", keys: ["K"], on: ["K"], what: "move the code up; the first diagnosis is principal", act: () => reorder(desk.at.code, -1) },
  { group: "Code list", keys: ["J"], on: ["J"], what: "move the code down", act: () => reorder(desk.at.code, 1) },
  { group: "Code list", keys: ["s"], on: ["s"], what: "submit the review", act: askSubmit },
  { group: "Note", keys: ["e"], on: ["e"], what: "next passage of the chosen code", act: () => nextPassage(1) },
  { group: "Note", keys: ["E"], on: ["E"], what: "previous passage of the chosen code", act: () => nextPassage(-1) },
  { group: "Note", keys: ["]"], on: ["]"], what: "next passage of any code, and its code", act: () => walkPassages(1) },
  { group: "Note", keys: ["["], on: ["["], what: "previous passage of any code", act: () => walkPassages(-1) },
  { group: "Note", keys: ["v"], on: ["v"], what: "mark the chosen code's evidence alone", act: toggleOnlyChosen },
  { group: "Note", keys: ["t"], on: ["t"], what: "go to the text, to scroll it", act: () => byId("text").focus() },
  { group: "Worklist", keys: ["n"], on: ["n"], what: "next note that is not submitted", act: () => tell("next") },
  { group: "Worklist", keys: [">"], on: [">"], what: "next note", act: () => tell("step", 1) },
  { group: "Worklist", keys: ["<"], on: ["<"], what: "previous note", act: () => tell("step", -1) },
  { group: "Worklist", keys: ["w"], on: ["w"], what: "go to the worklist", act: () => tell("worklist") },
  { group: "Page", keys: ["h"], on: ["h"], what: "history of the review", act: history },
  { group: "Page", keys: ["d"], on: ["d"], what: "download an export", act: askExport },
  { group: "Page", keys: ["?"], on: ["?"], what: "this table", act: help },
  { group: "Page", keys: ["Esc"], on: ["Escape"], what: "close, or back to the chosen code", act: () => tell("focus") },
];

/** Whether letters alone act; who speaks or types with aids can turn that off. */
const single = {
  on: localStorage.getItem("desk-single-keys") !== "off",
  set(on) {
    single.on = on;
    localStorage.setItem("desk-single-keys", on ? "on" : "off");
  },
};

function keydown(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || isOpen()) return;
  const { target, key } = event;
  const typing = target.matches?.("input:not([type=checkbox]), textarea, select");
  if (typing && key !== "Escape") return;
  const arrow = key.startsWith("Arrow");
  if (arrow && (event.shiftKey || !target.closest?.(".codes") && target !== document.body)) return;
  const found = KEYS.find((entry) => entry.on.includes(key));
  if (!found || (!single.on && !event.altKey && key.length === 1)) return;
  if (event.altKey && single.on && !arrow) return;
  event.preventDefault();
  if (event.altKey && arrow) reorder(desk.at.code, key === "ArrowUp" ? -1 : 1);
  else found.act();
}

export function start() {
  document.addEventListener("keydown", keydown);
  byId("help").addEventListener("click", help);
}
