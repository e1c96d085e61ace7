// What is said to a screen reader, and short messages that everybody sees for a while.

import { byId, h } from "./dom.js";

/** How long a message stays, in milliseconds: time enough to reach its button. */
const STAYS = 8000;

/** Speaks an answer sentence by sentence while it is written: single tokens would interrupt each other. */
export function speaker() {
  let spoken = 0;
  return (text, over) => {
    const end = over ? text.length : Math.max(...[...text.matchAll(/[.!?:]\s|\n/g)].map((found) => found.index + 1), 0);
    const news = text.slice(spoken, end).trim();
    spoken = Math.max(spoken, end);
    if (news) byId("announcer").append(h("p", {}, news));
    // What was read out need not be kept.
    while (byId("announcer").childElementCount > 20) byId("announcer").firstChild.remove();
  };
}

export function say(text, action) {
  const toast = h("div", { class: "toast" }, h("span", {}, text));
  const gone = setTimeout(() => toast.remove(), STAYS);
  if (action) {
    toast.append(h("button", { type: "button", class: "plain", onclick: () => {
      clearTimeout(gone);
      toast.remove();
      action.run();
    } }, action.label));
  }
  byId("toasts").append(toast);
}
