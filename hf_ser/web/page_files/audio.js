// From a file or the microphone to mono samples at 16 kHz.
import {SoundError} from "./sound_error.js";
import {checkWhole, endsEarly, isShort} from "./truncation.js";
import {peak} from "./windows.js";

export const RATE = 16000;
const WAIT_MS = 4000; // for the length of a file, which may be damaged
const FORMATS = "a file with sound, such as WAV, FLAC, MP3, OGG, M4A or WebM";

/**
 * Decode a file.
 * @param {File} file
 * @param {object} limits of page.json
 * @returns {Promise<Float32Array>} mono, at 16 kHz
 */
export async function decodeFile(file, limits) {
  if (file.size > limits.max_file_bytes) {
    throw new SoundError("too_long", megabytes(file.size), `at most ${megabytes(limits.max_file_bytes)}`,
      "Use a shorter recording, or hf-ser predict, which has no limit.");
  }
  // A small file can hold hours of sound. It is checked before decoding, which keeps all samples in memory.
  const duration = await durationOf(file);
  checkDuration(duration, limits);
  if (Number.isNaN(duration) && file.size > limits.max_unknown_bytes) {
    throw new SoundError("too_long", `${megabytes(file.size)} of unknown duration`,
      `at most ${megabytes(limits.max_unknown_bytes)} if the duration is unknown`, "Convert the recording to WAV or FLAC.");
  }
  let bytes;
  try {
    bytes = await file.arrayBuffer();
  } catch {
    throw new SoundError("unreadable", "a file or folder that cannot be read", FORMATS, "Choose another file.");
  }
  if (bytes.byteLength === 0) throw new SoundError("empty", "an empty file", FORMATS, "Choose another file.");
  const whole = checkWhole(bytes);
  let buffer;
  try {
    // Browsers resample to the rate of the context.
    buffer = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(bytes);
  } catch {
    if (whole) throw endsEarly(whole);
    throw new SoundError("undecodable", "a file that this browser cannot decode", FORMATS,
      "Convert the recording, or try another browser.");
  }
  if (isShort(whole, buffer.duration)) throw endsEarly(whole, buffer.duration);
  checkDuration(buffer.duration, limits);
  return checked(mixed(buffer), channelsPeak(buffer), limits);
}

/**
 * Resample what the microphone recorded.
 * @param {Float32Array} samples mono
 * @param {number} rate
 * @param {object} limits of page.json
 */
export async function convertRecorded(samples, rate, limits) {
  return checked(await resample(samples, rate), peak(samples), limits);
}

/** Resample mono samples to 16 kHz with the browser's resampler. */
export async function resample(samples, rate) {
  if (rate === RATE || samples.length === 0) return samples;
  const context = new OfflineAudioContext(1, Math.max(1, Math.round(samples.length * RATE / rate)), RATE);
  const buffer = new AudioBuffer({length: samples.length, numberOfChannels: 1, sampleRate: rate});
  buffer.copyToChannel(samples, 0);
  const source = new AudioBufferSourceNode(context, {buffer});
  source.connect(context.destination);
  source.start();
  return (await context.startRendering()).getChannelData(0);
}

function mixed(buffer) {
  const channels = Array.from({length: buffer.numberOfChannels}, (_, place) => buffer.getChannelData(place));
  if (channels.length === 1) return channels[0];
  return Float32Array.from({length: buffer.length}, (_, place) =>
    channels.reduce((sum, channel) => sum + channel[place], 0) / channels.length);
}

function channelsPeak(buffer) {
  return Math.max(...Array.from({length: buffer.numberOfChannels}, (_, place) => peak(buffer.getChannelData(place))));
}

function checked(samples, loudest, limits) {
  const duration = samples.length / RATE;
  if (duration < limits.min_duration_s) {
    throw new SoundError("too_short", `${duration.toFixed(3)} s`, `at least ${limits.min_duration_s} s`,
      "Use a longer recording.");
  }
  const largest = peak(samples);
  if (!Number.isFinite(largest)) {
    throw new SoundError("not_finite", "samples that are not finite numbers", "samples from -1 to 1",
      "Export the recording again.");
  }
  if (largest < limits.silence) {
    const expected = `a peak above ${limits.silence_dbfs} dBFS`;
    if (loudest >= limits.silence) {
      throw new SoundError("silent", `channels that cancel each other (peak of a channel ${loudest.toPrecision(3)}, ` +
        "their mean is silent)", expected, "Keep one channel, or invert one.");
    }
    throw new SoundError("silent", `silence (peak ${largest.toFixed(6)} of full scale)`, expected,
      "Remove or replace the recording.");
  }
  return samples;
}

function checkDuration(seconds, limits) {
  if (seconds > limits.max_duration_s) {
    throw new SoundError("too_long", `${(seconds / 60).toFixed(1)} minutes`,
      `at most ${limits.max_duration_s / 60} minutes`, "Cut the recording, or use hf-ser predict, which takes any length.");
  }
}

/** Return the duration of a file in seconds without decoding it; NaN if the browser does not know it. */
async function durationOf(file) {
  const url = URL.createObjectURL(file);
  const player = new Audio();
  try {
    return await new Promise(resolve => {
      const timer = setTimeout(() => resolve(NaN), WAIT_MS);
      const end = seconds => { clearTimeout(timer); resolve(seconds); };
      player.addEventListener("error", () => end(NaN));
      player.addEventListener("durationchange", () => {
        if (Number.isFinite(player.duration)) end(player.duration);
        else player.currentTime = 1e10; // recordings of browsers lack the duration: it is found at their end
      });
      player.preload = "metadata";
      player.src = url;
    });
  } finally {
    player.removeAttribute("src");
    URL.revokeObjectURL(url);
  }
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(0)} MB`;
}
