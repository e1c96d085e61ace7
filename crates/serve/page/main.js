// The page put together: which conversation is open, who answers it, what a key or a dropped file does.

import { say, speaker } from "./announce.js";
import { setApiKey } from "./api.js";
import { answer, isRunning, live, stop } from "./chat.js";
import { copy } from "./clipboard.js";
import * as conversations from "./conversations.js";
import { addExamples, drawList, homeExamples, openCrayons, startCrayons } from "./crayonbox.js";
import { found, isThere, reference, refresh, state } from "./crayons.js";
import { drawDocuments, readDocument } from "./documents.js";
import { byId, download, h, icon } from "./dom.js";
import { startDropping } from "./dropping.js";
import { holdsExamples } from "./examples.js";
import { kept } from "./kept.js";
import { drawEditor, drawMessage } from "./messages.js";
import { openSettings, startSettings } from "./settings.js";
import { drawSidebar } from "./sidebar.js";
import { startTheme } from "./theme.js";
import { strip } from "./weights.js";

const CURRENT = "crayon.current";
const LAST_USED = "crayon.answers";
/** How often, in milliseconds, an answer is drawn anew while it is written. */
const DRAWN = 60;
/** How near the end, in pixels, counts as reading along. */
const NEAR = 80;
const STARTERS = ["What do cats like to eat?", "Tell me a story about a fox and a bear.", "Why is the sky blue?"];

const narrow = matchMedia("(max-width: 760px)");

/** A new conversation begins with whoever answered last. */
const blank = () => ({ ...conversations.blank(), answers: kept.read(LAST_USED, null) });

let current = blank();

// --- what is seen ---

const scroll = byId("scroll");

function follow(always) {
  const near = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < NEAR;
  return () => { if (near || always) scroll.scrollTop = scroll.scrollHeight; };
}

function actionsOf(message) {
  return {
    copy: () => copy(message.text),
    retry: () => again(current.messages.indexOf(message)),
    edit: () => edit(message),
  };
}

function drawLog() {
  byId("log").replaceChildren(...current.messages.map((message) => drawMessage(message, actionsOf(message))));
  byId("welcome").hidden = current.messages.length > 0;
  // The welcome has a heading of its own.
  byId("title").hidden = !current.messages.length;
  byId("title").textContent = conversations.titleOf(current);
}

function drawComposer() {
  const busy = isRunning(current);
  byId("send").hidden = busy;
  byId("stop").hidden = !busy;
  drawDocuments(byId("documents"), current.documents, (at) => {
    current.documents.splice(at, 1);
    conversations.save(current);
    drawComposer();
    byId("question").focus();
  });
  byId("question").placeholder = current.documents.length ? "Ask about the document" : "Ask something";
}

function drawAnswers() {
  const crayons = [...state.served, ...state.own];
  const option = (value, text) => h("option", { value }, text);
  const models = state.models.map((name) => option(`model:${name}`, name));
  const people = crayons.map((crayon) => option(reference(crayon), crayon.model ?? `${crayon.name} (this page)`));
  byId("answers").replaceChildren(...models, ...(people.length ? [h("optgroup", { label: "Crayons" }, people)] : []));
  byId("answers").value = isThere(current.answers) ? current.answers : `model:${state.models[0]}`;
  const crayon = found(current.answers);
  byId("in-use").replaceChildren(crayon?.weights ? strip(crayon.weights) : "");
}

function drawConversations() {
  drawSidebar(conversations.all(), current, {
    onOpen: (id) => {
      open(live(id) ?? conversations.open(id));
      toggleSidebar(false);
    },
    onRename: (listed, title) => {
      const conversation = itself(listed);
      conversation.title = title;
      conversations.save(conversation);
      draw();
    },
    onExport: (listed) => download(`${conversations.titleOf(listed)}.json`, conversations.exported([itself(listed)])),
    onDelete: discard,
  });
}

function draw() {
  drawLog();
  drawComposer();
  drawAnswers();
  drawConversations();
  document.title = current.messages.length ? `${conversations.titleOf(current)} · crayon` : "crayon";
}

// --- conversations ---

