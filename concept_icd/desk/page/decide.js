// Decisions: sent one after the other, each with the version of the review that the person saw.
import { Refused, ask } from "./api.js";
import { alarm, bdi, say } from "./dom.js";
import { accepted, choose, codesOf, desk, nextUndecided, on, stateOf, suggestion, tell } from "./state.js";

const DONE = {
  accept: "Accepted", reject: "Rejected", add: "Added", remove: "Took out", reorder: "New order", undo: "Took back",
  submit: "Submitted", reopen: "Reopened",
};
/** What waits for the server; the first is under way. */
const pending = [];
/** The version after one's own last decision, by note, while others of one's own wait. */
const own = new Map();

/** The review as the server has it; what another person did in between is said. */
export function take(review, { mine = false } = {}) {
  if (review.key !== desk.key || !desk.review || review.version < desk.review.version) return;
  const { last } = review;
  const news = !mine && review.version > desk.review.version && last && last.by !== desk.name;
  desk.review = review;
  tell("review");
  if (news) say(bdi(last.by), `: ${(DONE[last.action] ?? last.action).toLowerCase()} ${last.code ?? ""}`);
}

/** Whether a decision of this page is under way. */
export const busy = () => pending.length > 0;

function decide(action, fields = {}) {
  const { key, review, suggestions } = desk;
  if (!review || !suggestions) return say("The suggestions of this note are not there yet.");
  if (review.submitted && action !== "reopen") return say("This review is submitted. Reopen it to change it.");
  desk.conflict = null;
  pending.push({ key, seen: review.version, action, fields });
  if (pending.length === 1) drain();
}

async function drain() {
  while (pending.length) {
    const { key, seen, action, fields } = pending[0];
    const more = typeof fields === "function" ? fields() : fields;
    if (more === null) {
      pending.shift();
      continue;
    }
    const body = { version: own.get(key) ?? seen, action, ...more };
    const about = action === "undo" ? `${desk.review.undo?.action} ${desk.review.undo?.code ?? ""}`.trim() : body.code;
    try {
      const review = await ask(`v1/notes/${key}/decisions`, { method: "POST", body });
      pending.shift();
      own.set(key, review.version);
      take(review, { mine: true });
      // A code that just came into the list could not have the keyboard before.
      if (desk.at.list === "listed" && body.code === desk.at.code) tell("focus");
      const then = action === "submit" ? " Press n for the next note." : "";
      say([DONE[action], about].filter(Boolean).join(" "), ".", then);
      tell("decided");
    } catch (error) {
      pending.length = 0;
      if (!(error instanceof Refused)) throw error;
      failed(key, body, error);
    }
  }
  own.clear();
}

function failed(key, body, error) {
  if (error.status === 409 && error.body.review && key === desk.key) {
    const name = `${body.action} ${body.code ?? ""}`.trim();
    const closed = error.body.review.submitted;
    desk.review = error.body.review;
    desk.conflict = {
      sentence: `${error.message} Your decision (${name}) was not taken. Look at the lists again, then decide.`,
      name: `Still ${name}`,
      again: closed || body.action === "reorder" ? null : () => decide(body.action, withoutVersion(body)),
    };
    tell("review");
  }
  alarm(error.message);
}

function withoutVersion({ version: _, action: __, ...fields }) {
  return fields;
}

const onward = (code) => {
  const next = desk.at.list === "suggested" ? nextUndecided(code) : null;
  if (next) choose("suggested", next);
};

export function accept(code = desk.at.code) {
  if (!code || stateOf(code) === "accepted") return say(code ? `${code} is accepted already.` : "No code is chosen.");
  if (!suggestion(code)) return add(code);
  decide("accept", { code });
  onward(code);
}

export function reject(code = desk.at.code, reason = null) {
  if (!code || !suggestion(code)) return say(code ? `${code} was not suggested: take it out with x.` : "No code is chosen.");
  if (stateOf(code) === "rejected") return say(`${code} is rejected already.`);
  stayInList(code);
  decide("reject", reason ? { code, reason } : { code });
  onward(code);
}

/** Adds a code that was searched for; a listed suggestion counts as accepted. */
export function add(code) {
  decide(suggestion(code) ? "accept" : "add", { code });
}

export function remove(code = desk.at.code) {
  if (!code || stateOf(code) === "undecided") return say("Only accepted and rejected codes can be taken out.");
  stayInList(code);
  decide("remove", { code });
}

/** A code that leaves the list leaves the choice to its neighbour. */
function stayInList(code) {
  if (desk.at.list !== "listed") return;
  const codes = codesOf("listed");
  const place = codes.indexOf(code);
  const next = codes[place + 1] ?? codes[place - 1];
  if (next) choose("listed", next);
  else if (suggestion(code)) choose("suggested", code);
}

/** Moves a listed code by `step` places, or to the place of the code `before`. */
export function reorder(code, step, before = null) {
  const entry = accepted().find((other) => other.code === code);
  if (!entry) return say("Only codes of the list have a place.");
  // The order is made when its turn comes, from what the decisions before it left.
  decide("reorder", () => {
    const plural = entry.kind === "diagnosis" ? "diagnoses" : "procedures";
    const order = desk.review[plural].map((other) => other.code);
    const from = order.indexOf(code);
    const to = before ? order.indexOf(before) : from + step;
    if (from < 0 || to < 0 || to >= order.length) {
      say(`${code} is ${to < 0 ? "first" : "last"} already.`);
      return null;
    }
    order.splice(to, 0, ...order.splice(from, 1));
    return { kind: entry.kind, order };
  });
}

export function undo() {
  if (!desk.review?.undo && !busy()) return say("There is no decision of yours to take back.");
  const code = desk.review.undo?.code;
  decide("undo");
  if (code && suggestion(code)) choose("suggested", code);
}

export const submit = (fields) => decide("submit", fields);
export const reopen = () => decide("reopen");

export function start() {
  on("accept", () => accept());
  on("reject", () => reject());
  on("remove", () => remove());
  on("up", () => reorder(desk.at.code, -1));
  on("down", () => reorder(desk.at.code, 1));
  on("place", ({ moved, before }) => reorder(moved, 0, before));
  on("reopen", reopen);
}
