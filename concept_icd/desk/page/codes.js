// The right side: what is suggested, by rank, and the list that will be submitted, in sequence.
import { bar, bdi, byId, count, fill, h, kbd, reveal, say } from "./dom.js";
import { accepted, choose, codesOf, desk, on, stateOf, suggestion, tell } from "./state.js";
import { passagesOf } from "./note.js";

export const SHORT = { diagnosis: "Dx", procedure: "Px" };
const PRINCIPAL = "The condition established after study to be chiefly responsible for the admission";
/** Concepts beside the path that are shown. */
const OTHERS = 3;
let rows = new Map();

// Suggested ----------------------------------------------------------------------------------------------------------

function act(action, code, name, sign, list) {
  const button = h("button", { type: "button", class: `act ${action}`, data: { focus: `${list}:${code}:${action}` } }, sign);
  button.setAttribute("aria-label", `${name} ${code}`);
  button.title = `${name} ${code}`;
  button.addEventListener("click", () => (choose(list, code, { focus: false, seek: false }), tell(action)));
  return button;
}

function row(entry) {
  const { code, kind, title, probability, rank } = entry;
  const pick = h(
    "button",
    { type: "button", class: "pick", data: { focus: `suggested:${code}` }, on: { click: () => choose("suggested", code) } },
    h("span", { class: "rank" }, String(rank)),
    h("span", { class: "code" }, code),
    h("span", { class: `kind ${kind}` }, SHORT[kind]),
    h("span", { class: "what" }, h("span", { class: "state" }), bdi(title, { class: "title" })),
    h("span", { class: "chance" }, bar(probability), h("span", { class: "number" }, probability.toFixed(2))),
    entry.why_hidden && h("span", { class: "reason" }, `Hidden: ${entry.why_hidden}`),
  );
  const acts = h("span", { class: "acts" }, act("accept", code, "Accept", "✓", "suggested"), act("reject", code, "Reject", "✕", "suggested"));
  return h("li", { class: "row", data: { code } }, pick, acts);
}

function build() {
  rows = new Map();
  const { suggestions } = desk;
  if (!suggestions) {
    byId("suggestions").replaceChildren();
    byId("more").hidden = true;
    byId("reading").replaceChildren();
    return;
  }
  const items = [];
  const first = suggestions.read_first;
  for (const entry of suggestions.codes) {
    rows.set(entry.code, row(entry));
    items.push(rows.get(entry.code));
    if (entry.rank === first) {
      items.push(h("li", { class: "until", data: { rank: first } }, `Read to here for 90 % expected recall`));
    }
  }
  byId("suggestions").replaceChildren(...items);
  byId("suggestions-scroll").scrollTop = 0;
  const reached = suggestions.codes.filter((entry) => entry.suggested).length;
  byId("reading").replaceChildren(
    `${reached} of ${count(suggestions.total, "code")}`,
    ...(first == null ? [] : [" · ", h("strong", {}, `read ${count(first, "suggestion")} for 90 % expected recall`)]),
  );
  byId("suggestions-state").replaceChildren(
    reached ? "" : `No code reached the threshold of ${desk.suggestions.threshold.toFixed(2)}.`,
  );
}

function paintSuggested() {
  const place = new Map(accepted().map((entry) => [entry.code, entry]));
  const { code: chosen, list } = desk.at;
  const closed = Boolean(desk.review?.submitted);
  for (const entry of desk.suggestions?.codes ?? []) {
    const element = rows.get(entry.code);
    const state = stateOf(entry.code);
    const listed = place.get(entry.code);
    element.hidden = !entry.suggested && !desk.below;
    element.dataset.state = state;
    element.classList.toggle("at", entry.code === chosen);
    const told = listed ? `✓ ${SHORT[listed.kind]} ${listed.sequence}` : state === "rejected" ? "✕ rejected" : "";
    element.querySelector(".state").textContent = told;
    const pick = element.querySelector(".pick");
    pick.tabIndex = entry.code === chosen || !chosen ? 0 : -1;
    pick.setAttribute("aria-current", String(entry.code === chosen && list === "suggested"));
    for (const button of element.querySelectorAll(".act")) {
      button.tabIndex = entry.code === chosen ? 0 : -1;
      button.disabled = closed || (button.classList.contains("accept") ? state === "accepted" : state === "rejected");
    }
  }
  const until = byId("suggestions").querySelector(".until");
  if (until) until.hidden = rows.get([...rows.keys()][until.dataset.rank - 1])?.hidden ?? false;
  const hidden = (desk.suggestions?.codes ?? []).filter((entry) => !entry.suggested);
  const more = byId("more");
  more.hidden = !hidden.length;
  more.setAttribute("aria-expanded", String(desk.below));
  if (hidden.length) {
    const { threshold, read_first: first } = desk.suggestions;
    const needed = hidden.filter((entry) => entry.rank <= first).length;
    const source = desk.model?.threshold.source;
    fill(
      more,
      h("span", {}, desk.below ? "Hide" : "Show", ` ${hidden.length} more below the threshold of ${threshold.toFixed(2)} `, kbd("m")),
      h("small", {}, needed ? `${needed} of them belong to the ${first} to read. ` : "", source ? `Threshold: ${source}.` : ""),
    );
  }
}

