"""JavaScript of the page, which runs once when it is loaded."""

# Screen readers announce an answer only in a region that was live before. Gradio accepts files of the types audio/*
# only, and browsers call every WebM, MP4 and 3GP file a video, also one that holds nothing but a voice memo.
ON_LOAD = """() => {
  document.querySelector('#answer')?.setAttribute('aria-live', 'polite');
  const input = () => document.querySelector('#recording input[type=file]');
  const isVideo = file => file.type.startsWith('video/');
  const asAudio = files => {
    const renamed = new DataTransfer();
    for (const file of files) {
      const type = file.type.replace(/^video/, 'audio');
      renamed.items.add(isVideo(file) ? new File([file], file.name, {type}) : file);
    }
    return renamed.files;
  };
  document.addEventListener('click', () => {
    const chooser = input();
    if (chooser && !chooser.accept.includes('video/')) chooser.accept += ',video/*,.m4a,.webm';
  }, true);
  document.addEventListener('change', event => {
    if (event.target === input()) event.target.files = asAudio(event.target.files);
  }, true);
  document.addEventListener('drop', event => {
    const files = event.dataTransfer?.files ?? [];
    if (!event.target.closest('#recording') || !input() || ![...files].some(isVideo)) return;
    event.preventDefault();
    event.stopPropagation();
    event.target.dispatchEvent(new DragEvent('dragleave', {bubbles: true}));
    input().files = asAudio(files);
    input().dispatchEvent(new Event('change', {bubbles: true}));
  }, true);
}"""
