// What the server tells about an answer: who wrote it, how sure it is, through what, and what became of the text it read.

import { count, h } from "./dom.js";
import { inline } from "./markdown.js";
import { pairs, percent, strip } from "./weights.js";

/** The pot: how much of what was read is still in it. Where nothing was distilled away there is nothing to show. */
function gauge(facts) {
  const { kept = 0, evicted = 0 } = facts.crayon;
  if (!evicted) return null;
  const read = facts.usage?.prompt_tokens ?? kept + evicted;
  const words = `Read ${count(read, "token")}: ${kept.toLocaleString("en")} kept, ${evicted.toLocaleString("en")} distilled away.`;
  const full = h("span", { class: "pot-kept" });
  full.style.setProperty("--size", (kept / Math.max(kept + evicted, 1)).toFixed(4));
  return h("div", { class: "pot" },
    h("div", { class: "pot-room", role: "meter", "aria-label": "Kept in the pot", "aria-valuemin": 0, "aria-valuemax": kept + evicted,
      "aria-valuenow": kept, "aria-valuetext": words }, full),
    h("div", { class: "pot-words" },
      h("span", {}, h("b", {}, read.toLocaleString("en")), " read"),
      h("span", { class: "is-kept" }, h("b", {}, kept.toLocaleString("en")), " kept"),
      h("span", { class: "is-gone" }, h("b", {}, evicted.toLocaleString("en")), " distilled away")));
}

const PLACES = { device: "on this device", server: "by the bigger model" };

function details(message, { crayon, usage, finish }) {
  const rows = [
    ["Answered", `${PLACES[crayon.where] ?? crayon.where}: ${crayon.reason}`],
    ["Model", message.model],
    ["Confidence", crayon.confidence === null ? null : percent(crayon.confidence)],
    ["Scope", crayon.scope === null ? null : `${percent(crayon.scope)} likely one of the crayon's questions`],
    ["Examples shown", crayon.shown || null],
    ["Read", usage ? count(usage.prompt_tokens, "token") : null],
    ["Written", usage ? count(usage.completion_tokens, "token") : null],
    ["Took", `${message.seconds.toFixed(1)} s in all`],
    ["Ended", finish === "length" ? "at the limit of tokens" : null],
  ];
  return h("details", { class: "details" }, h("summary", {}, "Details"),
    h("dl", {}, rows.filter(([, value]) => value !== null && value !== undefined)
      .flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))])));
}

/** The lines under an answer; null while there is nothing to tell. */
export function drawFacts(message) {
  const { facts } = message;
  if (!facts?.crayon) return null;
  const { crayon, finish } = facts;
  const blend = pairs(crayon.adapter);
  const notes = [...(crayon.notes ?? []), ...(finish === "length" ? ["The answer was cut at the limit of tokens."] : [])];
  return h("div", { class: "facts" },
    gauge(facts),
    h("div", { class: "badges" },
      h("span", { class: `badge where-${crayon.where}`, title: crayon.reason }, crayon.where === "server" ? "server" : "device"),
      crayon.confidence === null ? null : h("span", { class: "soft" }, `confidence ${percent(crayon.confidence)}`),
      crayon.scope === null ? null : h("span", { class: "soft" }, `scope ${percent(crayon.scope)}`),
      crayon.sure === false ? h("span", { class: "badge unsure", title: "Answers of this confidence are mostly wrong." }, "not sure") : null,
      blend ? strip(blend) : null,
      details(message, facts)),
    notes.length ? h("ul", { class: "notes", "aria-label": "Notes" }, notes.map((note) => h("li", {}, inline(note)))) : null);
}
