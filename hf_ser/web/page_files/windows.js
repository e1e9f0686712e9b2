// Windows of a recording and the mean of their probabilities, as in hf_ser/remote_code/windows.py.
import {joined} from "./resampler.js";

/**
 * Split a recording into windows.
 * @param {number} numSamples at 16 kHz
 * @param {{whole: number, size: number, step: number}} plan in samples: recordings of up to `whole` are one window
 * @returns {{start: number, end: number}[]} in samples
 */
export function cut(numSamples, plan) {
  if (numSamples <= plan.whole) return [{start: 0, end: numSamples}];
  const windows = [];
  let start = 0;
  while (numSamples - start > plan.size) { // this is not the last window
    windows.push({start, end: start + plan.size});
    start += plan.step;
  }
  windows.push({start, end: numSamples});
  return windows;
}

/** Cuts a stream that comes in pieces of any size into the windows of `cut`, and keeps one window in memory. */
export class WindowCutter {
  /** @param {{size: number, step: number}} plan in samples; streams of up to `size` are one window */
  constructor({size, step}) {
    Object.assign(this, {size, step, held: new Float32Array(0), start: 0});
  }

  /** @param {Float32Array} piece @returns {{start: number, end: number, samples: Float32Array}[]} windows, in samples */
  feed(piece) {
    const windows = [];
    let held = joined(this.held, piece);
    while (held.length >= this.size) {
      windows.push(this.window(held.slice(0, this.size)));
      held = held.subarray(this.step);
      this.start += this.step;
    }
    this.held = held.slice(); // a part would keep all of a long piece in memory
    return windows;
  }

  /** Return the last window, if it has samples that are not in the one before it. */
  finish() {
    const isNew = this.start === 0 ? this.held.length > 0 : this.held.length > this.size - this.step;
    return isNew ? [this.window(this.held)] : [];
  }

  window(samples) {
    return {start: this.start, end: this.start + samples.length, samples};
  }
}

/** Return the largest magnitude of samples; NaN if a sample is not a number. */
export function peak(samples) {
  let largest = 0;
  for (const sample of samples) {
    const magnitude = Math.abs(sample);
    if (!(magnitude <= largest)) largest = magnitude;
    if (Number.isNaN(magnitude)) return magnitude;
  }
  return largest;
}

/**
 * Average the probabilities of windows, weighted by their lengths. Silent windows have none and do not count.
 * @param {{start: number, end: number, probabilities: number[] | null}[]} windows
 */
export function mean(windows) {
  const sounding = windows.filter(window => window.probabilities !== null);
  const total = sounding.reduce((sum, window) => sum + window.end - window.start, 0);
  return sounding[0].probabilities.map((_, place) =>
    sounding.reduce((sum, window) => sum + window.probabilities[place] * (window.end - window.start) / total, 0));
}
