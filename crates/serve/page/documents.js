// Documents that a conversation is about: text files, dropped or chosen, sent with every question.

import { count, h, icon, iconButton } from "./dom.js";

/** Bytes the server reads in one request, by default. */
const LARGEST = 4 << 20;

/** The text of a file, or why there is none. */
export async function readDocument(file) {
  if (file.size > LARGEST) throw new Error(`${file.name} is larger than 4 MiB, which is the most that a request may hold.`);
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Error(`${file.name} is not a text in UTF-8.`);
  }
  if (text.includes("\0")) throw new Error(`${file.name} is not a text.`);
  if (!text.trim()) throw new Error(`${file.name} is empty.`);
  return { name: file.name, text };
}

const words = (text) => text.split(/\s+/).length;

/** One chip a document; `onRemove` gets its place. */
export function drawDocuments(list, documents, onRemove) {
  list.hidden = !documents.length;
  list.replaceChildren(...documents.map(({ name, text }, at) => h("li", { class: text === null ? "chip missing" : "chip" },
    icon("document"),
    h("span", { class: "chip-name" }, name),
    h("span", { class: "soft" }, text === null ? "was too large to keep; drop it again" : count(words(text), "word")),
    iconButton("close", `Remove ${name}`, () => onRemove(at)))));
}
