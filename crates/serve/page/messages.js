// Messages as they are seen: a question as it was typed, an answer as Markdown with what is told about it below.

import { drawFacts } from "./facts.js";
import { h, icon, iconButton } from "./dom.js";
import { markdown } from "./markdown.js";
import { isSetting, openSettings } from "./settings.js";

function problem(error, onRetry) {
  const parts = [h("p", {}, h("strong", {}, error.message))];
  if (error.hint) parts.push(h("p", {}, error.hint));
  if (error.retryAfter) parts.push(h("p", {}, `It makes sense to try again in ${error.retryAfter} s.`));
  const actions = [h("button", { type: "button", class: "plain", onclick: onRetry }, "Try again")];
  if (isSetting(error.param)) {
    actions.push(h("button", { type: "button", class: "plain", onclick: () => openSettings(error.param) }, `Open the setting “${error.param}”`));
  }
  return h("div", { class: "problem", role: "alert" }, parts, h("div", { class: "row" }, actions));
}

function waiting(message) {
  const since = Math.floor((Date.now() - message.began) / 1000);
  const what = message.documents ? "Reading" : "Thinking";
  return h("p", { class: "waiting" }, h("span", { class: "dots", "aria-hidden": "true" }, h("i"), h("i"), h("i")),
    since >= 2 ? `${what} for ${since} s` : `${what}…`);
}

function answer(message, actions) {
  const busy = message.state === "waiting" || message.state === "writing";
  const body = h("div", { class: "said" }, message.text ? markdown(message.text) : null,
    busy && !message.text ? waiting(message) : null);
  const bottom = [];
  if (message.error) bottom.push(problem(message.error, actions.retry));
  if (message.state === "stopped") bottom.push(h("p", { class: "soft" }, "Stopped."));
  if (!busy) {
    bottom.push(drawFacts(message));
    bottom.push(h("div", { class: "actions" },
      message.text ? iconButton("copy", "Copy the answer", actions.copy) : null,
      iconButton("retry", "Answer again", actions.retry)));
  }
  return [h("h2", { class: "sr" }, "Answer"), body, ...bottom.filter(Boolean)];
}

function question(message, actions) {
  return [h("h2", { class: "sr" }, "You"), h("div", { class: "said" }, message.text),
    h("div", { class: "actions" },
      iconButton("edit", "Edit the question", actions.edit), iconButton("copy", "Copy the question", actions.copy))];
}

/** A question turned into a field, until it is sent again or left as it was. */
export function drawEditor(text, { send, cancel }) {
  const field = h("textarea", { "aria-label": "Edit the question", rows: Math.min(8, text.split("\n").length + 1) });
  field.value = text;
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") cancel();
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      send(field.value);
    }
    event.stopPropagation();
  });
  const editor = h("div", { class: "editor" }, field, h("div", { class: "row" },
    h("button", { type: "button", class: "main", onclick: () => send(field.value) }, icon("send"), "Send"),
    h("button", { type: "button", class: "plain", onclick: cancel }, "Cancel")));
  return { editor, field };
}

/** The element of one message. */
export function drawMessage(message, actions) {
  const mine = message.role === "user";
  return h("article", { class: mine ? "message mine" : "message", "data-state": message.state ?? "done" },
    mine ? question(message, actions) : answer(message, actions));
}
