// How fast windows are answered, in the words of hf-ser listen (hf_ser/listen/answer_lines.py).

const MOST_LATENCIES = 1000; // of the last windows; a stream may never end

export class LiveMeter {
  constructor() {
    Object.assign(this, {windows: 0, seconds: 0, computedMs: 0, latenciesMs: []});
  }

  /**
   * Count a block of sound.
   * @param {number} seconds of sound
   * @param {number} computedMs for its answers
   * @param {number[]} latenciesMs for each window, from the arrival of its last block to its answer
   */
  add(seconds, computedMs, latenciesMs) {
    this.seconds += seconds;
    this.computedMs += computedMs;
    this.windows += latenciesMs.length;
    this.latenciesMs = [...this.latenciesMs, ...latenciesMs].slice(-MOST_LATENCIES);
  }

  /** Seconds of computing per second of sound. */
  get realTimeFactor() {
    return this.seconds ? this.computedMs / 1000 / this.seconds : 0;
  }

  percentileMs(percent) {
    const ordered = [...this.latenciesMs].sort((a, b) => a - b);
    const place = percent / 100 * (ordered.length - 1), below = Math.floor(place);
    return ordered[below] + (place - below) * ((ordered[below + 1] ?? ordered[below]) - ordered[below]);
  }

  /** Number of windows, seconds of sound, latency and real-time factor, in one line. */
  summary() {
    const sound = this.seconds.toLocaleString("en", {minimumFractionDigits: 1, maximumFractionDigits: 1});
    const counted = `${this.windows.toLocaleString("en")} window${this.windows === 1 ? "" : "s"} of ${sound} s of sound`;
    if (!this.latenciesMs.length) return counted;
    const [median, most] = [50, 99].map(percent => `${this.percentileMs(percent).toFixed(0)} ms`);
    return `${counted}: latency per window ${median} (median), ${most} (99th percentile); ` +
      `real-time factor ${this.realTimeFactor.toFixed(3)}`;
  }
}
