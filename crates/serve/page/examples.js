// Examples of what a person wants, out of a text: lines of JSON, lines of prompt and answer with a tab between, or a list in JSON.

/** Names under which files hold the two, the usual one first. */
const PROMPTS = ["prompt", "question", "instruction", "input"];
const ANSWERS = ["answer", "completion", "output", "response"];

const first = (object, names) => names.map((name) => object[name]).find((value) => typeof value === "string" && value.trim());

function fromObject(object) {
  const prompt = first(object ?? {}, PROMPTS);
  const answer = first(object ?? {}, ANSWERS);
  if (!prompt) throw new Error("no “prompt”");
  return answer ? { prompt, answer } : { prompt };
}

function fromLine(line) {
  if (line.trimStart().startsWith("{")) {
    let object;
    try {
      object = JSON.parse(line);
    } catch {
      throw new Error("not JSON");
    }
    return fromObject(object);
  }
  const tab = line.indexOf("\t");
  if (tab < 0) throw new Error("neither JSON nor a tab between prompt and answer");
  const [prompt, answer] = [line.slice(0, tab).trim(), line.slice(tab + 1).trim()];
  if (!prompt || !answer) throw new Error("prompt or answer is missing");
  return { prompt, answer };
}

/** `{examples, problems}`: what was read, and a sentence for each line that was not. */
export function parseExamples(text) {
  if (text.trimStart().startsWith("[")) {
    try {
      return { examples: JSON.parse(text).map(fromObject), problems: [] };
    } catch (error) {
      return { examples: [], problems: [`The list cannot be read: ${error.message}.`] };
    }
  }
  const [examples, problems] = [[], []];
  text.split(/\r?\n/).forEach((line, at) => {
    if (!line.trim()) return;
    try {
      examples.push(fromLine(line));
    } catch (error) {
      problems.push(`Line ${at + 1}: ${error.message}.`);
    }
  });
  return { examples, problems };
}

/** Whether a dropped file holds examples rather than a text to be asked about. */
export const holdsExamples = (file) => /\.(jsonl|ndjson|tsv|json)$/i.test(file.name);