// The list -----------------------------------------------------------------------------------------------------------

function listedItem(entry, last) {
  const { code, kind, sequence, principal, origin, rank, title, by } = entry;
  const chosen = desk.at.code === code;
  const pick = h(
    "button",
    {
      type: "button",
      class: "pick",
      tabindex: chosen ? "0" : "-1",
      "aria-current": String(chosen && desk.at.list === "listed"),
      data: { focus: `listed:${code}` },
      on: { click: () => choose("listed", code) },
    },
    h("span", { class: "rank" }, String(sequence)),
    h("span", { class: "code" }, code),
    h("span", { class: "what" }, principal && h("span", { class: "principal", title: PRINCIPAL }, "Principal"), bdi(title, { class: "title" })),
    h("span", { class: "origin" }, origin === "added" ? "added" : `rank ${rank}`, by === desk.name ? null : [" · ", bdi(by)]),
  );
  const acts = h(
    "span",
    { class: "acts" },
    act("up", code, "Move up", "↑", "listed"),
    act("down", code, "Move down", "↓", "listed"),
    act("remove", code, "Take out", "✕", "listed"),
  );
  const [up, down, remove] = acts.children;
  const closed = Boolean(desk.review?.submitted);
  up.disabled = closed || sequence === 1;
  down.disabled = closed || sequence === last;
  remove.disabled = closed;
  for (const button of acts.children) button.tabIndex = chosen ? 0 : -1;
  const element = h("li", { class: `row listed ${chosen ? "at" : ""}`, draggable: closed ? null : "true", data: { code, kind } }, pick, acts);
  element.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/x-code", `${kind} ${code}`));
  element.addEventListener("dragover", (event) => event.preventDefault());
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    const [of, moved] = event.dataTransfer.getData("text/x-code").split(" ");
    if (of === kind && moved !== code) tell("place", { kind, moved, before: code });
  });
  return element;
}

function paintListed() {
  const { review, suggestions } = desk;
  for (const [plural, kind] of [["diagnoses", "diagnosis"], ["procedures", "procedure"]]) {
    const entries = review?.[plural] ?? [];
    const none = kind === "diagnosis" ? "No diagnosis is accepted yet." : "No procedure.";
    const items = entries.map((entry) => listedItem(entry, entries.length));
    fill(byId(plural), items.length ? items : h("li", { class: "empty" }, none));
  }
  const undecided = review?.undecided.length ?? 0;
  byId("left").replaceChildren(!suggestions ? "" : review.submitted ? "Submitted" : undecided ? `${undecided} undecided` : "All decided");
  byId("submit").disabled = !suggestions || Boolean(review.submitted);
  byId("undo").disabled = !review?.undo || Boolean(review.submitted);
  byId("undo").title = review?.undo ? `Take back: ${review.undo.action} ${review.undo.code ?? ""}` : "Nothing of yours to take back";
  byId("search").disabled = !suggestions || Boolean(review?.submitted);
}

// Why ----------------------------------------------------------------------------------------------------------------

const signed = (score) => (score == null ? "–" : `${score > 0 ? "+" : score < 0 ? "−" : ""}${Math.abs(score).toFixed(2)}`);

