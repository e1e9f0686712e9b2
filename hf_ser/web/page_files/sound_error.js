/** A recording that cannot be used. The words are those of hf_ser's AudioError. */
export class SoundError extends Error {
  constructor(reason, got, expected, remedy) {
    super(`got ${got}; expected ${expected}. ${remedy}`);
    this.reason = reason;
  }
}
