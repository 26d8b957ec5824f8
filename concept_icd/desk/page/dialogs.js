// Questions and panels above the page. A <dialog> keeps the keyboard inside and gives it back on closing.
import { alarm, bdi, byId, count, day, fill, h, kbd, say } from "./dom.js";
import { ask, download, login } from "./api.js";
import { accepted, desk, on, suggestion, tell } from "./state.js";
import { reject, submit } from "./decide.js";

let last = 0;

/** Opens a dialog; `content(close)` gives its children. It closes with Escape unless `needed`. */
export function open(title, content, { needed = false, name = "", closed = null } = {}) {
  const id = `dialog-${++last}`;
  const close = () => dialog.close();
  const heading = h("h2", { id }, title);
  const dialog = h(
    "dialog",
    { class: name, "aria-labelledby": id },
    h("div", { class: "head" }, heading, !needed && h("button", { type: "button", "aria-label": "Close", on: { click: close } }, "✕")),
    content(close),
  );
  if (needed) dialog.addEventListener("cancel", (event) => event.preventDefault());
  else dialog.addEventListener("click", (event) => event.target === dialog && close());
  dialog.addEventListener("close", () => (dialog.remove(), closed?.()));
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

export const isOpen = () => document.querySelector("dialog[open]") !== null;

/** Asks for one line of text; resolves to it, or to null. */
function question(title, label, { value = "", type = "text", needed = false, hint = "" } = {}) {
  return new Promise((resolve) => {
    let answer = null;
    const input = h("input", { id: "answer", type, value, required: true, maxlength: "80", autocomplete: "off", spellcheck: "false", autofocus: true });
    const send = (event) => {
      event.preventDefault();
      if (!input.value.trim()) return;
      answer = input.value.trim();
      dialog.close();
    };
    const form = () => [
      h("form", { on: { submit: send } }, h("label", { for: "answer" }, label), input, hint && h("p", { class: "facts" }, hint), h("p", { class: "choices" }, h("button", { class: "main" }, "Go on"))),
    ];
    const dialog = open(title, form, { needed, closed: () => resolve(answer) });
    input.select();
  });
}

let asking = null;
/** Asks for the token that the server wants; several requests ask once. */
export function askToken() {
  asking ??= question("This desk needs a token", "Token", { type: "password", needed: true }).then((token) => {
    login.token = token;
    sessionStorage.setItem("desk-token", token);
    asking = null;
  });
  return asking;
}

/** Asks who decides, and keeps it. */
export async function askName({ needed = false } = {}) {
  if (desk.me?.named_by === "token") return say("Your token says who you are: ", bdi(desk.me.name));
  const hint = "Every decision is recorded with this name.";
  const name = await question("Who reviews?", "Your name", { value: desk.name ?? desk.me?.suggested_name ?? "", needed, hint });
  if (!name) return;
  desk.name = name;
  localStorage.setItem("desk-name", name);
  tell("name");
}

const REASONS = ["Denied or ruled out", "Past, resolved", "Of a relative", "Not documented", "Another code is more exact", "Belongs to another code"];

/** Asks why a suggestion is rejected; digits choose. */
export function askReason() {
  const { code } = desk.at;
  if (!code || !suggestion(code)) return say("Only suggestions are rejected with a reason.");
  const dialog = open(`Why is ${code} rejected?`, (close) => {
    const choose = (reason) => (close(), reject(code, reason));
    const input = h("input", { id: "answer", maxlength: "200", autocomplete: "off" });
    const send = (event) => (event.preventDefault(), input.value.trim() && choose(input.value.trim()));
    return h(
      "div",
      {},
      h("ol", { class: "reasons-list" }, REASONS.map((reason, i) => h("li", {}, h("button", { type: "button", autofocus: i === 0, on: { click: () => choose(reason) } }, kbd(String(i + 1)), " ", reason)))),
      h("form", { on: { submit: send } }, h("label", { for: "answer" }, "Another reason"), input),
    );
  });
  dialog.addEventListener("keydown", (event) => {
    const button = dialog.querySelectorAll(".reasons-list button")[event.key - 1];
    if (event.target.id !== "answer" && button) (event.preventDefault(), button.click());
  });
}

export function askSubmit() {
  const { review, suggestions } = desk;
  if (!review || !suggestions) return say("No note is open.");
  if (review.submitted) return say("This review is submitted already.");
  const codes = accepted();
  const left = review.undecided.length;
  open("Submit this review?", (close) => {
    const go = (fields) => (close(), submit(fields));
    const name = left ? `Reject ${count(left, "undecided suggestion")} and submit` : "Submit";
    return h(
      "div",
      {},
      codes.length
        ? h("ol", { class: "summary" }, codes.map((entry) => h("li", {}, h("span", { class: "rank" }, String(entry.sequence)), h("span", { class: "code" }, entry.code), h("span", {}, bdi(entry.title)), entry.principal && h("span", { class: "principal" }, "Principal"))))
        : h("p", {}, "No code is accepted: this says that there is nothing to code in the note."),
      left ? h("p", { class: "facts" }, "Undecided: ", review.undecided.join(", ")) : null,
      h(
        "p",
        { class: "choices" },
        h("button", { type: "button", class: "main", autofocus: true, on: { click: () => go({ reject_undecided: left > 0, nothing_to_code: !codes.length }) } }, codes.length ? name : left ? `Nothing to code: reject ${left} and submit` : "Nothing to code: submit"),
        h("button", { type: "button", on: { click: close } }, "Go on reviewing"),
      ),
    );
  }, { name: "wide" });
}

export async function showHistory() {
  if (!desk.key) return say("No note is open.");
  const { events } = await ask(`v1/notes/${desk.key}/history`);
  const rows = events.toReversed().map((event) => {
    const { reason, undoes, order, codes } = event.detail;
    const what = reason ?? (undoes ? `takes back version ${undoes}` : order ? order.join(", ") : codes ? `${codes.length} listed` : "");
    return h(
      "tr",
      { class: event.undone ? "undone" : "" },
      h("td", { class: "number" }, event.version == null ? "" : String(event.version)),
      h("td", {}, h("time", { datetime: event.at }, day(event.at))),
      h("td", {}, bdi(event.by)),
      h("th", { scope: "row" }, event.action, event.undone ? " (undone)" : ""),
      h("td", { class: "code" }, event.code ?? ""),
      h("td", {}, bdi(what)),
    );
  });
  const names = ["Version", "When", "Who", "What", "Code", ""];
  open("History of this review", () => h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Events, newest first" }, h("table", {}, h("thead", {}, h("tr", {}, names.map((name) => (name ? h("th", { scope: "col" }, name) : h("td", {}))))), h("tbody", {}, rows))), { name: "wide" });
}

const FORMATS = [["jsonl", "JSONL", "training data for concept-icd prepare, with the notes' text"], ["csv", "CSV", "one line for each code, without text"], ["fhir.json", "FHIR R4", "Conditions, Procedures, Claims and Provenances in a bundle"]];

export function askExport() {
  open("Export", (close) => {
    const all = h("input", { type: "checkbox", id: "export-all" });
    const one = h("input", { type: "checkbox", id: "export-one", disabled: !desk.key });
    const save = async (format) => {
      const query = new URLSearchParams({ status: all.checked ? "all" : "submitted" });
      if (one.checked) query.append("key", desk.key);
      close();
      try {
        const { name, leftOut } = await download(`v1/export.${format}?${query}`);
        say(`Saved ${name}.`, leftOut ? ` ${count(leftOut, "review")} of notes that are not in this worklist left out.` : "");
      } catch (error) {
        alarm(error.message);
      }
    };
    return h(
      "div",
      {},
      h("p", { class: "check" }, all, h("label", { for: "export-all" }, "Reviews under way too, not only submitted ones")),
      h("p", { class: "check" }, one, h("label", { for: "export-one" }, "Only the open note")),
      h("ul", { class: "formats" }, FORMATS.map(([format, name, what], i) => h("li", {}, h("button", { type: "button", autofocus: i === 0, on: { click: () => save(format) } }, name), h("span", {}, what)))),
    );
  });
}

/** The keys, from keys.js, and the switch for them. */
export function showHelp(keys, single) {
  const groups = [...new Set(keys.map((key) => key.group))];
  open("Keys", () => {
    const box = h("input", { type: "checkbox", id: "single-keys", checked: single.on, on: { change: () => single.set(box.checked) } });
    return h(
      "div",
      {},
      h("div", { class: "keys" }, groups.map((group) => h("section", {}, h("h3", {}, group), h("dl", {}, keys.filter((key) => key.group === group).map((key) => h("div", {}, h("dt", {}, kbd(...key.keys)), h("dd", {}, key.what))))))),
      h("p", { class: "check" }, box, h("label", { for: "single-keys" }, "Single keys work (off: only Alt with the key)")),
      h("p", { class: "facts" }, Object.entries(desk.model?.versions ?? {}).map((pair) => pair.join(" ")).join(" · ")),
    );
  }, { name: "wide" });
}

export function start() {
  login.ask = askToken;
  byId("who").addEventListener("click", () => askName());
  byId("submit").addEventListener("click", askSubmit);
  byId("history").addEventListener("click", () => showHistory().catch((error) => alarm(error.message)));
  byId("export").addEventListener("click", askExport);
  const paint = () => fill(byId("who"), desk.name ? bdi(desk.name) : "Who?");
  on("name", paint);
  paint();
}
