// Drives OpenAI's JavaScript package against a running `crayon serve`: what it sends by itself, and what it makes of the answers.
//
//     npm install openai
//     crayon serve --port 8080 &
//     node scripts/serve/openai_package.mjs http://127.0.0.1:8080/v1 [KEY]

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

// Where the package is installed: the folder that the script is run in.
const found = createRequire(pathToFileURL(`${process.cwd()}/`)).resolve("openai");
const { default: OpenAI } = await import(pathToFileURL(found));

const QUESTION = [{ role: "user", content: "What do cats like to eat?" }];
const SCHEMA = {
  type: "object",
  properties: { animal: { enum: ["cat", "dog"] }, legs: { type: "integer", minimum: 0, maximum: 8 } },
  required: ["animal", "legs"],
  additionalProperties: false,
};
const TOOL = {
  type: "function",
  function: {
    name: "feed",
    description: "Feeds an animal",
    parameters: { type: "object", properties: { animal: { enum: ["cat", "dog"] } }, required: ["animal"], additionalProperties: false },
  },
};

const CHECKS = {
  async streaming(client, model) {
    const whole = await client.chat.completions.create({ model, messages: QUESTION, max_tokens: 24 });
    const stream = await client.chat.completions.create({
      model, messages: QUESTION, max_tokens: 24, stream: true, stream_options: { include_usage: true },
    });
    let text = "";
    let chunks = 0;
    let usage;
    for await (const chunk of stream) {
      chunks += 1;
      text += chunk.choices[0]?.delta?.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, whole.choices[0].message.content);
    assert.equal(usage.total_tokens, whole.usage.total_tokens);
    return `${chunks} chunks`;
  },

  async helper(client, model) {
    const runner = client.chat.completions.stream({ model, messages: QUESTION, max_tokens: 24 });
    let text = "";
    runner.on("content", (piece) => (text += piece));
    const answer = await runner.finalChatCompletion();
    assert.equal(answer.choices[0].message.content, text);
    return "the package's own reader of streams";
  },

  async leaving(client, model) {
    const stream = await client.chat.completions.create({ model, messages: QUESTION, max_tokens: 200, stream: true });
    let chunks = 0;
    for await (const _ of stream) {
      chunks += 1;
      if (chunks === 3) break;
    }
    stream.controller.abort();
    const after = await client.chat.completions.create({ model, messages: QUESTION, max_tokens: 2 });
    assert.equal(after.usage.completion_tokens, 2);
    return "a stream left in the middle holds nobody";
  },

  async forms(client, model) {
    const response_format = { type: "json_schema", json_schema: { name: "pet", schema: SCHEMA, strict: true } };
    const answer = await client.chat.completions.create({ model, messages: QUESTION, max_tokens: 64, response_format });
    const pet = JSON.parse(answer.choices[0].message.content);
    assert.ok(["cat", "dog"].includes(pet.animal) && pet.legs >= 0 && pet.legs <= 8);
    return JSON.stringify(pet);
  },

  async tools(client, model) {
    const asked = { model, tools: [TOOL], max_tokens: 64 };
    const answer = await client.chat.completions.create({ ...asked, messages: QUESTION, tool_choice: "required" });
    const { finish_reason: finish, message } = answer.choices[0];
    assert.equal(finish, "tool_calls");
    const call = message.tool_calls[0];
    assert.ok(["cat", "dog"].includes(JSON.parse(call.function.arguments).animal));
    const talk = [...QUESTION, message, { role: "tool", tool_call_id: call.id, content: "It was fed." }];
    const after = await client.chat.completions.create({ ...asked, messages: talk, max_tokens: 16 });
    assert.ok(["stop", "length", "tool_calls"].includes(after.choices[0].finish_reason));
    return `${call.function.name}(${call.function.arguments})`;
  },

  async embeddings(client, model) {
    // The package asks for base64 where nothing is said, and takes it apart.
    const texts = ["The cat sat on the mat.", "12 + 30 = 42"];
    const { data } = await client.embeddings.create({ model, input: texts });
    const plain = await client.embeddings.create({ model, input: texts[0], encoding_format: "float" });
    assert.deepEqual(data[0].embedding.map(Math.fround), plain.data[0].embedding.map(Math.fround));
    return `${data[0].embedding.length} numbers`;
  },

  async responses(client, model) {
    const whole = await client.responses.create({ model, input: "What do cats like to eat?", max_output_tokens: 24 });
    const stream = await client.responses.create({ model, input: "What do cats like to eat?", max_output_tokens: 24, stream: true });
    let text = "";
    for await (const event of stream) {
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    assert.equal(text, whole.output_text);
    return "whole and as events";
  },

  async refusals(client, model) {
    const refused = async (kind, code, fields) => {
      await assert.rejects(client.chat.completions.create({ messages: QUESTION, model, ...fields }), (error) => {
        assert.ok(error instanceof kind, `${error}`);
        assert.equal(error.code, code);
        return true;
      });
    };
    await refused(OpenAI.NotFoundError, "model_not_found", { model: "nobody" });
    await refused(OpenAI.BadRequestError, "invalid_value", { temperature: 9 });
    await refused(OpenAI.BadRequestError, "unknown_parameter", { surprise: 1 });
    return "by their classes";
  },
};

const [baseURL, apiKey = "none"] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 120_000 });
const models = await client.models.list();
const model = models.data[0].id;
assert.equal((await client.models.retrieve(model)).id, model);
for (const [name, check] of Object.entries(CHECKS)) {
  console.log(`${name}: ${await check(client, model)}`);
}
