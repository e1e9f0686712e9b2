// Keeps all files of the page, so that it works offline after the first visit. A new version is used once all tabs
// with the old one are closed: its files may not fit those that are already loaded.
const FILES = __FILES__;
const PREFIX = `hf_ser ${self.registration.scope} `; // other pages of the same server have caches of their own
const CACHE = PREFIX + "__VERSION__";

self.addEventListener("install", event => {
  // no-cache asks the server whether the copy from the first visit is current, and does not download it again.
  const requests = ["./", ...FILES].map(name => new Request(name, {cache: "no-cache"}));
  event.waitUntil(caches.open(CACHE).then(cache => cache.addAll(requests)));
});

self.addEventListener("activate", event => {
  event.waitUntil((async () => {
    const names = await caches.keys();
    await Promise.all(names.filter(name => name.startsWith(PREFIX) && name !== CACHE).map(name => caches.delete(name)));
    await self.clients.claim();
  })());
});

self.addEventListener("fetch", event => {
  const {request} = event;
  const place = request.url.split(/[?#]/)[0];
  if (request.method !== "GET" || !place.startsWith(self.registration.scope)) return;
  const name = place.slice(self.registration.scope.length);
  event.respondWith((async () => {
    const cache = await caches.open(CACHE);
    const kept = await cache.match(name === "" || name === "index.html" ? "./" : name);
    return kept ?? fetch(request);
  })());
});