function open(conversation) {
  current = conversation ?? blank();
  kept.write(CURRENT, current.id);
  draw();
  scroll.scrollTop = scroll.scrollHeight;
  // On a phone the focus would bring up the keyboard, over half of what was just opened.
  if (!narrow.matches) byId("question").focus();
}

/** The conversation that is open or being answered, rather than the copy that the list was drawn from. */
const itself = (listed) => (listed.id === current.id ? current : live(listed.id) ?? listed);

function discard(listed) {
  const conversation = itself(listed);
  stop(conversation);
  conversations.forget(conversation);
  if (conversation.id === current.id) open(null);
  else drawConversations();
  byId("new-chat").focus();
  say(`“${conversations.titleOf(conversation)}” is deleted.`, {
    label: "Undo",
    run: () => {
      conversations.bringBack(conversation);
      open(conversation);
    },
  });
}

// --- questions and answers ---

/** Whatever of the answer is new is drawn, but not more often than an eye can follow. */
function watch(conversation) {
  const speak = speaker();
  let drawn = 0;
  let due = null;
  const redraw = (message) => {
    due = null;
    drawn = Date.now();
    if (conversation !== current) return;
    const settle = follow(false);
    const at = current.messages.indexOf(message);
    byId("log").children[at]?.replaceWith(drawMessage(message, actionsOf(message)));
    settle();
  };
  return (message) => {
    const over = !isRunning(conversation);
    if (conversation === current) speak(message.text, over);
    if (over) {
      clearTimeout(due);
      redraw(message);
    } else due ??= setTimeout(() => redraw(message), Math.max(0, DRAWN - (Date.now() - drawn)));
  };
}

async function respond() {
  const conversation = current;
  const change = watch(conversation);
  // The seconds of waiting go on without news from the server.
  const clock = setInterval(() => {
    const last = conversation.messages.at(-1);
    if (last.state === "waiting") change(last);
  }, 1000);
  const answered = answer(conversation, change);
  draw();
  follow(true)();
  const { message, room } = await answered;
  clearInterval(clock);
  if (conversation === current) drawComposer();
  drawConversations();
  if (!room) say("This browser has no room left for history. Export or delete conversations.");
  if (message.error?.status === 401) askForKey(message.error.message);
}

function ask(text) {
  if (!text.trim() || isRunning(current)) return;
  current.messages.push({ role: "user", text: text.trim() });
  kept.write(CURRENT, current.id);
  respond();
}

/** The answer at `at` is written anew, and what followed it is gone. */
function again(at) {
  if (isRunning(current)) return;
  current.messages.length = at;
  respond();
  byId("question").focus();
}

function edit(message) {
  if (isRunning(current)) return;
  const at = current.messages.indexOf(message);
  const element = byId("log").children[at];
  const back = () => {
    drawLog();
    byId("log").children[at]?.querySelector("button")?.focus();
  };
  const { editor, field } = drawEditor(message.text, {
    cancel: back,
    send: (text) => {
      if (!text.trim()) return;
      current.messages.length = at;
      ask(text);
      byId("question").focus();
    },
  });
  element.replaceChildren(editor);
  field.focus();
}

// --- files ---

async function takeFiles(files) {
  for (const file of files) {
    if (holdsExamples(file)) {
      await openCrayons();
      addExamples(await file.text());
      byId("examples").focus();
      continue;
    }
    try {
      const document = await readDocument(file);
      current.documents = [...current.documents.filter(({ name }) => name !== document.name), document];
      if (!conversations.save(current)) say(`${file.name} is too large to be kept when the page is closed.`);
      drawComposer();
      byId("question").focus();
    } catch (error) {
      say(error.message);
    }
  }
}

/** What is dropped on the crayons are examples, whatever the file is called. */
async function takeDropped(files) {
  if (!byId("crayons").open) return takeFiles(files);
  for (const file of files) addExamples(await file.text());
  return undefined;
}

// --- the rest of the page ---

function askForKey(why) {
  byId("key-why").textContent = why;
  if (!byId("key").open) byId("key").showModal();
}

