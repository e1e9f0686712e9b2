// Runs the graph on a thread of its own, so that the page stays usable.
import * as ort from "./ort.js";

let session, settings;

const STEPS = {
  /** Load onnxruntime and the graph. */
  async load(given) {
    settings = given;
    // Threads would need headers (COOP and COEP) that static hosts do not send.
    ort.env.wasm.numThreads = 1;
    const [wasm, graph] = await Promise.all(["ort.wasm.gz", "model.onnx.gz"].map(async name => unpacked(await fetched(name))));
    ort.env.wasm.wasmBinary = wasm;
    session = await ort.InferenceSession.create(graph, {executionProviders: ["wasm"]});
  },

  /** Classify samples at 16 kHz -> one probability per class. */
  async run(samples) {
    const length = Math.max(samples.length, settings.min_samples);
    const padded = new Float32Array(length);
    padded.set(samples);
    const inputs = {input_values: new ort.Tensor("float32", padded, [1, length])};
    if (settings.needs_mask) { // the padding to the minimum counts, as in Python
      inputs.attention_mask = new ort.Tensor("int64", new BigInt64Array(length).fill(1n), [1, length]);
    }
    const {probabilities} = await session.run(inputs);
    const values = Array.from(probabilities.data);
    const expected = settings.labels.length;
    if (values.length !== expected) throw unusable(`${values.length} values for ${expected} classes`);
    if (!values.every(Number.isFinite)) throw unusable("values that are not finite numbers");
    return values;
  },
};

let last = Promise.resolve(); // a session runs once at a time, and files and live speech share it

self.onmessage = ({data}) => { last = last.then(() => handle(data)); };

async function handle({id, step, argument}) {
  try {
    self.postMessage({id, value: await STEPS[step](argument)});
  } catch (error) {
    const message = String(error?.message ?? error).replace(/\s+/g, " ").slice(0, 200);
    self.postMessage({id, error: message, isAnswer: error?.isAnswer === true});
  }
}

function unusable(got) {
  return Object.assign(new Error(`the graph returned ${got}`), {isAnswer: true});
}

async function fetched(name) {
  const response = await fetch(name).catch(() => { throw new Error(`${name} could not be downloaded`); });
  if (!response.ok) throw new Error(`${name} could not be downloaded (HTTP ${response.status})`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Decompress gzip; some servers have already done it. */
async function unpacked(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
