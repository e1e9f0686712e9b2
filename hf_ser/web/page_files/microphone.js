// Recording from the microphone without compression.

const CAUSES = {
  NotAllowedError: "The microphone is blocked. Allow it for this page in the browser's settings, or choose a file.",
  NotFoundError: "No microphone was found. Connect one, or choose a file.",
  NotReadableError: "The microphone cannot be opened. Close other programs that use it, or choose a file.",
};

/** A recording in progress. Make one with `startRecording`. */
class MicrophoneRecording {
  constructor(context, stream, node, source) {
    Object.assign(this, {context, stream, node, source, blocks: [], length: 0});
  }

  get seconds() {
    return this.length / this.context.sampleRate;
  }

  /** End the recording and return its samples and their rate. */
  async stop() {
    const flushed = new Promise(resolve => { this.flushed = resolve; });
    this.node.port.postMessage("stop");
    await Promise.race([flushed, new Promise(resolve => setTimeout(resolve, 500))]); // the device may be gone
    this.stream.getTracks().forEach(track => track.stop());
    this.source.disconnect();
    const rate = this.context.sampleRate;
    await this.context.close();
    const samples = new Float32Array(this.length);
    let place = 0;
    for (const block of this.blocks) {
      samples.set(block, place);
      place += block.length;
    }
    return {samples, rate};
  }
}

/**
 * Start to record.
 * @param {(peak: number) => void} onBlock called several times per second with the peak of the last samples
 * @param {() => void} onEnd called if the microphone is disconnected
 * @throws {Error} with a sentence for the page
 */
export async function startRecording(onBlock, onEnd) {
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
  const context = new AudioContext();
  try {
    await context.audioWorklet.addModule("recorder.js");
    const node = new AudioWorkletNode(context, "recorder", {numberOfOutputs: 0});
    const source = context.createMediaStreamSource(stream);
    const recording = new MicrophoneRecording(context, stream, node, source);
    node.port.onmessage = ({data}) => {
      if (data.end) return recording.flushed?.();
      recording.blocks.push(data.samples);
      recording.length += data.samples.length;
      onBlock(data.peak);
    };
    stream.getAudioTracks()[0].addEventListener("ended", onEnd);
    source.connect(node);
    await context.resume();
    return recording;
  } catch (error) {
    stream.getTracks().forEach(track => track.stop());
    await context.close();
    throw new Error(`The microphone cannot be recorded (${error.name}). Choose a file.`);
  }
}
