// Answers: asked for, streamed into their conversation, stopped. Each conversation has one at a time.

import { stream } from "./api.js";
import { save } from "./conversations.js";
import { answering } from "./crayons.js";
import { requested, setting } from "./settings.js";

/** Conversations that are being answered, each with what stops it. */
const running = new Map();

export const isRunning = ({ id }) => running.has(id);

export const stop = ({ id }) => running.get(id)?.controller.abort();

/** The conversation itself while it is being answered: what is kept of it in the browser is older. */
export const live = (id) => running.get(id)?.conversation ?? null;

/** The request for the next answer of a conversation. */
export function requestOf(conversation) {
  const said = conversation.messages.filter(({ text }) => text.trim()).map(({ role, text }) => ({ role, content: text }));
  const documents = conversation.documents.map(({ text }) => text).filter((text) => text !== null);
  return {
    ...answering(conversation.answers),
    messages: [...(setting("system") ? [{ role: "system", content: setting("system") }] : []), ...said],
    ...(documents.length ? { documents } : {}),
    ...requested(),
    stream: true,
    stream_options: { include_usage: true },
  };
}

function take(message, chunk) {
  const choice = chunk.choices?.[0];
  if (choice?.delta?.content) {
    message.text += choice.delta.content;
    message.state = "writing";
  }
  if (choice?.finish_reason) message.facts = { ...message.facts, finish: choice.finish_reason };
  if (chunk.crayon) message.facts = { ...message.facts, crayon: chunk.crayon };
  if (chunk.usage) message.facts = { ...message.facts, usage: chunk.usage };
  if (chunk.model) message.model = chunk.model;
}

/** Has the conversation's last question answered. `onChange` is called whenever there is more to see of the answer. */
export async function answer(conversation, onChange) {
  const controller = new AbortController();
  const body = requestOf(conversation);
  const message = { role: "assistant", text: "", state: "waiting", began: Date.now(), documents: body.documents?.length ?? 0 };
  conversation.messages.push(message);
  conversation.changed = Date.now();
  running.set(conversation.id, { conversation, controller });
  save(conversation);
  onChange(message);
  try {
    for await (const chunk of stream("/v1/chat/completions", body, controller.signal)) {
      take(message, chunk);
      onChange(message);
    }
    message.state = "done";
  } catch (error) {
    const stopped = error.name === "AbortError";
    message.state = stopped ? "stopped" : "failed";
    if (!stopped) message.error = error.plain?.() ?? { message: String(error) };
  }
  message.seconds = (Date.now() - message.began) / 1000;
  running.delete(conversation.id);
  const room = save(conversation);
  onChange(message);
  return { message, room };
}
