// Elements from data. Text becomes text nodes, never markup: notes, titles and names are data of others.

const solid = (children) => children.flat(Infinity).filter((child) => child != null && child !== false);

/** An element: `on` holds listeners, `data` its data attributes; false and null attributes are left out. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...solid(children));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Gives a container new children; what had the focus, told by its data-focus, has it again. */
export function fill(container, ...children) {
  const focused = container.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
  container.replaceChildren(...solid(children));
  if (focused) container.querySelector(`[data-focus="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

/** Text that cannot turn the text around it, whatever directions it holds. */
export const bdi = (text, attributes = {}) => h("bdi", attributes, text);

/** A bar of 0 to 1 as wide as `share`; the number stands beside it, so readers aloud skip it. */
export function bar(share, name = "") {
  const part = h("span", { class: "part" });
  part.style.inlineSize = `${(100 * Math.min(1, Math.max(0, share))).toFixed(1)}%`;
  return h("span", { class: `bar ${name}`, "aria-hidden": "true" }, part);
}

export const kbd = (...keys) => keys.map((key) => h("kbd", {}, key));

export const clock = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
export const day = (at) => new Date(at).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });

/** `1 note`, `2 notes`. */
export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

/** Moves a pane, and nothing around it, until the element is inside. */
export function reveal(pane, element, { centred = false } = {}) {
  const inner = element.getBoundingClientRect();
  const outer = pane.getBoundingClientRect();
  const margin = 24;
  if (inner.top >= outer.top + margin && inner.bottom <= outer.bottom - margin) return;
  const middle = inner.top + inner.height / 2 - (outer.top + outer.height / 2);
  const least = inner.top < outer.top + margin ? inner.top - outer.top - margin : inner.bottom - outer.bottom + margin;
  pane.scrollTop += centred ? middle : least;
}

/** Says what happened, at the foot of the page and to readers aloud. */
export function say(...parts) {
  byId("alarm").replaceChildren();
  byId("said").replaceChildren(...parts);
}

/** Says what went wrong; it interrupts. */
export function alarm(...parts) {
  byId("said").replaceChildren();
  byId("alarm").replaceChildren(...parts);
}
