// Dark and light: the system's choice until somebody makes another.

import { byId, icon } from "./dom.js";
import { kept } from "./kept.js";

const NAME = "crayon.theme";
const system = matchMedia("(prefers-color-scheme: dark)");

export const chosenTheme = () => kept.read(NAME, "");

const isDark = () => (chosenTheme() || (system.matches ? "dark" : "light")) === "dark";

function draw() {
  const other = isDark() ? "Light theme" : "Dark theme";
  byId("theme").setAttribute("aria-label", other);
  byId("theme").title = other;
  byId("theme").replaceChildren(icon(isDark() ? "sun" : "moon"));
}

/** `light`, `dark`, or nothing for the system's. */
export function setTheme(theme) {
  if (theme) {
    document.documentElement.dataset.theme = theme;
    kept.write(NAME, theme);
  } else {
    delete document.documentElement.dataset.theme;
    kept.remove(NAME);
  }
  draw();
}

export function startTheme() {
  byId("theme").addEventListener("click", () => setTheme(isDark() ? "light" : "dark"));
  system.addEventListener("change", draw);
  draw();
}
