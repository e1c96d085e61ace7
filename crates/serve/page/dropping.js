// Files dropped anywhere on the page.

import { byId } from "./dom.js";

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");

/** `take` gets the files; `covered` says whether something else shows where they will go. */
export function startDropping(take, covered) {
  // Every element on the way is entered and left.
  let depth = 0;
  const over = (change) => {
    depth = Math.max(0, depth + change);
    byId("drop").hidden = depth === 0 || covered();
  };
  addEventListener("dragenter", (event) => { if (carriesFiles(event)) over(1); });
  addEventListener("dragleave", (event) => { if (carriesFiles(event)) over(-1); });
  addEventListener("dragover", (event) => { if (carriesFiles(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    // A browser would open the file in place of the page.
    event.preventDefault();
    over(-depth);
    take([...event.dataTransfer.files]);
  });
}
