// Windows of a recording and the mean of their probabilities, as in hf_ser/remote_code/windows.py.

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