function toggleSidebar(open) {
  document.body.classList.toggle("sidebar-open", open);
  byId("menu").setAttribute("aria-expanded", String(open));
  byId("veil").hidden = !open;
  // What is out of sight is out of the order of focus, too.
  byId("sidebar").inert = narrow.matches && !open;
  byId("main").inert = narrow.matches && open;
  if (narrow.matches && open) byId("new-chat").focus();
}

async function connect() {
  try {
    await refresh();
  } catch (error) {
    if (error.status === 401) return askForKey(error.message);
    return say([error.message, error.hint].filter(Boolean).join(" "), { label: "Try again", run: connect });
  }
  const name = state.models[0];
  byId("welcome-model").textContent = name === "mini"
    ? "mini is a small language model that lives inside this program: nine million parameters, simple English, and little knowledge of the world. "
      + "It answers here, and learns what you want from a few examples."
    : `${name} answers here, on the machine that serves this page, and learns what you want from a few examples.`;
  draw();
  return undefined;
}

function use(named) {
  current.answers = named;
  kept.write(LAST_USED, named);
  conversations.save(current);
  drawAnswers();
}

function start() {
  for (const element of document.querySelectorAll("[data-icon]")) element.prepend(icon(element.dataset.icon));
  for (const button of document.querySelectorAll("[data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
  for (const dialog of document.querySelectorAll("dialog")) {
    // A click beside a dialog is one on its backdrop, which belongs to the dialog itself.
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  }
  byId("starters").replaceChildren(...STARTERS.map((text) =>
    h("li", {}, h("button", { type: "button", class: "starter", onclick: () => {
      ask(text);
      byId("question").focus();
    } }, text))));

  const settings = startSettings();
  startCrayons({ onUse: use, inUse: () => current.answers, onChange: drawAnswers });
  startDropping(takeDropped, () => byId("crayons").open);

  const question = byId("question");
  const submit = () => {
    if (isRunning(current) || !question.value.trim()) return;
    ask(question.value);
    question.value = "";
    question.dispatchEvent(new Event("input"));
  };
  if (!CSS.supports("field-sizing", "content")) {
    // Where a field does not grow by itself.
    question.addEventListener("input", () => {
      question.style.height = "auto";
      question.style.height = `${question.scrollHeight}px`;
    });
  }
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  question.addEventListener("keydown", (event) => {
    // Enter also ends a word that is being composed, in Japanese for one.
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      submit();
    }
  });
  byId("stop").addEventListener("click", () => {
    stop(current);
    question.focus();
  });
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
    if (document.body.classList.contains("sidebar-open")) {
      toggleSidebar(false);
      byId("menu").focus();
    } else stop(current);
  });
  byId("document-file").addEventListener("change", ({ target }) => {
    takeFiles([...target.files]);
    target.value = "";
  });
  byId("new-chat").addEventListener("click", () => {
    toggleSidebar(false);
    open(null);
  });
  byId("export-all").addEventListener("click", () => download("crayon-conversations.json", conversations.exported(conversations.all())));
  byId("answers").addEventListener("change", ({ target }) => use(target.value));
  byId("open-crayons").addEventListener("click", openCrayons);
  byId("teach-home").addEventListener("click", async () => {
    await openCrayons();
    await homeExamples();
    byId("make").focus();
  });
  byId("open-settings").addEventListener("click", () => {
    settings.refresh();
    openSettings();
  });
  byId("menu").addEventListener("click", () => toggleSidebar(!document.body.classList.contains("sidebar-open")));
  byId("veil").addEventListener("click", () => toggleSidebar(false));
  narrow.addEventListener("change", () => toggleSidebar(false));
  byId("key-form").addEventListener("submit", ({ target }) => {
    setApiKey(target.elements.key.value.trim());
    target.reset();
    connect().then(drawList);
  });
  // Another tab of this page keeps its conversations in the same place.
  addEventListener("storage", ({ key }) => { if (conversations.isConversation(key)) drawConversations(); });

  toggleSidebar(false);
  startTheme();
  open(conversations.open(kept.read(CURRENT, "")));
  connect();
}

start();
