// Markdown as elements. A model's text is never read as HTML: every character of it ends in a text node, links go to the web
// or to mail only, and pictures stay words, so that nothing is fetched that nobody clicked.

import { h } from "./dom.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const TABLE_LINE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
/** How deep lists and quotes are followed; a text of a thousand ">" is not worth a thousand elements. */
const DEEPEST = 6;

const INLINE = new RegExp([
  /(?<ticks>`+)/,
  /\\(?<escaped>[\\`*_{}[\]()#+\-.!|>~])/,
  /!?\[(?<label>[^\]\n]*)\]\((?<target>[^\s()]+)(?:\s+"[^"\n]*")?\)/,
  /<(?<bracketed>https?:\/\/[^\s<>]+)>/,
  /(?<bare>https?:\/\/[^\s<>()[\]"']*[^\s<>()[\]"'.,;:!?])/,
  /\*\*(?<strong>(?=\S)[^\n]*?\S)\*\*/,
  /\b__(?<strong2>(?=\S)[^\n]*?\S)__\b/,
  /\*(?<emphasis>(?=[^\s*])[^*\n]*?[^\s*])\*/,
  /\b_(?<emphasis2>(?=[^\s_])[^_\n]*?[^\s_])_\b/,
  /~~(?<struck>(?=\S)[^\n]*?\S)~~/,
].map((part) => part.source).join("|"));

/** A target that may be followed, or null. Anything but web and mail could run something. */
function safe(target) {
  try {
    const url = new URL(target);
    return ["http:", "https:", "mailto:"].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function link(label, target, source) {
  const href = safe(target);
  return href ? h("a", { href, target: "_blank", rel: "noopener noreferrer nofollow" }, label) : source;
}

/** Where code that `ticks` begin ends in `text`: at as many ticks, no more and no less. -1 where it does not. */
function endOfCode(text, from, ticks) {
  for (let at = text.indexOf(ticks, from); at >= 0; at = text.indexOf(ticks, at)) {
    let end = at;
    while (text[end] === "`") end += 1;
    if (end - at === ticks.length) return at;
    at = end;
  }
  return -1;
}

/** What stands in one line or paragraph. */
export function inline(text, depth = 0) {
  const parts = [];
  let rest = text;
  // Numbers of ticks that are known to find no end in the rest, so that it is not looked for again and again.
  const endless = new Set();
  while (rest) {
    const found = depth < DEEPEST ? INLINE.exec(rest) : null;
    if (!found) {
      parts.push(rest);
      break;
    }
    if (found.index) parts.push(rest.slice(0, found.index));
    const group = found.groups;
    const within = (tag, content) => h(tag, {}, inline(content, depth + 1));
    let after = found.index + found[0].length;
    if (group.ticks) {
      const end = endless.has(group.ticks) ? -1 : endOfCode(rest, after, group.ticks);
      if (end < 0) {
        endless.add(group.ticks);
        parts.push(group.ticks);
      } else {
        // A space on either side only keeps ticks of the code apart from its own.
        parts.push(h("code", {}, rest.slice(after, end).replace(/^ (.*[^ ].*) $/s, "$1")));
        after = end + group.ticks.length;
      }
    } else if (group.escaped) parts.push(group.escaped);
    else if (group.target) parts.push(link(group.label || group.target, group.target, found[0]));
    else if (group.bracketed ?? group.bare) parts.push(link(group.bracketed ?? group.bare, group.bracketed ?? group.bare, found[0]));
    else if (group.strong ?? group.strong2) parts.push(within("strong", group.strong ?? group.strong2));
    else if (group.emphasis ?? group.emphasis2) parts.push(within("em", group.emphasis ?? group.emphasis2));
    else parts.push(within("s", group.struck));
    rest = rest.slice(after);
  }
  return parts;
}

/** A paragraph, whose line ends stay: a model that writes verse means them. */
function paragraph(lines) {
  const parts = lines.flatMap((line, at) => [at ? h("br") : null, ...inline(line.trim())]);
  return h("p", {}, parts);
}

const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());

function table(head, rows) {
  const row = (tag, line) => h("tr", {}, cells(line).map((cell) => h(tag, tag === "th" ? { scope: "col" } : {}, inline(cell))));
  return h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Table" },
    h("table", {}, h("thead", {}, row("th", head)), h("tbody", {}, rows.map((line) => row("td", line)))));
}

function list(lines, depth) {
  const first = ITEM.exec(lines[0]);
  const numbered = /\d/.test(first[2]);
  const items = [];
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (item && item[1].length <= first[1].length + 1) items.push([item[3]]);
    else items.at(-1).push(line.slice(Math.min(first[1].length + 2, line.length - line.trimStart().length)));
  }
  const start = numbered ? parseInt(first[2], 10) : 1;
  return h(numbered ? "ol" : "ul", start === 1 ? {} : { start }, items.map((item) => {
    const inner = blocks(item, depth + 1);
    // An item of one paragraph is a line.
    return h("li", {}, inner.length && inner[0].tagName === "P" ? [...inner[0].childNodes, ...inner.slice(1)] : inner);
  }));
}

function blocks(lines, depth = 0) {
  if (depth > DEEPEST) return [paragraph(lines)];
  const found = [];
  let open = [];
  const close = () => {
    if (open.length) found.push(paragraph(open));
    open = [];
  };
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at];
    const fence = FENCE.exec(line);
    const heading = HEADING.exec(line);
    if (!line.trim()) {
      close();
    } else if (fence) {
      close();
      const code = [];
      const closes = (text) => text.trim().startsWith(fence[1]) && !text.trim().replaceAll(fence[1][0], "");
      for (at += 1; at < lines.length && !closes(lines[at]); at += 1) code.push(lines[at]);
      found.push(h("pre", { tabindex: "0", "data-language": fence[2] || null }, h("code", {}, code.join("\n"))));
    } else if (heading) {
      close();
      // The page has its own first two levels.
      found.push(h(`h${Math.min(heading[1].length + 2, 6)}`, {}, inline(heading[2])));
    } else if (RULE.test(line)) {
      close();
      found.push(h("hr"));
    } else if (QUOTE.test(line)) {
      close();
      const quoted = [];
      for (; at < lines.length && QUOTE.test(lines[at]); at += 1) quoted.push(lines[at].replace(QUOTE, ""));
      at -= 1;
      found.push(h("blockquote", {}, blocks(quoted, depth + 1)));
    } else if (ITEM.test(line) && !open.length) {
      const taken = [line];
      const goesOn = (text) => ITEM.test(text) || /^\s{2,}\S/.test(text);
      for (at += 1; at < lines.length; at += 1) {
        const next = lines[at].trim() === "" && at + 1 < lines.length && goesOn(lines[at + 1]);
        if (!next && !goesOn(lines[at])) break;
        taken.push(lines[at]);
      }
      at -= 1;
      found.push(list(taken, depth));
    } else if (line.includes("|") && at + 1 < lines.length && lines[at + 1].includes("|") && TABLE_LINE.test(lines[at + 1])) {
      close();
      const rows = [];
      let next = at + 2;
      for (; next < lines.length && lines[next].includes("|"); next += 1) rows.push(lines[next]);
      found.push(table(line, rows));
      at = next - 1;
    } else {
      open.push(line);
      // "Here are three:" is often followed by its list at once.
      if (at + 1 < lines.length && ITEM.test(lines[at + 1])) close();
    }
  }
  close();
  return found;
}

/** `text` as a list of elements. */
export const markdown = (text) => blocks(text.replace(/\r\n?/g, "\n").replaceAll("\t", "    ").split("\n"));
