// The server's interface: requests, streams, and errors in the server's own words.

import { dataOf } from "./sse.js";
import { kept } from "./kept.js";

/** A request that got no answer, or only a part of one. */
export class ApiError extends Error {
  constructor(message, { hint = null, status = 0, code = null, param = null, retryAfter = null } = {}) {
    super(message);
    Object.assign(this, { hint, status, code, param, retryAfter });
  }

  /** What is kept of it beside a failed answer. */
  plain() {
    const { message, hint, status, code, param, retryAfter } = this;
    return { message, hint, status, code, param, retryAfter };
  }
}

export const apiKey = () => kept.read("crayon.key", "");
export const setApiKey = (key) => (key ? kept.write("crayon.key", key) : kept.remove("crayon.key"));

function refusal(object, response) {
  const error = object?.error ?? {};
  const known = typeof error.message === "string";
  return new ApiError(known ? error.message : `The server answered ${response.status} without saying why.`, {
    hint: error.hint ?? null,
    status: response.status,
    code: error.code ?? null,
    param: error.param ?? null,
    retryAfter: Number(response.headers.get("Retry-After")) || null,
  });
}

async function request(path, { method = "GET", body, signal } = {}) {
  const headers = {};
  if (apiKey()) headers.Authorization = `Bearer ${apiKey()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server cannot be reached.", { hint: "Is “crayon serve” still running?", code: "unreachable" });
  }
  if (!response.ok) throw refusal(await response.json().catch(() => null), response);
  return response;
}

export const get = async (path) => (await request(path)).json();
export const post = async (path, body, signal) => (await request(path, { method: "POST", body, signal })).json();
export const remove = async (path) => void (await request(path, { method: "DELETE" }));

/** The objects of a streamed answer. One that ends early is an error, whatever came before. */
export async function* stream(path, body, signal) {
  const response = await request(path, { method: "POST", body, signal });
  try {
    for await (const data of dataOf(response.body)) {
      if (data === "[DONE]") return;
      const object = JSON.parse(data);
      if (object.error) throw refusal(object, response);
      yield object;
    }
  } catch (error) {
    if (error instanceof ApiError || error.name === "AbortError") throw error;
    throw new ApiError("The connection broke off in the middle of the answer.", { code: "broken_off" });
  }
  throw new ApiError("The server ended the answer before it was whole.", { code: "broken_off" });
}
