// Which windows have enough sound to be classified, as in hf_ser/live/voice_gate.py.
import {peak} from "./windows.js";

/**
 * Whether a window is classified.
 * @param {Float32Array} samples
 * @param {{gate_dbfs: number, min_active_s: number, frame: number}} options the frame in samples
 * @param {number} rate in Hz
 */
export function passesGate(samples, {gate_dbfs: level, min_active_s: least, frame: size}, rate) {
  const threshold = 10 ** (level / 20);
  const sounds = part => !(peak(part) < threshold);
  if (!sounds(samples)) return false;
  if (least === 0) return true;
  let active = 0;
  for (let place = 0; place < samples.length; place += size) {
    const frame = samples.subarray(place, place + size);
    if (sounds(frame)) active += frame.length;
  }
  return active >= least * rate;
}
