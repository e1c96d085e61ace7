// The dialog of crayons: make one of examples, see how it was judged, mix one by hand, use and delete what there is.

import { say } from "./announce.js";
import { forget, make, mix, mixable, reference, refresh, state } from "./crayons.js";
import { byId, count, h, icon, iconButton } from "./dom.js";
import { parseExamples } from "./examples.js";
import { ladder, rung } from "./ladder.js";
import { bars, sliders, strip } from "./weights.js";

/** Called with the reference of the crayon that is to answer, or null for the model as it is. */
let onUse = () => {};
let inUse = () => null;
let onChange = () => {};
let making = null;

/** Why something was refused. A name that is taken can be taken over, but only on purpose: it may be somebody else's. */
function problem(place, error, replace) {
  const over = replace && error.code === "name_taken";
  byId(place).replaceChildren(h("div", { class: "problem", role: "alert" }, h("p", {}, h("strong", {}, error.message)),
    error.hint ? h("p", {}, error.hint) : null,
    over ? h("div", { class: "row" }, h("button", { type: "button", class: "plain", onclick: replace }, "Replace it")) : null));
}

function describe(crayon) {
  const taken = rung(crayon.tried, crayon.chosen);
  const parts = [crayon.model ? "kept by the server" : "in this page only"];
  if (taken) parts.push(`${crayon.chosen}: ${taken.right} of ${taken.of} right`);
  else if (crayon.weights) parts.push("mixed by hand");
  if (crayon.examples) parts.push(count(crayon.examples.length, "example"));
  return parts.join(" · ");
}

function row(crayon) {
  const used = inUse() === reference(crayon);
  return h("li", { class: used ? "crayon here" : "crayon" },
    crayon.weights ? strip(crayon.weights) : h("span", { class: "strip empty", "aria-hidden": "true" }),
    h("div", { class: "crayon-words" }, h("strong", {}, crayon.name), h("span", { class: "soft" }, describe(crayon))),
    h("div", { class: "row" },
      h("button", { type: "button", class: used ? "plain" : "main", "aria-pressed": String(used),
        onclick: () => {
          onUse(used ? null : reference(crayon));
          drawList();
        } }, used ? "Put away" : "Use"),
      iconButton("trash", `Delete the crayon ${crayon.name}`, () => removeCrayon(crayon))));
}

async function removeCrayon(crayon) {
  try {
    await forget(crayon);
  } catch (error) {
    return say(error.message);
  }
  if (inUse() === reference(crayon)) onUse(null);
  drawList();
  onChange();
  byId("examples").focus();
  return say(`The crayon ${crayon.name} is deleted.`);
}

export function drawList() {
  const all = [...state.served, ...state.own];
  byId("no-crayons").hidden = all.length > 0;
  byId("more-crayons").hidden = !state.more;
  byId("crayon-list").replaceChildren(...all.map(row));
  byId("keep-where").hidden = !state.keeps;
  byId("make-effort").hidden = !state.keeps;
  byId("make-pool").hidden = state.pools.length < 2;
  byId("no-pool").hidden = state.pools.length > 0;
  byId("pool").replaceChildren(...state.pools.map(({ id }) => h("option", { value: id }, id)));
  drawMixer();
}

function drawMixer() {
  const names = mixable();
  const can = state.keeps && names.length > 0;
  byId("mix-form").hidden = !can;
  byId("mix-cannot").hidden = can;
  byId("mix-cannot").textContent = names.length
    ? "This server does not keep crayons, and only those that it keeps can be mixed by hand."
    : "This server offers no pool of adapters to mix. “crayon serve --pool built-in” offers mini's.";
  if (!can || byId("sliders").childElementCount) return;
  startMixing(names.map((name) => [name, 0]));
}

/** The weights of the sliders as they stand. */
let mixed = [];

function startMixing(list) {
  mixed = list.map(([, weight]) => weight);
  const show = () => byId("mix-strip").replaceChildren(strip(list.map(([name], at) => [name, mixed[at]])));
  byId("sliders").replaceChildren(sliders(list, (weights) => {
    mixed = weights;
    show();
  }));
  show();
}

