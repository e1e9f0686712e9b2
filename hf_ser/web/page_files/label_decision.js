// From the scores of successive windows to a label that does not flicker, as in hf_ser/live/label_decisions.py.

/** The label of a stream, window by window. */
export class LabelDecision {
  /** @param {object} rule smooth_windows, smooth_weight (null for none), switch_margin, switch_windows */
  constructor(rule) {
    this.rule = rule;
    this.reset();
  }

  /** Forget earlier windows, as after silence, which can separate speakers. */
  reset() {
    Object.assign(this, {recent: [], average: null, label: null, rival: null, led: 0});
  }

  /**
   * Choose the label of the next window.
   * @param {{label: string, score: number}[]} scores best first
   * @returns {{label: string, score: number}} the label and its smoothed score
   */
  next(scores) {
    const smoothed = this.smoothed(scores);
    const best = smoothed.reduce((first, each) => each.score > first.score ? each : first).label;
    const score = label => smoothed.find(each => each.label === label).score;
    if (this.label === null) {
      this.label = best;
    } else if (best === this.label || score(best) - score(this.label) < this.rule.switch_margin) {
      this.led = 0;
    } else {
      this.led = best === this.rival ? this.led + 1 : 1;
      this.rival = best;
      if (this.led >= this.rule.switch_windows) Object.assign(this, {label: best, led: 0});
    }
    return {label: this.label, score: score(this.label)};
  }

  smoothed(scores) {
    const {smooth_weight: weight, smooth_windows: most} = this.rule;
    if (weight !== null) {
      const before = this.average ?? byLabel(scores);
      const averaged = scores.map(({label, score}) => ({label, score: weight * score + (1 - weight) * before[label]}));
      this.average = byLabel(averaged);
      return averaged;
    }
    this.recent = [...this.recent, byLabel(scores)].slice(-most);
    return scores.map(({label}) => ({label, score:
      this.recent.reduce((sum, each) => sum + each[label], 0) / this.recent.length}));
  }
}

function byLabel(scores) {
  return Object.fromEntries(scores.map(({label, score}) => [label, score]));
}
