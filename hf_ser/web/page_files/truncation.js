// Truncated recordings. Browsers decode what there is of them; these are the rules and messages of hf_ser's decoder.
import {SoundError} from "./sound_error.js";

const SLACK_BYTES = 44; // sizes of programs that count the header as audio are off by so many bytes
const UNKNOWN_BYTES = 0x7ffff000; // programs that write to a pipe declare a size near the 32-bit maximum
const MP3_FRAME_BYTES = 1441; // the largest; some encoders count one frame too many
const FLAC_SLACK_S = 0.05; // for the resampler

/**
 * Check that a file contains all audio that it declares.
 * @param {ArrayBuffer} bytes
 * @returns {?{format: string, seconds: ?number}} what is left to check after decoding: the format of files that every
 *   browser decodes if they are whole, and their duration
 * @throws {SoundError} the recording is truncated
 */
export function checkWhole(bytes) {
  const view = new DataView(bytes);
  try {
    return check(view, afterTag(view));
  } catch (error) {
    if (error instanceof RangeError) return null; // the header is cut off: the browser cannot decode it either
    throw error;
  }
}

/** Make the error for a recording that ends after so many decoded seconds, or that cannot be decoded (0 seconds). */
export function endsEarly({format, seconds}, decoded = 0) {
  if (decoded === 0) return truncated(`${format} that ends early or is damaged`);
  return truncated(`${format} of ${seconds.toFixed(1)} s that ends or is damaged after ${decoded.toFixed(1)} s`);
}

/** Whether a decoded recording is shorter than its header declares. */
export function isShort(whole, decoded) {
  return Boolean(whole?.seconds) && decoded < whole.seconds - FLAC_SLACK_S;
}

function truncated(got) {
  return new SoundError("truncated", got, "the whole recording", "Download or copy the file again.");
}

function check(view, start) {
  const magic = text(view, start, 4);
  if (magic === "RIFF" && text(view, start + 8, 4) === "WAVE") checkWav(view, start + 12);
  if (magic === "OggS") checkOgg(view, start);
  if (text(view, start + 4, 4) === "ftyp") checkMp4(view, start);
  if (magic === "fLaC") return {format: "FLAC", seconds: flacSeconds(view, start)};
  if (view.getUint16(start) >>> 5 === 0x7ff && (view.getUint8(start + 1) & 6) === 2) { // layer 3
    checkMp3(view, start);
    return {format: "MP3", seconds: null};
  }
  return null;
}

function text(view, place, length) {
  return String.fromCharCode(...Array.from({length}, (_, i) => view.getUint8(place + i)));
}

/** Return the offset after an ID3 tag. */
function afterTag(view) {
  if (text(view, 0, 3) !== "ID3") return 0;
  return 10 + [6, 7, 8, 9].reduce((size, place) => size * 128 + (view.getUint8(place) & 0x7f), 0);
}

function checkWav(view, first) {
  let block = 0;
  for (let place = first; place + 8 <= view.byteLength;) {
    const name = text(view, place, 4), size = view.getUint32(place + 4, true), content = place + 8;
    if (name === "fmt ") {
      const tag = view.getUint16(content, true), kind = tag === 0xfffe ? view.getUint16(content + 24, true) : tag;
      block = kind === 1 || kind === 3 ? view.getUint16(content + 12, true) : 0; // integers or floats
    } else if (name === "data") {
      let there = view.byteLength - content;
      if (size >= UNKNOWN_BYTES || size <= there + SLACK_BYTES) return;
      if (block) there -= there % block;
      const unit = block || 1, count = bytes => Math.floor(bytes / unit);
      throw truncated(`${count(there)} of ${count(size)} ${block ? "frames" : "bytes"} ` +
        `(${size - there} bytes are missing)`);
    }
    place = content + size + size % 2;
  }
}

function checkOgg(view, start) {
  let last = false;
  for (let place = start; (place = nextPage(view, place)) >= 0;) {
    const segments = place + 27 <= view.byteLength ? view.getUint8(place + 26) : Infinity;
    let end = place + 27 + segments;
    for (let i = 0; end <= view.byteLength && i < segments; i++) end += view.getUint8(place + 27 + i);
    last = end <= view.byteLength && (view.getUint8(place + 5) & 4) > 0;
    if (end > view.byteLength) break;
    place = end;
  }
  if (!last) throw truncated(`OGG of ${view.byteLength} bytes whose last page is missing or incomplete`);
}

function nextPage(view, start) {
  const bytes = new Uint8Array(view.buffer);
  let place = bytes.indexOf(0x4f, start);
  while (place >= 0 && place + 4 <= bytes.length && text(view, place, 4) !== "OggS") {
    place = bytes.indexOf(0x4f, place + 1);
  }
  return place + 4 <= bytes.length ? place : -1;
}

function checkMp4(view, start) {
  let hasIndex = false, missing = 0, place = start;
  while (place + 8 <= view.byteLength && !missing) {
    let size = view.getUint32(place);
    if (size === 1) size = Number(view.getBigUint64(place + 8));
    hasIndex ||= ["moov", "moof"].includes(text(view, place + 4, 4));
    if (size === 0) break; // up to the end of the file
    if (size < 8) return;
    missing = Math.max(0, place + size - view.byteLength);
    place += size;
  }
  missing ||= hasIndex ? 0 : 1; // the index is written last
  if (missing) {
    throw truncated(`MP4 or M4A of ${view.byteLength} bytes, at least ${missing} bytes are missing`);
  }
}

/** Compare the size of an MP3 file with the one in its first frame, which some encoders write. */
function checkMp3(view, start) {
  const frame = Array.from({length: Math.min(48, view.byteLength - start)}, (_, i) => i).find(
    i => start + i + 16 <= view.byteLength && ["Xing", "Info"].includes(text(view, start + i, 4)));
  if (frame === undefined) return;
  const flags = view.getUint32(start + frame + 4);
  if ((flags & 2) === 0) return;
  const declared = view.getUint32(start + frame + ((flags & 1) ? 12 : 8)), there = view.byteLength - start;
  if (declared > there + MP3_FRAME_BYTES) throw truncated(`MP3 with ${there} of ${declared} bytes`);
}

/** Return the duration that the header of a FLAC file declares in seconds; null if it is unknown. */
function flacSeconds(view, start) {
  const rate = view.getUint32(start + 18) >>> 12;
  const frames = (view.getUint8(start + 21) & 15) * 2 ** 32 + view.getUint32(start + 22);
  return rate && frames ? frames / rate : null;
}
