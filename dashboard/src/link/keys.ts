// The key of this browser: ECDSA P-256, made once, its private half never leaves WebCrypto and IndexedDB.
//
// The key is stored before it is registered: a page that dies in between registers the same one the next time.

import { type Bytes, toBase64Url, utf8 } from "./bytes";

const DATABASE = "crosschat";
const STORE = "keys";
const OWN = "own";

/** What is kept. */
export interface OwnKey {
  pair: CryptoKeyPair;
}

function open(): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function run<T>(mode: IDBTransactionMode, act: (store: IDBObjectStore) => IDBRequest<T>): Promise<T> {
  const database = await open();
  try {
    return await new Promise((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      const request = act(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  } finally {
    database.close();
  }
}

export function loadKey(): Promise<OwnKey | undefined> {
  return run("readonly", (store) => store.get(OWN) as IDBRequest<OwnKey | undefined>);
}

/** The key that is stored, or a new one, which then is. */
export async function keepKey(): Promise<OwnKey> {
  const stored = await loadKey();
  if (stored !== undefined) return stored;
  const pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign", "verify"]);
  const key = { pair };
  await run("readwrite", (store) => store.put(key, OWN));
  return key;
}

/** r and s raw, in base64url, over the UTF-8 bytes of the text. */
export async function sign(key: OwnKey, text: string): Promise<string> {
  const signature = await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, key.pair.privateKey, utf8(text));
  return toBase64Url(new Uint8Array(signature));
}

/** The public half as an uncompressed point, 65 bytes. */
export async function publicPoint(key: OwnKey): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.exportKey("raw", key.pair.publicKey));
}