function showResult(crayon) {
  const parts = [];
  if (crayon.tried.length) parts.push(ladder(crayon.tried, crayon.chosen));
  else if (crayon.fits === false) parts.push(h("p", {}, "The examples are near to nothing that the pool learned: the model answers as it is."));
  if (crayon.weights) parts.push(h("h4", {}, "What it is blended of"), ...bars(crayon.weights).filter(Boolean));
  if (crayon.notes?.length) parts.push(h("ul", { class: "notes" }, crayon.notes.map((note) => h("li", {}, note))));
  const actions = [h("button", { type: "button", class: "main", onclick: () => {
    onUse(reference(crayon));
    byId("crayons").close();
  } }, icon("crayon"), `Chat with ${crayon.name}`)];
  if (crayon.weights && !byId("mix-form").hidden) {
    actions.push(h("button", { type: "button", class: "plain", onclick: () => {
      startMixing(crayon.weights);
      byId("mixing").open = true;
      byId("sliders").querySelector("input")?.focus();
    } }, "Change the mix"));
  }
  byId("made").replaceChildren(h("section", { class: "result", "aria-label": `The crayon ${crayon.name}` }, h("h3", { tabindex: "-1" }, crayon.name),
    ...parts, h("div", { class: "row" }, actions)));
  byId("made").querySelector("h3").focus({ preventScroll: true });
  byId("made").scrollIntoView({ block: "start" });
}

function readField() {
  const { examples, problems } = parseExamples(byId("examples").value);
  const answers = examples.filter(({ answer }) => answer).length;
  const line = byId("examples-read");
  if (!byId("examples").value.trim()) line.textContent = "";
  else line.textContent = [`${count(examples.length, "example")}${answers < examples.length ? `, ${answers} with answers` : ""}.`, ...problems.slice(0, 3),
    problems.length > 3 ? `And ${problems.length - 3} lines more.` : ""].filter(Boolean).join(" ");
  line.classList.toggle("wrong", problems.length > 0);
  byId("make").disabled = !examples.length || problems.length > 0 || making !== null;
  return examples;
}

/** Puts examples into the field, behind those that stand there. */
export function addExamples(text) {
  const before = byId("examples").value.trimEnd();
  byId("examples").value = before ? `${before}\n${text}` : text;
  readField();
}

export async function homeExamples() {
  const response = await fetch("/page/home.jsonl");
  if (!response.ok) return say("The examples cannot be read from the server.");
  byId("examples").value = (await response.text()).trimEnd();
  byId("crayon-name").value = "home";
  return readField();
}

/** Says how long the judging has taken so far, and ends it on demand. */
async function judged(work) {
  making = new AbortController();
  const began = Date.now();
  const line = h("span", {});
  const tick = () => { line.textContent = `The examples' own answers are judging… ${Math.round((Date.now() - began) / 1000)} s`; };
  tick();
  const clock = setInterval(tick, 1000);
  byId("made").replaceChildren(h("div", { class: "waiting", role: "status" },
    h("span", { class: "dots", "aria-hidden": "true" }, h("i"), h("i"), h("i")), line,
    h("button", { type: "button", class: "plain", onclick: () => making.abort() }, "Stop")));
  readField();
  try {
    return await work(making.signal);
  } finally {
    clearInterval(clock);
    making = null;
    readField();
  }
}

async function makeCrayon(replace) {
  const examples = readField();
  if (!examples.length || making) return;
  const form = byId("make-form");
  const wanted = {
    name: form.elements.name.value.trim(),
    examples,
    replace,
    there: state.keeps && form.elements.where.value === "server",
    effort: form.elements.effort.value,
    budget: Number(form.elements.budget.value) || null,
    pool: state.pools.length > 1 ? form.elements.pool.value : null,
  };
  try {
    const made = await judged((signal) => make(wanted, signal));
    drawList();
    onChange();
    showResult(made);
  } catch (error) {
    if (error.name === "AbortError") byId("made").replaceChildren(h("p", { class: "soft" }, "Stopped."));
    else problem("made", error, () => makeCrayon(true));
  }
}

async function keepMix(replace) {
  byId("mix-said").replaceChildren();
  try {
    const made = await mix(byId("mix-form").elements.name.value.trim(), mixed, replace);
    drawList();
    onChange();
    onUse(reference(made));
    drawList();
    say(`The crayon ${made.name} is kept, and answers now.`);
  } catch (error) {
    problem("mix-said", error, () => keepMix(true));
  }
}

export async function openCrayons() {
  if (!byId("crayons").open) byId("crayons").showModal();
  drawList();
  try {
    await refresh();
    drawList();
    onChange();
  } catch (error) {
    problem("made", error);
  }
}

export function startCrayons(wired) {
  ({ onUse, inUse, onChange } = wired);
  byId("examples").addEventListener("input", readField);
  byId("home-examples").addEventListener("click", homeExamples);
  for (const [form, send] of [["make-form", makeCrayon], ["mix-form", keepMix]]) {
    byId(form).addEventListener("submit", (event) => {
      event.preventDefault();
      send(false);
    });
  }
  byId("examples-file").addEventListener("change", async ({ target }) => {
    for (const file of target.files) addExamples(await file.text());
    target.value = "";
  });
  byId("crayons").addEventListener("close", () => making?.abort());
}
