// Conversations: what was said, kept one by one, so that two open pages do not overwrite each other's.

import { kept } from "./kept.js";

const PREFIX = "crayon.chat.";
const LONGEST_TITLE = 48;

export const blank = () => ({
  id: crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`,
  title: "",
  created: Date.now(),
  changed: Date.now(),
  // Which model or crayon answers; null for the first one the server has.
  answers: null,
  documents: [],
  messages: [],
});

/** All that are kept, the latest first. */
export function all() {
  const found = kept.names(PREFIX).map((name) => kept.read(name, null));
  return found.filter((conversation) => conversation?.id && Array.isArray(conversation.messages))
    .sort((a, b) => b.changed - a.changed);
}

export function open(id) {
  const conversation = kept.read(PREFIX + id, null);
  if (!conversation) return null;
  // What was being written when the page went away is all there will be of it.
  for (const message of conversation.messages) {
    if (message.state === "waiting" || message.state === "writing") message.state = "stopped";
  }
  return conversation;
}

/** Whether there was room. An empty conversation leaves no trace; large documents go before what was said. */
export function save(conversation) {
  if (!conversation.messages.length || conversation.forgotten) return true;
  const name = PREFIX + conversation.id;
  if (kept.write(name, conversation)) return true;
  const documents = conversation.documents.map((document) => ({ ...document, text: null }));
  kept.write(name, { ...conversation, documents });
  return false;
}

/** Deletes it. Whoever is still writing in it keeps nothing of it any more. */
export function forget(conversation) {
  conversation.forgotten = true;
  kept.remove(PREFIX + conversation.id);
}

export function bringBack(conversation) {
  conversation.forgotten = false;
  save(conversation);
}

export const isConversation = (name) => name?.startsWith(PREFIX);

/** Its name, or the beginning of its first question. */
export function titleOf(conversation) {
  if (conversation.title) return conversation.title;
  const first = conversation.messages[0]?.text.trim().split("\n")[0] ?? "";
  if (!first) return "New chat";
  return first.length > LONGEST_TITLE ? `${first.slice(0, LONGEST_TITLE - 1).trimEnd()}…` : first;
}

/** What is worth having outside the browser, in OpenAI's form of messages with what was told about each answer. */
export function exported(conversations) {
  return JSON.stringify(conversations.map((conversation) => ({
    title: titleOf(conversation),
    created: new Date(conversation.created).toISOString(),
    model: conversation.answers,
    documents: conversation.documents.map(({ name, text }) => ({ name, text })),
    messages: conversation.messages.map(({ role, text, facts }) => ({ role, content: text, ...(facts ? { facts } : {}) })),
  })), null, 2);
}
