// What the trade measures, from the record: numbers, with bars beside them.
import { ask } from "./api.js";
import { bar, bdi, byId, count, fill, h } from "./dom.js";

const percent = (share) => (share == null ? "–" : `${Math.round(100 * share)} %`);
const minutes = ({ median, n }) => (median == null ? "–" : `${median.toFixed(1)} (n = ${n})`);

/** Parts of a whole as one bar; each part has a pattern of its own. */
function stack(parts, most) {
  const total = parts.reduce((sum, [, number]) => sum + number, 0);
  const box = h("span", { class: "stack", "aria-hidden": "true" });
  box.style.inlineSize = `${(100 * total) / Math.max(1, most)}%`;
  for (const [name, number] of parts) {
    const part = h("span", { class: name });
    part.style.flexGrow = number;
    if (number) box.append(part);
  }
  return box;
}

function tile(number, name, sentence) {
  return h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, h("b", {}, number), h("span", {}, sentence)));
}

function table(title, names, rows) {
  const header = names.map((name, i) => h("th", { scope: "col", class: i ? "number" : "" }, name));
  return h(
    "section",
    {},
    h("h3", {}, title),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, h("table", {}, h("thead", {}, h("tr", {}, header)), h("tbody", {}, rows))),
  );
}

const number = (value) => h("td", { class: "number" }, value);
const parts = (row) => [["accepted", row.accepted], ["added", row.added], ["removed", row.removed]];

function page(found) {
  const { coders, codes, definitions, rank_errors: errors } = found;
  const most = (rows) => Math.max(1, ...rows.map((row) => row.accepted + row.added + row.removed));
  const [mostOfCoders, mostOfCodes] = [most(coders), most(codes)];
  const tiles = [
    tile(String(found.submitted), "Submitted reviews", `of ${count(found.notes, "note")} in the record`),
    tile(found.minutes_per_note.median?.toFixed(1) ?? "–", "Minutes per note", definitions.minutes_per_note),
    tile(`${errors.principal_changed} of ${errors.n}`, "Principal changed", definitions.principal_changed),
    tile(String(errors.read_in_vain), "Read in vain", definitions.read_in_vain),
    tile(`${errors.pairs_out_of_order} of ${errors.pairs}`, "Pairs out of order", definitions.pairs_out_of_order),
  ];
  const ofCoders = coders.map((row) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, bdi(row.name)),
      number(String(row.submitted)),
      h("td", { class: "graph" }, stack(parts(row), mostOfCoders)),
      ...parts(row).map(([, value]) => number(String(value))),
      number(percent(row.recall)),
      number(percent(row.precision)),
      number(String(row.unchanged)),
      number(minutes(row.minutes_per_note)),
    ),
  );
  const ofCodes = codes.map((row) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, h("span", { class: "code" }, row.code), " ", bdi(row.title)),
      number(String(row.suggested)),
      h("td", { class: "graph" }, stack(parts(row), mostOfCodes)),
      ...parts(row).map(([, value]) => number(String(value))),
    ),
  );
  const key = h("p", { class: "legend" }, ["accepted", "added", "removed"].map((name) => h("span", {}, h("i", { class: name, "aria-hidden": "true" }), ` ${name}`)));
  return [
    h("dl", { class: "tiles" }, tiles),
    key,
    table("Coders", ["Coder", "Submitted", "", "Accepted", "Added", "Removed", "Recall", "Precision", "Unchanged", "Minutes"], ofCoders),
    table("Codes", ["Code", "Suggested", "", "Accepted", "Added", "Removed"], ofCodes),
    h("section", {}, h("h3", {}, "What the words mean"), h("dl", { class: "definitions" }, Object.entries(definitions).map(([name, sentence]) => h("div", {}, h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, sentence))))),
  ];
}

export async function showMeasures() {
  const view = byId("measures-view");
  const head = h("h2", { id: "measures-title", tabindex: "-1" }, "Measures");
  fill(view, head, h("p", { class: "facts" }, "Reading the record."));
  head.focus();
  try {
    const found = await ask("v1/measures");
    const lead = h("p", { class: "facts" }, "Counted over submitted reviews; each belongs to who submitted it.");
    const none = h("p", { class: "empty" }, "No review is submitted yet.");
    fill(view, head, lead, found.submitted ? page(found) : none);
  } catch (error) {
    fill(view, head, h("p", { class: "empty" }, error.message));
  }
  head.focus();
}
