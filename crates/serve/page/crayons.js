// Crayons: what examples made of the model. Those of the server answer under a model's name of their own; those of this page are
// sets of examples that go along with every question.

import { get, post, remove } from "./api.js";
import { kept } from "./kept.js";
import { nameAdapters, pairs } from "./weights.js";

const NAME = "crayon.crayons";

export const state = {
  models: [],
  /** People's crayons on the server, in the order it lists them. */
  served: [],
  own: kept.read(NAME, []),
  pools: [],
  /** Whether the server has more than it listed. */
  more: false,
  /** Whether the server keeps crayons. */
  keeps: false,
};

/** One of the server's, in the form the page uses for both. */
function fromServer(object) {
  return {
    id: object.id,
    name: object.model.slice(object.model.indexOf(":") + 1),
    model: object.model,
    tried: object.tried ?? [],
    chosen: object.chosen ?? null,
    fits: object.fits ?? null,
    weights: pairs(object.weights, object.names),
    notes: object.notes ?? [],
  };
}

/** The names of what can be mixed, in the pool's order. */
export const mixable = () => state.pools[0]?.names ?? [];

/** Asks the server what there is. A server without a place for crayons has none, which is no error. */
export async function refresh() {
  const list = async (path) => (await get(path)).data ?? [];
  const absent = (error) => {
    if (error.status === 404 || error.status === 405) return null;
    throw error;
  };
  const [models, pools, served] = await Promise.all([
    list("/v1/models"), list("/v1/pools").catch(absent), get("/v1/customizations").catch(absent)]);
  state.keeps = served !== null;
  state.served = (served?.data ?? []).map(fromServer);
  state.more = served?.has_more ?? false;
  const people = new Set(state.served.map(({ model }) => model));
  state.models = models.map(({ id }) => id).filter((id) => !people.has(id));
  state.pools = pools ?? [];
  nameAdapters(state.pools.flatMap(({ names }) => names ?? []));
}

const keepOwn = () => kept.write(NAME, state.own);

/** Has the server keep what `wanted` is worth: examples that it judges, or weights. A name that somebody has is refused without `replace`. */
async function keepThere({ name, pool, effort, budget, replace, ...what }, signal) {
  const given = Object.entries({ name, pool, effort, budget, replace }).filter(([, value]) => value);
  const made = fromServer(await post("/v1/customizations", { ...Object.fromEntries(given), ...what }, signal));
  state.served = [made, ...state.served.filter(({ model }) => model !== made.model)];
  return made;
}

/** Has the server judge the examples beside a question that is one of them, and keeps the examples in this page. */
async function makeHere({ name, examples, pool }, signal) {
  const answer = await post("/v1/chat/completions", {
    model: state.models[0],
    messages: [{ role: "user", content: examples[0].prompt }],
    examples,
    ...(pool ? { pool } : {}),
    route: "device",
    max_tokens: 1,
  }, signal);
  const { tried, chosen, fits, adapter, notes } = answer.crayon;
  const made = {
    id: `${Date.now()}`, name: name || `crayon ${state.own.length + 1}`, examples, pool, tried, chosen, fits, notes, weights: pairs(adapter),
  };
  state.own = [made, ...state.own.filter((other) => other.name !== made.name)];
  keepOwn();
  return made;
}

export const make = ({ there, ...wanted }, signal) => (there ? keepThere(wanted, signal) : makeHere(wanted, signal));

/** Keeps weights that were set by hand, which only the server can answer through. */
export const mix = (name, weights, replace) =>
  keepThere({ name, weights, replace, pool: state.pools.length > 1 ? state.pools[0].id : null });

export async function forget(crayon) {
  if (crayon.model) {
    // The whole name, since two models may have a person of one name.
    await remove(`/v1/customizations/${encodeURIComponent(crayon.model)}`);
    state.served = state.served.filter(({ model }) => model !== crayon.model);
  } else {
    state.own = state.own.filter(({ id }) => id !== crayon.id);
    keepOwn();
  }
}

/** How a conversation names who answers it: `model:NAME` or `page:ID`. */
export const reference = (crayon) => (crayon.model ? `model:${crayon.model}` : `page:${crayon.id}`);

/** The crayon that is named, or null for a model as it is. */
export const found = (named) => [...state.served, ...state.own].find((crayon) => reference(crayon) === named) ?? null;

/** Whether the named one can answer: a crayon may have been deleted since. */
export const isThere = (named) => found(named) !== null || state.models.some((model) => named === `model:${model}`);

/** The fields of a request that let the named one answer, or else the first model. */
export function answering(named) {
  const crayon = found(named);
  if (crayon?.examples) {
    return { model: state.models[0], examples: crayon.examples, ...(crayon.pool ? { pool: crayon.pool } : {}) };
  }
  return { model: isThere(named) ? named.slice("model:".length) : state.models[0] };
}
