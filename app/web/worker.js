// Service worker: keeps the frame of the first page and the files that it loads, for the time without a line. Nothing of
// the API, no page with anybody's data and no photograph is kept; these requests are not even looked at.
"use strict";

const CACHE = "shell", SHELL = "/shell";

// The frame in the language of now. Its files come first, so that what is kept is whole at any time.
async function keepShell() {
  const page = await fetch(SHELL, { cache: "no-store" });
  if (!page.ok) return;
  const text = await page.clone().text();
  const files = new Set([...text.matchAll(/(?:src|href)="(\/(?:static|locales)\/[^"]+)"/g)].map(([, address]) => address));
  const cache = await caches.open(CACHE);
  const held = new Set((await cache.keys()).map((request) => new URL(request.url).pathname));
  await cache.addAll([...files].filter((address) => !held.has(address)));
  await cache.put(SHELL, page);
  for (const address of held) if (address !== SHELL && !files.has(address)) await cache.delete(address);
}

addEventListener("install", (event) => event.waitUntil(keepShell().then(() => self.skipWaiting())));

addEventListener("fetch", (event) => {
  const { request } = event, { origin, pathname } = new URL(request.url);
  if (request.method !== "GET" || origin !== location.origin) return;
  if (pathname.startsWith("/static/") || pathname.startsWith("/locales/")) {
    event.respondWith(caches.match(request, { ignoreVary: true }).then((held) => held ?? fetch(request)));
  } else if (request.mode === "navigate") {
    event.respondWith(fetch(request).catch(async (error) => {
      const shell = await caches.match(SHELL);
      if (!shell) throw error;
      return shell;
    }));
    if (pathname === "/") event.waitUntil(keepShell().catch(() => {}));
  }
});
