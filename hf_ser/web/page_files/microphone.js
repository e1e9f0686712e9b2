// The microphone without compression, block by block.

const CAUSES = {
  NotAllowedError: "The microphone is blocked. Allow it for this page in the browser's settings, or choose a file.",
  NotFoundError: "No microphone was found. Connect one, or choose a file.",
  NotReadableError: "The microphone cannot be opened. Close other programs that use it, or choose a file.",
};
const DISCONNECTED = "The microphone was disconnected. Connect it, and start again.";
const PATIENCE_S = 5; // a working microphone also delivers silence
const QUIET = `The microphone sent no samples for ${PATIENCE_S} s. Connect it, close other programs that use it, and start again.`;

/** A microphone that delivers blocks. Make one with `openMicrophone`. */
class Microphone {
  constructor(context, stream, node, source) {
    Object.assign(this, {context, stream, node, source, quiet_s: 0});
  }

  /** Call `onLost` once if the microphone delivers nothing more. Seconds are counted, because computers sleep. */
  watch(onLost) {
    const lost = reason => {
      if (this.timer === undefined) return;
      this.unwatch();
      onLost(reason);
    };
    this.timer = setInterval(() => { if (++this.quiet_s > PATIENCE_S) lost(QUIET); }, 1000);
    this.stream.getAudioTracks()[0].addEventListener("ended", () => lost(DISCONNECTED));
  }

  unwatch() {
    clearInterval(this.timer);
    this.timer = undefined;
  }

  /** Deliver the last block and close the microphone. */
  async close() {
    this.unwatch();
    const flushed = new Promise(resolve => { this.flushed = resolve; });
    this.node.port.postMessage("stop");
    await Promise.race([flushed, new Promise(resolve => setTimeout(resolve, 500))]); // the device may be gone
    this.node.port.onmessage = null;
    this.stream.getTracks().forEach(track => track.stop());
    this.source.disconnect();
    await this.context.close();
  }
}

/**
 * Open the microphone.
 * @param {(samples: Float32Array, rate: number, peak: number) => void} onBlock called several times per second
 * @param {(reason: string) => void} onLost called if the microphone delivers nothing more, with a sentence for the page
 * @throws {Error} with a sentence for the page
 */
export async function openMicrophone(onBlock, onLost) {
  if (!navigator.mediaDevices?.getUserMedia || !globalThis.AudioWorkletNode) {
    throw new Error("This browser allows no microphone at this address. Open the page over https or on localhost, or choose a file.");
  }
  let stream;
  try {
    // Processing made for calls changes levels and removes sounds, which recordings of the training data have.
    const audio = {channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false};
    stream = await navigator.mediaDevices.getUserMedia({audio});
  } catch (error) {
    throw new Error(CAUSES[error.name] ?? `The microphone cannot be used (${error.name}). Choose a file.`);
  }
  // At the device's own rate: not every browser connects a microphone to a context with another one.
  const context = new AudioContext();
  try {
    await context.audioWorklet.addModule("recorder.js");
    const node = new AudioWorkletNode(context, "recorder", {numberOfOutputs: 0});
    const source = context.createMediaStreamSource(stream);
    const microphone = new Microphone(context, stream, node, source);
    node.port.onmessage = ({data}) => {
      if (data.end) return microphone.flushed?.();
      microphone.quiet_s = 0;
      onBlock(data.samples, context.sampleRate, data.peak);
    };
    source.connect(node);
    await context.resume();
    microphone.watch(onLost);
    return microphone;
  } catch (error) {
    stream.getTracks().forEach(track => track.stop());
    await context.close();
    throw new Error(`The microphone cannot be recorded (${error.name}). Choose a file.`);
  }
}
