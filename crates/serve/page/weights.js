// A blend as colours: every adapter of the pool has a crayon of its own, and a person is how much of each is used.

import { h } from "./dom.js";

const COLOURS = 12;
/** The pool's order, by which adapters have their colours. */
let order = [];

export function nameAdapters(names) {
  order = names;
}

/** Pairs of name and weight, from either form that the server tells them in; null where there are none. */
export function pairs(weights, names) {
  if (Array.isArray(weights)) return weights.map((weight, at) => [names?.[at] ?? `adapter ${at + 1}`, weight]);
  return weights ? Object.entries(weights) : null;
}

/** Gives `element` the colour of an adapter, which is the same in every picture of it. */
function paint(element, name, at, size) {
  const known = order.indexOf(name);
  element.style.setProperty("--colour", `var(--crayon-${(known < 0 ? at : known) % COLOURS})`);
  element.style.setProperty("--size", Math.max(size, 0).toFixed(4));
  return element;
}

export const percent = (weight) => `${(100 * weight).toFixed(weight !== 0 && Math.abs(weight) < 0.1 ? 1 : 0)} %`;

const spoken = (list) => [...list].sort((a, b) => b[1] - a[1]).filter(([, weight]) => weight >= 0.01).slice(0, 4)
  .map(([name, weight]) => `${name} ${percent(weight)}`).join(", ");

/** The whole blend in one line. What is missing to 1 is the model as it is. */
export function strip(list) {
  const words = `Blend: ${spoken(list) || "nothing of the pool"}`;
  const used = list.reduce((sum, [, weight]) => sum + Math.max(weight, 0), 0);
  const parts = list.map(([name, weight], at) => paint(h("span", { class: "strip-part" }), name, at, weight));
  const rest = paint(h("span", { class: "strip-rest" }), "", 0, Math.max(0, 1 - used));
  return h("span", { class: "strip", role: "img", "aria-label": words, title: words }, parts, rest);
}

/** A bar for every adapter, the strongest as long as the row, and how much of the model is left as it is. */
export function bars(list) {
  const largest = Math.max(...list.map(([, weight]) => Math.abs(weight)), 0.01);
  const rest = 1 - list.reduce((sum, [, weight]) => sum + weight, 0);
  return [drawBars(list, largest), rest > 0.005 ? h("p", { class: "soft" }, `The other ${percent(rest)} are the model as it is.`) : null];
}

function drawBars(list, largest) {
  return h("ul", { class: "bars", "aria-label": "Weights of the pool's adapters" }, list.map(([name, weight], at) => h("li", {},
    h("span", { class: "bar-name", title: name }, name),
    h("span", { class: "bar-room", "aria-hidden": "true" }, paint(h("span", { class: "bar" }), name, at, Math.abs(weight) / largest)),
    h("span", { class: "bar-number" }, percent(weight)))));
}

/** A slider for every adapter; `onchange` gets all weights. */
export function sliders(list, onchange) {
  const weights = list.map(([, weight]) => weight);
  return h("ul", { class: "sliders" }, list.map(([name, weight], at) => {
    const output = h("output", { class: "bar-number" }, percent(weight));
    const input = h("input", {
      type: "range", min: 0, max: 1, step: 0.01, value: weight.toFixed(2), "aria-valuetext": percent(weight),
      oninput: () => {
        weights[at] = Number(input.value);
        output.textContent = percent(weights[at]);
        input.setAttribute("aria-valuetext", percent(weights[at]));
        row.style.setProperty("--size", input.value);
        onchange(weights);
      },
    });
    const row = paint(h("li", {}, h("label", {}, h("span", { class: "bar-name", title: name }, name), input), output), name, at, weight);
    return row;
  }));
}
