// Resampling of a stream to another rate. The browser's own resampler takes whole recordings only.

// A Kaiser window with these values gives the samples of soxr's HQ filter, which Python uses, within 0.0001 for speech.
const REJECTION_DB = 130;
const PASSBAND = 0.9136; // of the lower one of the two Nyquist frequencies

/** Resamples pieces of any size: joined, they are bit for bit the samples of the whole. */
export class StreamResampler {
  /**
   * @param {number} from in Hz, an integer
   * @param {number} to in Hz, an integer
   */
  constructor(from, to) {
    const divisor = greatestDivisor(from, to);
    Object.assign(this, {from, to, up: to / divisor, down: from / divisor, filters: new Map(), fed: 0, made: 0});
    const nyquist = Math.min(from, to) / 2;
    const width = nyquist * (1 - PASSBAND) / from; // of the transition, in cycles per sample
    this.cutoff = nyquist * (1 + PASSBAND) / from; // twice the middle of the transition, in cycles per sample
    this.half = (REJECTION_DB - 7.95) / (2.285 * 2 * Math.PI * width) / 2; // of the filter, in samples
    this.beta = 0.1102 * (REJECTION_DB - 8.7);
    this.reach = Math.ceil(this.half);
    this.held = new Float32Array(this.reach); // silence before the first sample
    this.centre = this.reach; // place of the next output in `held`, and the fraction phase / up
    this.phase = 0;
  }

  /** @param {Float32Array} samples @returns {Float32Array} what can be computed so far: the filter needs later samples */
  feed(samples) {
    this.fed += samples.length;
    const made = this.resample(samples);
    this.made += made.length;
    return made;
  }

  /** Return the last samples, as if silence followed. */
  finish() {
    const rest = Math.floor(this.fed * this.to / this.from + 0.5) - this.made;
    return this.resample(new Float32Array(this.reach + 1)).slice(0, rest);
  }

  resample(samples) {
    const held = joined(this.held, samples), made = [];
    while (this.centre + this.reach < held.length) {
      const filter = this.filter(this.phase), first = this.centre - this.reach + 1;
      let sum = 0;
      for (let i = 0; i < filter.length; i++) sum += filter[i] * held[first + i];
      made.push(sum);
      this.phase += this.down;
      this.centre += Math.floor(this.phase / this.up);
      this.phase %= this.up;
    }
    const start = Math.min(held.length, this.centre - this.reach + 1);
    this.held = held.slice(start);
    this.centre -= start;
    return Float32Array.from(made);
  }

  /** The windowed sinc for outputs that are phase / up after a sample. */
  filter(phase) {
    if (!this.filters.has(phase)) {
      this.filters.set(phase, Float64Array.from({length: 2 * this.reach}, (_, i) => {
        const distance = i + 1 - this.reach - phase / this.up, angle = Math.PI * this.cutoff * distance;
        const inside = 1 - (distance / this.half) ** 2;
        if (inside < 0) return 0;
        return this.cutoff * (angle === 0 ? 1 : Math.sin(angle) / angle) * bessel(this.beta * Math.sqrt(inside)) / bessel(this.beta);
      }));
    }
    return this.filters.get(phase);
  }
}

/** Join two pieces of samples. */
export function joined(first, second) {
  const both = new Float32Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

/** The modified Bessel function of the first kind, of order 0, by its series. */
function bessel(value) {
  let sum = 1, term = 1;
  for (let i = 1; term > sum * 1e-17; i++) {
    term *= (value / 2 / i) ** 2;
    sum += term;
  }
  return sum;
}

function greatestDivisor(a, b) {
  return b === 0 ? a : greatestDivisor(b, a % b);
}
