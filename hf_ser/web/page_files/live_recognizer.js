// Classify a stream of samples window by window, as hf_ser/live/streaming_recognizer.py does.
import {ranked} from "./answer_text.js";
import {RATE} from "./audio.js";
import {LabelDecision} from "./label_decision.js";
import {StreamResampler} from "./resampler.js";
import {SoundError} from "./sound_error.js";
import {passesGate} from "./voice_gate.js";
import {peak, WindowCutter} from "./windows.js";

/** A stream of one microphone. Memory is limited to a window and a chunk. */
export class LiveRecognizer {
  /**
   * @param {(samples: Float32Array) => Promise<number[]>} classify samples at 16 kHz -> a probability per class
   * @param {object} page page.json: model and limits
   * @param {object} options as in page.json's `live`; see live_options.js
   */
  constructor(classify, page, options) {
    Object.assign(this, {classify, page, options, decision: new LabelDecision(options), rate: null, frames: 0});
    const [size, step] = [options.window_s, options.hop_s].map(seconds => Math.round(seconds * RATE));
    this.cutter = new WindowCutter({size, step});
  }

  /**
   * Add a chunk to the stream.
   * @param {Float32Array} samples mono, from -1 to 1
   * @param {number} rate in Hz, the same for the whole stream
   * @returns {Promise<object[]>} for each window that became ready: start and end in seconds, silent, probabilities
   *   (null if it is silent or has an error), label and score after smoothing and hysteresis, and abstained if the model
   *   has a threshold
   * @throws {SoundError} the chunk cannot be used; it is left out
   */
  async feed(samples, rate) {
    if (samples.length === 0) return [];
    if (this.rate !== null && rate !== this.rate) {
      throw new SoundError("rate", `a sampling rate of ${rate} Hz in mid-stream`, `${this.rate} Hz`,
        "The microphone or its settings changed. Start again.");
    }
    if (!Number.isFinite(peak(samples))) {
      throw new SoundError("not_finite", "samples that are not finite numbers", "samples from -1 to 1", "Start again.");
    }
    if (this.rate === null) {
      this.rate = rate;
      if (rate !== RATE) this.resampler = new StreamResampler(rate, RATE);
    }
    this.frames += samples.length;
    return this.answers(this.cutter.feed(this.resampler ? this.resampler.feed(samples) : samples));
  }

  /** End the stream and return the remaining answers; none for a stream of less than 0.1 s. */
  async finish() {
    if (this.frames < this.page.limits.min_duration_s * this.rate || this.rate === null) return [];
    const windows = this.resampler ? this.cutter.feed(this.resampler.finish()) : [];
    return this.answers([...windows, ...this.cutter.finish()]);
  }

  async answers(windows) {
    const answers = [];
    for (const window of windows) answers.push(await this.answer(window));
    return answers;
  }

  async answer({start, end, samples}) {
    const {labels, abstention_threshold: threshold} = this.page.model;
    const made = {start: start / RATE, end: end / RATE, silent: false, probabilities: null, label: null, score: null};
    if (!passesGate(samples, this.options, RATE)) {
      made.silent = true;
    } else {
      try {
        made.probabilities = await this.classify(samples);
      } catch (error) {
        if (!error.isAnswer) throw error; // the model can be used no more
        made.error = error.message;
      }
    }
    if (made.probabilities === null) this.decision.reset();
    else Object.assign(made, this.decision.next(ranked(made.probabilities, labels)));
    if (threshold !== null) made.abstained = made.score !== null && made.score < threshold;
    return made;
  }
}
