// Loaded before the page is drawn, so that a chosen theme does not flash.
"use strict";
const THEMES = { system: "", light: "light", dark: "dark" };
function applyTheme(name) {
  if (THEMES[name]) document.documentElement.dataset.theme = THEMES[name];
  else delete document.documentElement.dataset.theme;
}
applyTheme(localStorage.getItem("desk-theme") ?? "system");
