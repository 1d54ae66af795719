// The hub's HTTP calls: pairing this browser, and tickets for the stream.

import { decodeView } from "../decode";
import type { ChallengedFrame, PairedFrame, TicketedFrame } from "../protocol";
import { sha256, toBase64Url, toHex } from "./bytes";
import { keepKey, loadKey, type OwnKey, publicPoint, sign } from "./keys";
import { type Socket, Unpaired } from "./link";

const SUBPROTOCOL = "crosschat.v1";
const ANSWER_MS = 10_000;

/** A call that the hub refused. `message` is for people. */
export class CallRefused extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

async function call<Answer>(name: string, body: object, answer: string): Promise<Answer> {
  const response = await fetch(`/api/${name}`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-crosschat": "1" },
    body: JSON.stringify(body),
    credentials: "omit",
    cache: "no-store",
    signal: AbortSignal.timeout(ANSWER_MS),
  });
  const said = (await response.json().catch(() => ({}))) as Record<string, unknown>;
  if (response.ok) return decodeView(said, answer, name) as Answer;
  throw new CallRefused(response.status, String(said.code ?? ""), String(said.message ?? response.statusText));
}

/** The id that the hub knows a key by. */
async function keyId(key: OwnKey): Promise<string> {
  return toHex(await sha256(await publicPoint(key))).slice(0, 32);
}

/** Register this browser's key with a code from the person's terminal. Throws CallRefused. */
export async function pair(code: string, label: string): Promise<PairedFrame> {
  const key = await keepKey();
  return call("pair", { code, key: toBase64Url(await publicPoint(key)), label }, "PairedFrame");
}

/** How a pairing stands that waits for another browser; the hub answers within seconds. */
export function awaitPairing(pairing: string): Promise<PairedFrame> {
  return call("pairing", { pairing }, "PairedFrame");
}

/** A ticket for one stream. Throws Unpaired if this browser has no key, or one that is not paired. */
export async function ticket(): Promise<string> {
  const key = await loadKey();
  if (key === undefined) throw new Unpaired("this browser has no key");
  const id = await keyId(key);
  try {
    const { challenge } = await call<ChallengedFrame>("challenge", { key: id }, "ChallengedFrame");
    const signature = await sign(key, `${SUBPROTOCOL} ticket ${location.origin} ${challenge}`);
    return (await call<TicketedFrame>("ticket", { key: id, challenge, signature }, "TicketedFrame")).ticket;
  } catch (error) {
    if (error instanceof CallRefused && error.code === "forbidden") throw new Unpaired(error.message);
    throw error;
  }
}

export function socket(opening: string): Socket {
  return new WebSocket(`ws://${location.host}/stream`, [SUBPROTOCOL, opening]) as Socket;
}
