// The ladder: every way to use the examples that was tried, how it did on their own answers, and which one was taken.

import { h, icon } from "./dom.js";

const MEANING = {
  base: "the model as it is",
  blend: "the pool's adapters, by nearness",
  nearest: "the nearest adapter alone",
  fitted: "weights that learned from the answers",
  prompt: "the examples stand in the prompt",
  trained: "an adapter trained on the examples",
};

const seconds = (value) => (value === null || value === undefined ? "–" : `${value < 10 ? value.toFixed(2) : value.toFixed(1)} s`);
const loss = (value) => (value === null || value === undefined ? "–" : value.toFixed(2));

export const rung = (tried, chosen) => tried?.find(({ name }) => name === chosen);

export function ladder(tried, chosen) {
  const row = ({ name, right, of, loss: nats, seconds: time }) => h("tr", name === chosen ? { class: "chosen" } : {},
    h("th", { scope: "row" }, h("span", { class: "rung" }, name), h("span", { class: "soft" }, MEANING[name] ?? "")),
    h("td", {}, `${right} of ${of}`), h("td", {}, loss(nats)), h("td", {}, seconds(time)),
    h("td", {}, name === chosen ? h("span", { class: "pill" }, icon("check"), "chosen") : ""));
  const heads = ["Way", "Right", "Loss", "Time", ""];
  return h("table", { class: "ladder" },
    h("caption", { class: "sr" }, "What was tried, and what was chosen"),
    h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head || h("span", { class: "sr" }, "Chosen"))))),
    h("tbody", {}, tried.map(row)));
}
