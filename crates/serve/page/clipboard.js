import { say } from "./announce.js";
import { h } from "./dom.js";

/** Copies `text`. Browsers give the clipboard to localhost and to https only; elsewhere a selection still works. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = h("textarea", { class: "sr" });
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    if (!done) return say("This browser does not let the page copy.");
  }
  return say("Copied.");
}
