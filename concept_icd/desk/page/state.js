// What the page knows, and who wants to hear that it changed.

export const desk = {
  name: localStorage.getItem("desk-name"),
  me: null,
  model: null,
  notes: [],
  counts: { new: 0, open: 0, submitted: 0 },
  key: null,
  note: null,
  review: null,
  suggestions: null,
  /** Spans of the text by code; null until they are known. */
  evidence: null,
  /** Spans that speak against a code, likewise. */
  against: null,
  /** The chosen code, and the list it was chosen in: "suggested" or "listed". */
  at: { list: "suggested", code: null },
  /** Whether suggestions below the threshold are shown. */
  below: false,
  /** A decision that came too late: {sentence, again}. */
  conflict: null,
};

const listeners = new Map();

export function on(what, listener) {
  listeners.set(what, [...(listeners.get(what) ?? []), listener]);
}

export function tell(what, detail) {
  for (const listener of listeners.get(what) ?? []) listener(detail);
}

/** The accepted codes, diagnoses before procedures. */
export const accepted = () => [...(desk.review?.diagnoses ?? []), ...(desk.review?.procedures ?? [])];

export function stateOf(code) {
  if (accepted().some((entry) => entry.code === code)) return "accepted";
  if (desk.review?.rejected.some((entry) => entry.code === code)) return "rejected";
  return "undecided";
}

export const suggestion = (code) => desk.suggestions?.codes.find((entry) => entry.code === code) ?? null;

/** Suggestions on the screen, by rank. */
export const shown = () => (desk.suggestions?.codes ?? []).filter((entry) => entry.suggested || desk.below);

/** Codes of a list in the order of the screen. */
export const codesOf = (list) => (list === "suggested" ? shown() : accepted()).map((entry) => entry.code);

/** Chooses a code; `focus` moves the keyboard there, `seek` brings its evidence into view. */
export function choose(list, code, { focus = true, seek = true } = {}) {
  if (list === "suggested" && suggestion(code) && !suggestion(code).suggested) desk.below = true;
  desk.at = { list, code };
  tell("choice");
  if (focus) tell("focus");
  if (seek) tell("seek");
}

/** The next suggestion after `code` that waits for a decision; from the top if there is none below. */
export function nextUndecided(code) {
  const codes = shown().filter((entry) => entry.suggested || entry.code === code).map((entry) => entry.code);
  const place = codes.indexOf(code);
  const order = [...codes.slice(place + 1), ...codes.slice(0, Math.max(place, 0))];
  return order.find((other) => stateOf(other) === "undecided") ?? null;
}
