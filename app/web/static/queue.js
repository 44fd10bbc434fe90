// Queries that wait for the line, in the browser's own database: photographs, with an incident that belongs to them.
// Each belongs to the account that made it, and nobody else's pages show or send it.
"use strict";

const MOST_QUERIES = 50, MOST_STORED = 200 * 2 ** 20; // of all accounts on this device
const MOST_PHOTOGRAPHS = 8, MOST_FILE = 32 * 2 ** 20, MOST_QUERY = 120 * 2 ** 20; // as the service takes them
const DAY = 24 * 3600_000;

// A key of its own for each request. Not randomUUID, which needs TLS or localhost.
const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

const queue = (() => {
  let opened;
  const open = () => (opened ??= new Promise((done, failed) => {
    const request = indexedDB.open("register", 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("queries", { keyPath: "key" });
      request.result.createObjectStore("account");
    };
    request.onsuccess = () => done(request.result);
    request.onerror = () => failed(request.error);
  }));

  // One transaction; what it wrote is on the disk when it is over.
  async function within(store, mode, work) {
    const database = await open();
    return new Promise((done, failed) => {
      const transaction = database.transaction(store, mode, { durability: "strict" });
      const request = work(transaction.objectStore(store));
      transaction.oncomplete = () => done(request?.result);
      transaction.onabort = transaction.onerror = () => failed(transaction.error ?? request?.error);
    });
  }

  const all = () => within("queries", "readonly", (store) => store.getAll());
  const size = (row) => (row.fields ?? []).reduce((sum, [, value]) => sum + (value.size ?? 0), 0);

  return {
    // Who was logged in on this device's last page of the service; null for nobody, or after twelve hours, as a session.
    async account() {
      const held = await within("account", "readonly", (store) => store.get(0));
      return held && held.until > Date.now() ? held.name : null;
    },
    note: (name) => within("account", "readwrite", (store) =>
      name ? store.put({ name, until: Date.now() + DAY / 2 }, 0) : store.delete(0)),
    async of(account) {
      const rows = (await all()).filter((row) => row.account === account);
      return rows.sort((one, other) => one.made - other.made);
    },
    // Keep a query. Throws an Error in words if it is too large or there is no room; nothing is kept then.
    async add(account, key, data) {
      const fields = [...data], files = fields.map(([, value]) => value).filter((value) => value instanceof Blob);
      const bytes = files.reduce((sum, file) => sum + file.size, 0);
      if (data.getAll("pictures").length > MOST_PHOTOGRAPHS || files.some((file) => file.size > MOST_FILE) || bytes > MOST_QUERY)
        throw new Error(_("too many or too large photographs: at most {n}, each of 32 MiB, together 120", { n: MOST_PHOTOGRAPHS }));
      const held = (await all()).filter((row) => row.fields); // those that were sent keep none
      if (held.length >= MOST_QUERIES || held.reduce((sum, row) => sum + size(row), bytes) > MOST_STORED)
        throw new Error(_("too much waits on this device already"));
      // The bytes themselves: a file may be deleted or changed before the line is back.
      const kept = await Promise.all(fields.map(async ([name, value]) =>
        [name, value instanceof Blob ? new File([await value.arrayBuffer()], value.name, { type: value.type }) : value]));
      const row = { key, account, made: Date.now(), fields: kept, state: "waiting", said: "", tries: 0, incident: null };
      try {
        await within("queries", "readwrite", (store) => store.put(row));
      } catch (error) {
        if (error?.name === "QuotaExceededError") throw new Error(_("there is no room left on this device"));
        throw error;
      }
      navigator.storage?.persist?.().catch(() => {});
      return row;
    },
    // Change a query if it is still there: somebody may have deleted it in another tab.
    async change(key, values) {
      const database = await open();
      return new Promise((done, failed) => {
        const transaction = database.transaction("queries", "readwrite", { durability: "strict" });
        const store = transaction.objectStore("queries"), found = store.get(key);
        let changed = null;
        found.onsuccess = () => {
          if (found.result) store.put((changed = { ...found.result, ...values }));
        };
        transaction.oncomplete = () => done(changed);
        transaction.onabort = transaction.onerror = () => failed(transaction.error);
      });
    },
    drop: (key) => within("queries", "readwrite", (store) => store.delete(key)),
    // Answers are at the service; here they are shown for a day.
    async dropOld() {
      for (const row of await all()) {
        const isDone = row.state === "sent" && (!row.incident || row.incident.number); // a report is not lost with it
        if (isDone && row.sent < Date.now() - DAY) await this.drop(row.key);
      }
    },
  };
})();
