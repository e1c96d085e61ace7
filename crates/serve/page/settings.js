// How answers are made: what is left empty is the server's or the model's own choice.

import { apiKey, setApiKey } from "./api.js";
import { byId } from "./dom.js";
import { kept } from "./kept.js";
import { chosenTheme, setTheme } from "./theme.js";

const NAME = "crayon.settings";
const NUMBERS = ["temperature", "top_p", "max_tokens", "seed"];
const TEXTS = ["system", "pot", "policy", "route"];
/** The policy with which a long text is read where none is chosen: without one the server refuses it. */
const USUAL_POLICY = "infinipot";

let values = kept.read(NAME, {});

export const setting = (name) => values[name] ?? "";

/** The fields of a request that the settings ask for. */
export function requested() {
  const fields = {};
  for (const name of NUMBERS) if (setting(name) !== "") fields[name] = Number(setting(name));
  const { pot, policy, route } = values;
  if (pot) fields.pot = /^\d+$/.test(pot) ? Number(pot) : pot;
  if (route) fields.route = route;
  // The pot is the device's: whoever wants the server only cannot ask for one.
  if (policy) fields.policy = policy;
  else if (route !== "server") fields.policy = USUAL_POLICY;
  return fields;
}

/** Shows `name` in the settings, as when the server has refused its value. */
export function openSettings(name) {
  byId("settings").showModal();
  const field = name && byId("settings-form").elements.namedItem(name);
  if (field) field.focus();
}

export const isSetting = (name) => NUMBERS.includes(name) || TEXTS.includes(name);

function fill(form) {
  for (const name of [...NUMBERS, ...TEXTS]) form.elements.namedItem(name).value = setting(name);
  form.elements.namedItem("theme").value = chosenTheme();
  form.elements.namedItem("key").value = apiKey();
}

export function startSettings() {
  const form = byId("settings-form");
  fill(form);
  form.addEventListener("input", ({ target }) => {
    if (target.name === "key") return setApiKey(target.value.trim());
    if (target.name === "theme") return setTheme(target.value);
    // What is out of range is shown as such, and not kept.
    if (!target.checkValidity()) return undefined;
    values = { ...values, [target.name]: target.value.trim() };
    return kept.write(NAME, values);
  });
  byId("settings-reset").addEventListener("click", () => {
    values = {};
    kept.remove(NAME);
    setApiKey("");
    setTheme("");
    fill(form);
    byId("settings-said").textContent = "All settings are the server's own again.";
  });
  byId("settings").addEventListener("close", () => { byId("settings-said").textContent = ""; });
  return { refresh: () => fill(form) };
}
