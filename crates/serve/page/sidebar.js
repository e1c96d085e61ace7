// The list of conversations: opened, renamed, exported, deleted.

import { byId, h, iconButton } from "./dom.js";
import { titleOf } from "./conversations.js";

/** A title turned into a field. */
function rename(row, conversation, onRename, redraw) {
  const field = h("input", { class: "rename", "aria-label": "Name of the conversation", maxlength: 80, value: titleOf(conversation) });
  let over = false;
  const end = (keep) => {
    // Leaving the field by Enter or Escape also blurs it.
    if (over) return;
    over = true;
    if (keep && field.value.trim()) onRename(conversation, field.value.trim());
    else redraw();
    byId("conversations").querySelector(`[data-id="${conversation.id}"] .open`)?.focus();
  };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") end(true);
    if (event.key === "Escape") {
      event.stopPropagation();
      end(false);
    }
  });
  field.addEventListener("blur", () => end(true));
  row.replaceChildren(field);
  field.focus();
  field.select();
}

export function drawSidebar(conversations, current, { onOpen, onRename, onExport, onDelete }) {
  const redraw = () => drawSidebar(conversations, current, { onOpen, onRename, onExport, onDelete });
  byId("no-conversations").hidden = conversations.length > 0;
  byId("export-all").hidden = conversations.length < 2;
  byId("conversations").replaceChildren(...conversations.map((conversation) => {
    const title = titleOf(conversation);
    const here = conversation.id === current.id;
    const row = h("li", { class: here ? "conversation here" : "conversation", "data-id": conversation.id },
      h("button", { type: "button", class: "open", "aria-current": here ? "page" : null, onclick: () => onOpen(conversation.id) }, title),
      h("span", { class: "row-actions" },
        iconButton("edit", `Rename ${title}`, () => rename(row, conversation, onRename, redraw)),
        iconButton("export", `Export ${title}`, () => onExport(conversation)),
        iconButton("trash", `Delete ${title}`, () => onDelete(conversation))));
    return row;
  }));
}
