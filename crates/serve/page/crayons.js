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
    list("/v1/models"), list("/v1/pools").catch(absent), list("/v1/customizations").catch(absent)]);
  state.keeps = served !== null;
  state.served = (served ?? []).map(fromServer);
  const people = new Set(state.served.map(({ model }) => model));
  state.models = models.map(({ id }) => id).filter((id) => !people.has(id));
  state.pools = pools ?? [];
  nameAdapters(state.pools.flatMap(({ names }) => names ?? []));
}

const keepOwn = () => kept.write(NAME, state.own);

/** Has the server judge the examples, and keeps the result there. */
async function makeThere({ name, examples, effort, budget }, signal) {
  const body = { examples, ...(name ? { name } : {}), ...(effort ? { effort } : {}), ...(budget ? { budget } : {}) };
  const made = fromServer(await post("/v1/customizations", body, signal));
  state.served = [made, ...state.served.filter(({ id }) => id !== made.id)];
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

export const make = (wanted, signal) => (wanted.there ? makeThere(wanted, signal) : makeHere(wanted, signal));

/** Keeps weights that were set by hand, which only the server can answer through. */
export async function mix(name, weights) {
  const made = fromServer(await post("/v1/customizations", { ...(name ? { name } : {}), weights }));
  state.served = [made, ...state.served.filter(({ id }) => id !== made.id)];
  return made;
}

export async function forget(crayon) {
  if (crayon.model) {
    await remove(`/v1/customizations/${encodeURIComponent(crayon.id)}`);
    state.served = state.served.filter(({ id }) => id !== crayon.id);
  } else {
    state.own = state.own.filter(({ id }) => id !== crayon.id);
    keepOwn();
  }
}

/** How a conversation names who answers it: `model:NAME` or `page:ID`. */
export const reference = (crayon) => (crayon.model ? `model:${crayon.model}` : `page:${crayon.id}`);

/** The crayon that is named, or null for a model as it is. */
export const found = (named) => [...state.served, ...state.own].find((crayon) => reference(crayon) === named) ?? null;

/** The fields of a request that let the named one answer. */
export function answering(named) {
  const crayon = found(named);
  if (crayon?.examples) {
    return { model: state.models[0], examples: crayon.examples, ...(crayon.pool ? { pool: crayon.pool } : {}) };
  }
  const model = named?.startsWith("model:") ? named.slice("model:".length) : null;
  return { model: model ?? state.models[0] };
}
