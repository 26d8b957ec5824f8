// Search among all codes of the classification; what is chosen joins the list.
import { ask } from "./api.js";
import { bdi, byId, fill, h, say } from "./dom.js";
import { open } from "./dialogs.js";
import { add } from "./decide.js";
import { SHORT } from "./codes.js";
import { choose, desk, stateOf, suggestion, tell } from "./state.js";

const WAIT_MS = 100;

export function search() {
  if (!desk.suggestions || desk.review.submitted) return say("Codes are added to an open review.");
  const marked = getSelection().toString().replace(/\s+/g, " ").trim().slice(0, 100);
  let found = [];
  let place = 0;
  let timer = 0;
  let asked = null;

  const input = h("input", {
    id: "search-words", type: "text", enterkeyhint: "search", role: "combobox", "aria-expanded": "false", "aria-controls": "search-found",
    "aria-autocomplete": "list", autocomplete: "off", spellcheck: "false", maxlength: "200", autofocus: true, value: marked,
    placeholder: "Words of the title, or the beginning of a code",
  });
  const list = h("ul", { id: "search-found", role: "listbox", "aria-label": "Codes" });
  const told = h("p", { class: "facts", role: "status" });

  const why_not = (entry) => {
    if (!entry.billable) return "not billable: has codes below it";
    if (stateOf(entry.code) === "accepted") return "in the list already";
    return null;
  };

  const paint = () => {
    const items = found.map((entry, i) => {
      const reason = why_not(entry);
      const hint = suggestion(entry.code) ? `suggested, rank ${suggestion(entry.code).rank}` : entry.known_to_coder ? "" : "this coder never suggests it";
      return h(
        "li",
        {
          id: `found-${i}`, role: "option", "aria-selected": String(i === place), "aria-disabled": reason ? "true" : null,
          on: { click: () => take(i), mousemove: () => place !== i && ((place = i), paint()) },
        },
        h("span", { class: "code" }, entry.code),
        h("span", { class: `kind ${entry.kind}` }, SHORT[entry.kind]),
        h("span", { class: "title" }, bdi(entry.title)),
        h("span", { class: "facts" }, entry.path.slice(0, -1).join(" › "), reason || hint ? ` · ${reason ?? hint}` : ""),
      );
    });
    fill(list, items);
    input.setAttribute("aria-expanded", String(items.length > 0));
    if (items.length) input.setAttribute("aria-activedescendant", `found-${place}`);
    else input.removeAttribute("aria-activedescendant");
    list.children[place]?.scrollIntoView({ block: "nearest" });
  };

  const look = async () => {
    asked?.abort();
    asked = new AbortController();
    const words = input.value.trim();
    if (!words) {
      found = [];
      told.textContent = "";
      return paint();
    }
    try {
      const query = new URLSearchParams({ q: words, limit: "30" });
      const { codes, notice } = await ask(`v1/codes?${query}`, { signal: asked.signal });
      found = codes;
      place = Math.max(0, found.findIndex((entry) => !why_not(entry)));
      told.textContent = found.length ? `${found.length} codes` : `No code fits these words${notice ? `: ${notice}` : ""}.`;
      paint();
    } catch (error) {
      if (error.name !== "AbortError") told.textContent = error.message;
    }
  };

  const take = (i) => {
    const entry = found[i];
    if (!entry) return;
    const reason = why_not(entry);
    if (reason) return (told.textContent = `${entry.code}: ${reason}.`);
    dialog.close();
    desk.at = { list: "listed", code: entry.code };
    add(entry.code);
    tell("choice");
  };

  const keydown = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step && found.length) place = (place + step + found.length) % found.length;
    else if (event.key !== "Enter") return;
    event.preventDefault();
    if (step) paint();
    else take(place);
  };

  input.addEventListener("keydown", keydown);
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(look, WAIT_MS);
  });
  const dialog = open(
    "Search and add a code",
    () => [
      h("label", { class: "hidden", for: "search-words" }, "Search among all codes"),
      input,
      told,
      list,
      h("p", { class: "facts" }, "↑ ↓ choose, Enter adds, Esc closes. Words marked in the note are searched for."),
    ],
    { name: "wide search", closed: () => desk.at.code && choose(desk.at.list, desk.at.code, { seek: false }) },
  );
  input.select();
  if (marked) look();
}

export function start() {
  byId("search").addEventListener("click", search);
}
