/** The samples of a recording in progress. */
export class Recording {
  constructor() {
    Object.assign(this, {blocks: [], length: 0, rate: null});
  }

  /** @param {Float32Array} samples @param {number} rate in Hz */
  add(samples, rate) {
    this.blocks.push(samples);
    this.length += samples.length;
    this.rate = rate;
  }

  get seconds() {
    return this.length ? this.length / this.rate : 0;
  }

  /** All samples. */
  get samples() {
    const samples = new Float32Array(this.length);
    let place = 0;
    for (const block of this.blocks) {
      samples.set(block, place);
      place += block.length;
    }
    return samples;
  }
}