function why() {
  const { code } = desk.at;
  const entry = suggestion(code);
  const listed = accepted().find((other) => other.code === code);
  const box = byId("why");
  box.hidden = !entry && !listed;
  if (box.hidden) return;
  const title = entry?.title ?? listed.title;
  const head = h("h3", {}, h("span", { class: "code" }, code), " ", bdi(title));
  if (!entry) {
    fill(box, head, h("p", {}, `Added by search: it was not among the suggestions listed for this note.`));
    return;
  }
  const [passages, against] = [false, true].map((which) => passagesOf(code, which).length);
  const facts = [
    `Rank ${entry.rank}, probability ${entry.probability.toFixed(2)}`,
    entry.suggested ? `threshold ${desk.suggestions.threshold.toFixed(2)}` : entry.why_hidden,
    entry.expected_recall == null ? null : `expected recall to here ${Math.round(100 * entry.expected_recall)} %`,
    !entry.suggested ? null : passages ? count(passages, "passage") : desk.evidence ? "no passage stands out" : "evidence is being looked for",
    against ? `${count(against, "passage")} against it` : null,
  ];
  const byCode = new Map(entry.concepts.map((concept) => [concept.key.slice(concept.key.indexOf(":") + 1), concept]));
  const steps = entry.path.map((step) => ({ ...step, concept: byCode.get(step.code) }));
  const own = new Set(steps.map((step) => step.concept));
  const others = entry.concepts.filter((concept) => !own.has(concept)).slice(0, OTHERS);
  const most = Math.max(1e-9, ...entry.concepts.map((concept) => Math.abs(concept.contribution)));
  const line = (name, title, score, concept) =>
    h(
      "tr",
      {},
      h("td", { class: name.class }, name.text),
      h("th", { scope: "row" }, bdi(title)),
      h("td", { class: "number" }, signed(score)),
      h("td", { class: "number adds" }, concept && bar(Math.abs(concept.contribution) / most, concept.contribution < 0 ? "against" : ""), h("span", {}, signed(concept?.contribution))),
    );
  const header = [["Concept path", 2], ["Score", 1], ["Adds, in log-odds", 1]];
  fill(
    box,
    head,
    h("p", { class: "facts" }, facts.filter(Boolean).join(" · "), passages || against ? [" ", kbd("e")] : null),
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, header.map(([name, span], i) => h("th", { scope: "col", colspan: span, class: i ? "number" : "" }, name)))),
      h(
        "tbody",
        {},
        steps.map((step) => line({ class: "code", text: step.code }, step.title, step.score, step.concept)),
        others.map((concept) => line({ class: "facts", text: `other ${concept.level}` }, concept.text, concept.score, concept)),
      ),
    ),
  );
}

// Focus --------------------------------------------------------------------------------------------------------------

const elementOf = (list, code) =>
  byId("review-view").querySelector(`.codes [data-focus="${CSS.escape(`${list}:${code}`)}"]`);

/** Shows the chosen row; with `focus` the keyboard goes there too. */
function bring(focus) {
  for (const [list, pane] of [["suggested", "suggestions-scroll"], ["listed", "listed-scroll"]]) {
    const element = elementOf(list, desk.at.code);
    if (element && !element.closest("[hidden]")) reveal(byId(pane), element);
  }
  if (focus) elementOf(desk.at.list, desk.at.code)?.focus();
}

/** Chooses the code `step` rows away in the list of the chosen one. */
export function move(step) {
  const codes = codesOf(desk.at.list);
  if (!codes.length) {
    const hidden = desk.at.list === "suggested" && desk.suggestions?.codes.length;
    return say(hidden ? "No code reached the threshold; m shows those below it." : "This list is empty.");
  }
  const place = codes.indexOf(desk.at.code);
  choose(desk.at.list, codes[place < 0 ? 0 : Math.min(codes.length - 1, Math.max(0, place + step))]);
}

/** Goes over to the other list, to the same code if it is there. */
export function crossOver() {
  const list = desk.at.list === "suggested" ? "listed" : "suggested";
  const codes = codesOf(list);
  if (codes.length) choose(list, codes.includes(desk.at.code) ? desk.at.code : codes[0]);
  return codes.length > 0;
}

export function toggleBelow() {
  desk.below = !desk.below;
  tell("choice");
}

export function start() {
  byId("more").addEventListener("click", toggleBelow);
  on("suggestions", () => (build(), paintSuggested(), paintListed(), why()));
  on("review", () => (paintSuggested(), paintListed(), why()));
  on("choice", () => (paintSuggested(), paintListed(), why(), bring(false)));
  on("evidence", why);
  on("focus", () => bring(true));
}
