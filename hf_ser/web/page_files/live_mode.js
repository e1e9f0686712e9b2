// Live speech: from the microphone to answers for windows, until it is stopped.
import {LiveMeter} from "./live_meter.js";
import {LiveRecognizer} from "./live_recognizer.js";
import {openMicrophone} from "./microphone.js";
import {SoundError} from "./sound_error.js";

const MOST_PENDING_S = 30; // sound that waits for the model
const MOST_WINDOWS = 10_000; // that are kept for the downloads

/** A stream of live speech. Its memory has a limit, however long it is. */
export class LiveMode {
  /**
   * @param {object} page page.json
   * @param {object} options see live_options.js
   * @param {(samples: Float32Array) => Promise<number[]>} classify
   * @param {object} on functions: level(peak), answers(windows, speed), and end(), which is called if the
   *   stream must be stopped for the reason in `failure`
   */
  constructor(page, options, classify, on) {
    Object.assign(this, {on, recognizer: new LiveRecognizer(classify, page, options), meter: new LiveMeter(),
      windows: [], pending_s: 0, lost_s: 0, failure: null, classified: Promise.resolve()});
  }

  /** Open the microphone. @throws {Error} with a sentence for the page */
  async start() {
    this.microphone = await openMicrophone((...block) => this.take(...block), reason => this.fail(reason));
  }

  /** Close the microphone and answer the rest. */
  async stop() {
    await this.microphone.close();
    await this.classified;
    if (!this.failure?.isBroken) await this.count(0, performance.now(), () => this.recognizer.finish());
  }

  get seconds() {
    return this.meter.seconds;
  }

  /** Windows, latency and real-time factor so far; also what was lost. */
  get summary() {
    const lost = this.lost_s ? ` ${this.lost_s.toFixed(1)} s of sound were lost, because the model is slower than the ` +
      "microphone: choose a larger hop." : "";
    const dropped = this.meter.windows > MOST_WINDOWS ? ` Only the last ${MOST_WINDOWS} windows are kept.` : "";
    return `${this.meter.summary()}.${dropped}${lost}`;
  }

  /** Take a block of the microphone. Blocks are classified one after the other. */
  take(samples, rate, peak) {
    const seconds = samples.length / rate, arrived = performance.now();
    this.on.level(peak);
    if (this.pending_s + seconds > MOST_PENDING_S) {
      this.lost_s += seconds;
      return;
    }
    this.pending_s += seconds;
    this.classified = this.classified.then(async () => {
      if (!this.failure?.isBroken) await this.count(seconds, arrived, () => this.recognizer.feed(samples, rate));
      this.pending_s -= seconds;
    });
  }

  /** Compute answers, measure the time, and show them. */
  async count(seconds, arrived, compute) {
    const started = performance.now();
    try {
      const answers = await compute(), now = performance.now();
      this.meter.add(seconds, now - started, answers.map(() => now - arrived));
      this.windows.push(...answers);
      if (this.windows.length > MOST_WINDOWS) this.windows.splice(0, this.windows.length - MOST_WINDOWS);
      if (answers.length) this.on.answers(answers, `Last answer after ${(now - arrived).toFixed(0)} ms. ${this.summary}`);
    } catch (error) {
      if (error instanceof SoundError) this.fail(error.message.replace(/^g/, "G"));
      else this.fail(`The model failed (${error.message}). Use a shorter window.`, true);
    }
  }

  /** Keep the first reason, and whether the model can be used no more. */
  fail(reason, isBroken = false) {
    const isFirst = this.failure === null;
    this.failure ??= {reason, isBroken};
    this.failure.isBroken ||= isBroken;
    if (isFirst) this.on.end();
  }
}
